"""A small torch app for measuring rounds."""
