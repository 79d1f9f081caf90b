"""Check once which method serves each stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sff_napari.errors import InputError
from sff_napari.networks.weights import named, own_or_bundled
from sff_napari.restoration.fusion.seamless import FUSIONS
from sff_napari.restoration.interpolation.weighted import INTERPOLATIONS

Unfolding = Literal["law", "network", "none"]
UNFOLDINGS: tuple[str, ...] = get_args(Unfolding)


@dataclass(frozen=True)
class Methods:
    """Choices for each stage; see `restore`.

    Parameters
    ----------
    interpolation, unfolding, fusion : str
        Names of methods.
    weights : path, optional
        Folder of weights for the networks.
    cover : float
        Pixels by which the dark line is widened.
    tile : int, optional
        Side of the tiles, px.
    """

    interpolation: str
    unfolding: str
    fusion: str
    weights: Path | None
    cover: float
    tile: int | None

    @classmethod
    def checked(
        cls,
        interpolation: str,
        unfolding: str,
        fusion: str,
        weights: Any,
        cover: float,
        tile: int | None,
    ) -> Methods:
        """Return the choices.

        Raises
        ------
        InputError
            If one of them is unknown or out of range.
        """
        for stage, name, known in (
            ("interpolation", interpolation, INTERPOLATIONS),
            ("unfolding", unfolding, UNFOLDINGS),
            ("fusion", fusion, FUSIONS),
        ):
            if name not in known:
                raise InputError(
                    f"There is no {stage} called {name!r}: use one of {', '.join(known)}."
                )
        if not (math.isfinite(cover) and 0 <= cover <= 100):
            raise InputError(f"The cover is {cover:g} px: it must lie between 0 and 100.")
        if tile is not None and tile < 64:
            raise InputError(f"The tile is {tile} px wide: use at least 64.")
        return cls(
            interpolation,
            unfolding,
            fusion,
            named(weights),
            float(cover),
            tile,
        )

    def weights_of(self, kind: str) -> Path | None:
        """Return where the weights of a network are, None for the bundled ones."""
        if kind == "filling":
            return own_or_bundled(kind, self.weights)
        return self.weights
