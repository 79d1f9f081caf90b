"""Align two slices: as wholes, and from place to place."""

from sff_napari.alignment.similarity import (
    Similarity,
    estimate_similarity,
    guess_similarity,
    is_roughly_aligned,
    misalignment,
)

__all__ = [
    "Similarity",
    "estimate_similarity",
    "guess_similarity",
    "is_roughly_aligned",
    "misalignment",
]
