"""Restore slices of a stack one after another, with a record of each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import sff_napari
from sff_napari.arrays import as_slice
from sff_napari.devices import choose_device, describe_device
from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.networks import weights as network_weights
from sff_napari.progress import Reporter
from sff_napari.restoration import DEFAULT_COVER, restore
from sff_napari.restoration.neighbours.aligned import aligned_neighbours
from sff_napari.sessions import choose_neighbours
from sff_napari.stacks import RestoredSlice, Stack, stack_identity
from sff_napari.volumes.to_json import as_plain

_LARGEST_TILE = 1024


class StackRestoration:
    """The restoration of chosen slices of a stack.

    Parameters
    ----------
    stack : Stack
        The damaged stack.
    folds : mapping of int to sequence of Fold
        The folds of each damaged slice; slices without are taken as undamaged.
    choices : mapping of str to str
        Methods for ``interpolation``, ``unfolding`` and ``fusion``, as
        `sff_napari.restore` takes them.
    device : str
        Where to compute.
    weights : Path, optional
        Weights of the networks.
    cover : float
        Pixels by which the dark line is widened.
    tile : int, optional
        Side of the tiles in pixels; the result does not depend on it.
    """

    def __init__(
        self,
        stack: Stack,
        folds: Mapping[int, Sequence[Fold]],
        choices: Mapping[str, str],
        *,
        device: str = "auto",
        weights: Path | None = None,
        cover: float = DEFAULT_COVER,
        tile: int | None = None,
    ) -> None:
        self._stack = stack
        self._folds = folds
        self._choices = dict(choices)
        self._device = device
        self._weights = weights
        self._cover = cover
        # Larger ones need more memory and gain nothing.
        self._tile = None if tile is None else min(tile, _LARGEST_TILE)
        self.notes: list[str] = []
        self.records: list[dict[str, Any]] = []
        self.seconds = 0.0

    def manifest(self) -> dict[str, Any]:
        """Return what is the same for all slices, plain JSON types.

        Raises
        ------
        WeightsError
            If a network was chosen and its weights cannot be used.
        """
        return {
            "program": "sff-napari",
            "version": sff_napari.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "stack": stack_identity(self._stack),
            "device": describe_device(choose_device(self._device)),
            "parameters": {
                **self._choices,
                "cover": self._cover,
                "tile": self._tile,
                "weights": None if self._weights is None else self._weights.name,
            },
            "weights_sha256": self._digests(),
        }

    def _digests(self) -> dict[str, str]:
        """Return the hash of the weights of each stage that a network does."""
        return {
            stage: network_weights.digest(cast(Any, stage), self._weights)
            for stage, choice in self._choices.items()
            if choice.startswith("network")
        }

    def restore(self, z: int, reporter: Reporter) -> RestoredSlice:
        """Return slice `z` restored from itself and its nearest undamaged neighbours.

        Raises
        ------
        InputError
            If no undamaged neighbour is near, or the slice cannot be used.
        """
        start = time.perf_counter()
        neighbours = choose_neighbours(
            (z,),
            0,
            len(self._stack),
            {(damaged,) for damaged in self._folds},
            positions=self._stack.positions,
        )
        if neighbours.previous is None and neighbours.following is None:
            raise InputError(
                f"Slice {z} has no undamaged slice near it to be restored from: "
                "remove folds that are not real from the folds file."
            )
        previous = None if neighbours.previous is None else neighbours.previous[0]
        following = None if neighbours.following is None else neighbours.following[0]
        options: dict[str, Any] = {**self._choices, "cover": self._cover}
        if self._weights is not None:
            options["weights"] = self._weights
        if self._tile is not None:
            options["tile"] = self._tile
        numbers = {"previous": previous, "following": following}
        try:
            damaged = as_slice(self._stack[z], "damaged slice")
            around, moved = aligned_neighbours(
                damaged,
                {
                    name: as_slice(self._stack[number], f"{name} slice")
                    for name, number in numbers.items()
                    if number is not None
                },
                {name: f"Slice {number}" for name, number in numbers.items()},
                f"slice {z}",
            )
            result = restore(
                around.get("previous"),
                damaged,
                around.get("following"),
                list(self._folds[z]),
                device=self._device,
                progress=lambda share, text: reporter(share, f"slice {z}: {text}"),
                **options,
            )
        except InputError as error:
            raise InputError(f"Slice {z}: {error}") from error
        self.notes.extend(f"Slice {z}: {text}" for text in (*moved, *result.report["notes"]))
        if neighbours.note:
            self.notes.append(f"Slice {z}: {neighbours.note}")
        seconds = time.perf_counter() - start
        self.seconds += seconds
        record = {
            "folds": [fold.to_dict() for fold in self._folds[z]],
            "previous": previous,
            "following": following,
            "note": neighbours.note,
            "seconds": round(seconds, 3),
            "report": as_plain(getattr(result, "report", None)),
        }
        self.records.append({"slice": z, **record})
        return RestoredSlice(result.restored, result.synthesised, result.flow, record)
