"""plain: a Flower / NumPy app."""
