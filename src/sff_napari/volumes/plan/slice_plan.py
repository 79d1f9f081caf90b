"""Plan what is done to each slice: its folds, neighbours, blocks, and a key for the result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sff_napari.folds import Fold
from sff_napari.sessions import choose_neighbours, clean_pairs
from sff_napari.volumes.plan.blocks import Block, cut, cut_all, windows
from sff_napari.volumes.plan.keys import digest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore.law_stitching import around, near
from sff_napari.volumes.restore.missing_slice import LONGEST
from sff_napari.volumes.run.task import FillBlock, FitWindow, RestoreBlock


@dataclass(frozen=True)
class SlicePlan:
    """What is done to one slice.

    Parameters
    ----------
    z : int
        The slice.
    folds : mapping of str to Fold
        By name, e.g. ``z12-0``; empty if the slice is to be as it was.
    previous, following : int or None
        The slices it is restored from.
    note : str
        One sentence if they are not its neighbours.
    key : str
        Hash of all that determines the result.
    fill : str
        Name under which the slice is made as a whole, because it is missing;
        else empty.
    clean : (int, int) or None
        Undamaged slices next to each other, near this one: how much they
        resemble each other is what the restored slice is measured by.
    """

    z: int
    folds: Mapping[str, Fold]
    previous: int | None
    following: int | None
    note: str
    key: str
    fill: str = ""
    clean: tuple[int, int] | None = None

    @property
    def makes(self) -> bool:
        """Whether anything is made; else the slice is to be as it was."""
        return bool(self.folds or self.fill)

    def tasks(
        self,
        shape: tuple[int, int],
        settings: VolumeSettings,
        lines: Sequence[Mapping[str, Any]] | None = None,
        drifts: Mapping[int, Any] | None = None,
    ) -> Sequence[RestoreBlock | FillBlock]:
        """Return the tasks that restore the slice, one for each block.

        Parameters
        ----------
        shape : (Y, X)
            Of the slice.
        settings : Settings
            How it is restored.
        lines : sequence of mapping, optional
            What the folds did, in a large slice; see `lines.join`.
        drifts : mapping of int to mapping, optional
            Where the slice lies against its neighbours, by number of the block.
        """
        if lines is not None:
            return [
                self._restore(block, (), settings, beside, (drifts or {}).get(block.number))
                for block in cut_all(shape, settings.tile, around(lines))
                if (beside := near(lines, block))
            ]
        if self.fill:
            return [
                FillBlock(*self._task(block, settings)) for block in cut_all(shape, settings.tile)
            ]
        parts = cut(shape, settings.tile, list(self.folds.values()))
        return [self._restore(block, folds, settings) for block, folds in parts]

    def fits(self, shape: tuple[int, int], settings: VolumeSettings) -> list[FitWindow]:
        """Return the tasks that find what the folds did, where a slice is not done in one piece.

        Parameters
        ----------
        shape : (Y, X)
            Of the slice.
        settings : Settings
            How it is restored.
        """
        if max(shape) <= settings.tile or settings.unfolding != "law" or not self.folds:
            return []
        return [
            FitWindow(
                *self._task(block, settings),
                folds=tuple(fold for _, fold in seen),
                numbers=tuple(number for number, _ in seen),
            )
            for block, seen in windows(shape, settings.tile, list(self.folds.values()))
        ]

    def _restore(
        self,
        block: Block,
        folds: Sequence[Fold],
        settings: VolumeSettings,
        lines: Sequence[Mapping[str, Any]] | None = None,
        drift: Mapping[str, Any] | None = None,
    ) -> RestoreBlock:
        weights = None if settings.weights is None else str(settings.weights.resolve())
        return RestoreBlock(
            *self._task(block, settings), tuple(folds), self.clean, weights, lines, drift
        )

    def _task(
        self, block: Block, settings: VolumeSettings
    ) -> tuple[str, int, Block, int | None, int | None, str]:
        """Return what every task of a block needs, in the order of `BlockTask`."""
        beside = "" if self.clean is None else f"-c{self.clean[0]:06d}"
        key = f"z{self.z:06d}-p{block.number:05d}-{self.key[:16]}{beside}"
        return key, self.z, block, self.previous, self.following, settings.device


def plan_slices(
    base: str,
    folds: Mapping[int, Sequence[Fold]],
    wanted: Collection[int],
    count: int,
    missing: Collection[int] = (),
    positions: Sequence[float] | None = None,
) -> tuple[list[SlicePlan], dict[int, str]]:
    """Return what is done to each wanted slice, and why it cannot be done to others.

    Parameters
    ----------
    base : str
        Key of the volume's plan.
    folds : mapping of int to sequence of Fold
        The folds of all damaged slices.
    wanted : collection of int
        The slices to restore.
    count : int
        Number of slices of the volume.
    missing : collection of int
        Slices that hold no image; wanted ones among them are made as a whole.
    positions : sequence of float, optional
        Where each slice lies, in slices, where some are missing in between.
    """
    plans, failed = [], {}
    alone = _long_runs(missing)
    damaged = {(z,) for z in (*folds, *missing)}
    for z in sorted(wanted):
        if z in alone:
            failed[z] = (
                f"Slice {z} is one of more than {LONGEST} missing in a row: "
                "so many are not interpolated."
            )
            continue
        around = choose_neighbours((z,), 0, count, damaged, positions=positions)
        if around.previous is None and around.following is None:
            failed[z] = (
                f"Slice {z} has no undamaged slice near it to be restored from: "
                "remove folds that are not real from the folds file."
            )
            continue
        previous = None if around.previous is None else around.previous[0]
        following = None if around.following is None else around.following[0]
        if z in missing:
            name = f"z{z}-missing"
            plans.append(plan_slice(base, z, {}, previous, following, around.note, name))
            continue
        named = {f"z{z}-{number}": fold for number, fold in enumerate(folds[z])}
        pairs = clean_pairs((z,), 0, count, damaged, most=1, positions=positions)
        clean = (pairs[0][0][0], pairs[0][1][0]) if pairs else None
        plans.append(plan_slice(base, z, named, previous, following, around.note, clean=clean))
    return plans, failed


def _long_runs(missing: Collection[int]) -> set[int]:
    """Return the slices that lie in runs that are too long to be made from those around."""
    found: set[int] = set()
    run: list[int] = []
    for z in [*sorted(missing), -1]:
        if run and z != run[-1] + 1:
            if len(run) > LONGEST:
                found.update(run)
            run = []
        run.append(z)
    return found


def plan_slice(
    base: str,
    z: int,
    folds: Mapping[str, Fold],
    previous: int | None,
    following: int | None,
    note: str = "",
    fill: str = "",
    clean: tuple[int, int] | None = None,
) -> SlicePlan:
    """Return what is done to one slice; parameters as in `SlicePlan`."""
    lines = [fold.to_dict() for fold in folds.values()]
    key = digest([base, z, lines, list(folds), previous, following, fill])
    return SlicePlan(z, folds, previous, following, note, key, fill, clean)
