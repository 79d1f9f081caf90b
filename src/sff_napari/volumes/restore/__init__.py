"""Restore one block of one slice of a volume, or fill a missing slice."""
