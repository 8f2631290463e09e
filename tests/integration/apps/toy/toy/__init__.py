"""A federated vector, for the tests."""
