"""`python -m rounds prepare`: this app needs no data."""
