"""Comparing slices: features, windows, shifts, smooth drift between them."""
