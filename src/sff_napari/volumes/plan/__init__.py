"""Decide what a run over a volume does: slices, neighbours, blocks, and keys for all results."""
