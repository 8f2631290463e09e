"""Data stores: what a DIZ offers, as the gate sees it: a folder, a hash of its content, a number of patients."""
