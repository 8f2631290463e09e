"""The mean intensity of images per modality, for the tests."""
