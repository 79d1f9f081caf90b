"""Describe how the slices of a volume are restored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sff_napari.networks import weights as network_weights
from sff_napari.restoration import DEFAULT_COVER
from sff_napari.restoration.fusion.seamless import FILLED
from sff_napari.volumes.plan.blocks import DEFAULT_TILE


@dataclass(frozen=True)
class VolumeSettings:
    """How slices are restored.

    Parameters
    ----------
    interpolation, unfolding, fusion : str
        Methods, as `sff_napari.restore` takes them.
    cover : float
        Pixels by which the dark line is widened.
    tile : int
        Side up to which a slice is restored in one piece, px.
    weights : Path, optional
        Weights of the networks.
    device : str
        Where to compute; does not count as a difference between two runs.
    """

    interpolation: str = "motion"
    unfolding: str = "law"
    fusion: str = "learned"
    cover: float = DEFAULT_COVER
    tile: int = DEFAULT_TILE
    weights: Path | None = None
    device: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Return what results depend on, plain JSON types."""
        return {
            "interpolation": self.interpolation,
            "unfolding": self.unfolding,
            "fusion": self.fusion,
            "cover": self.cover,
            "tile": self.tile,
        }

    def digests(self) -> dict[str, str]:
        """Return the hash of the weights of each stage that a network does.

        Raises
        ------
        WeightsError
            If they cannot be used.
        """
        found = {
            stage: network_weights.digest(cast(Any, stage), self.weights)
            for stage, choice in self.to_dict().items()
            if isinstance(choice, str) and choice.startswith("network")
        }
        if self.fusion in FILLED:
            place = network_weights.own_or_bundled("filling", self.weights)
            found["filling"] = network_weights.digest("filling", place)
        return found
