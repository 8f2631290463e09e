"""Means and sums that leave masked."""
