"""The methods of each stage as a person understands them."""

from __future__ import annotations

DEFAULTS = {"interpolation": "motion", "unfolding": "law", "fusion": "learned"}
"""What `sff_napari.restore` takes when nothing is chosen."""
NAMES = {
    "motion": "neighbours, moved to meet each other",
    "mean": "mean of the neighbours",
    "previous": "the slice before",
    "following": "the slice after",
    "law": "fitted law of the fold",
    "none": "do not unfold",
    "learned": "learned filling",
    "expected": "smooth filling",
    "seamless": "filling without seams",
    "stitch": "plain stitching",
    "network": "trained network",
    "network-everywhere": "trained network, everywhere",
}
"""Names of the core's methods."""


def name_of(method: str) -> str:
    """Return a method's name for a person; one that is not known keeps the core's."""
    return NAMES.get(method, method)
