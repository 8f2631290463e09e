"""A vector that goes round."""
