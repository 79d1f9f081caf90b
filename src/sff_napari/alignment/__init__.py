"""How two slices lie against each other as wholes: shift, turn and scale."""

from sff_napari.alignment.similarity import Similarity, estimate_similarity, misalignment

__all__ = ["Similarity", "estimate_similarity", "misalignment"]
