"""One class per kind of data store."""
