"""Privacy arithmetic: clipping to integers, exact integer noise, accounting. Pure functions over numbers."""
