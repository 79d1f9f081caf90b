"""Interpolate the reference: what the slice between two neighbours should look like."""
