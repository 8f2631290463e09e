"""A torch layer with dropout, for the tests."""
