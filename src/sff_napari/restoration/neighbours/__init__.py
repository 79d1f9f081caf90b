"""Bring brightness, contrast and place of the neighbouring slices to the damaged slice."""
