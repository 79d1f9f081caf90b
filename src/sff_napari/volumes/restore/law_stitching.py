"""Join what folds did from windows to whole lines, and cut it to blocks.

Every block of a slice is unfolded by the same law, so that it fits those beside
it, however far what a fold did reaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.folds import Curve, Fold, FoldLaw
from sff_napari.restoration.unfolding.chain import compose_folds
from sff_napari.restoration.unfolding.fitted_fold import NEGLIGIBLE, FittedFold, LawUnfolding
from sff_napari.volumes.plan.blocks import Block

_JOIN = 256.0
"""Half of the width, px, over which the law of a window fades into that of the next."""
_ALIKE = 3000.0
"""Distance along a line, px, over which its law stays about the same."""
_STEP = 32.0
_FUSED = 192.0
"""Pixels around the hidden band within which fusion corrects contrast, and some more."""
_BESIDE = 512.0
"""Pixels beyond what a fold reaches for which its line is kept in a block."""


def join(
    folds: Sequence[Fold], windows: Sequence[Mapping[str, Any]], shape: tuple[int, int]
) -> list[dict[str, Any]]:
    """Return what each fold of a slice did along its whole line.

    Parameters
    ----------
    folds : sequence of Fold
        The folds of the slice as given.
    windows : sequence of mapping
        What `windows.fit_window` stored for each window.
    shape : (Y, X)
        Of the slice.

    Returns
    -------
    list of dict
        For each fold that was seen: ``vertices``, and at each of them
        ``half_widths``, ``dark``, ``gap``, ``decay`` and ``tail``, and how far
        the displacement may be off, ``error`` and ``floor`` (see
        `block_confidence.line_errors`); and its ``reach`` in px.
    """
    joined = []
    for number, fold in enumerate(folds):
        parts = [
            (Block.from_dict(dict(window["piece"])), line)
            for window in windows
            for line in window["lines"]
            if line["number"] == number
        ]
        if parts:
            joined.append(_joined(fold, parts, shape))
    return joined


def _joined(
    fold: Fold, parts: Sequence[tuple[Block, Mapping[str, Any]]], shape: tuple[int, int]
) -> dict[str, Any]:
    curve = Curve.of(fold, "cpu")
    tables = []
    for block, line in parts:
        points = np.array(line["points"])
        along = curve.project(torch.tensor(points.T, dtype=torch.float32)).along.numpy()
        table = np.column_stack(
            [
                points,
                line["half_widths"],
                line["dark"],
                *line["gap"],
                *line["decay"],
                np.repeat([line["tail"]], len(points), axis=0),
                np.full(len(points), line["floor"]),
                *line["error"],
            ]
        )
        order = np.argsort(along, kind="stable")
        tables.append((along[order], table[order], _inset(points[order], block, shape)))
    _share_uniform(tables, [line for _, line in parts])
    low = min(along[0] for along, _, _ in tables)
    high = max(along[-1] for along, _, _ in tables)
    grid = np.linspace(low, high, max(3, int((high - low) / _STEP) + 1))
    total = np.zeros((len(grid), tables[0][1].shape[1]))
    weight = np.zeros(len(grid))
    for along, table, inset in tables:
        share = np.clip((np.interp(grid, along, inset) + _JOIN) / (2 * _JOIN), 1e-6, 1)
        share[(grid < along[0] - 1e-3) | (grid > along[-1] + 1e-3)] = 0
        for column in range(table.shape[1]):
            total[:, column] += share * np.interp(grid, along, table[:, column])
        weight += share
    # A line that leaves the slice and comes back is seen by no window in between.
    seen = weight > 0
    values = total[seen] / weight[seen, None]
    law = {
        "dark": values[:, 3].tolist(),
        "gap": values[:, 4:6].T.tolist(),
        "decay": values[:, 6:8].T.tolist(),
        "tail": values[:, 8:10].T.tolist(),
    }
    ends = [bool(0 < y < shape[0] - 1 and 0 < x < shape[1] - 1) for y, x in values[[0, -1], :2]]
    return {
        "vertices": values[:, :2].tolist(),
        "half_widths": values[:, 2].tolist(),
        "source": fold.source,
        "ends": ends,
        **law,
        "floor": values[:, 10].tolist(),
        "error": values[:, 11:].T.tolist(),
        "reach": _reach(law),
    }


def _share_uniform(
    tables: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]],
    lines: Sequence[Mapping[str, Any]],
) -> None:
    """Let windows in which the law is the same all along tell each other what it is.

    Each of them has an error of its own; the law changes slowly along a fold.
    """
    uniform = [number for number, line in enumerate(lines) if line["uniform"]]
    centres = {number: float(tables[number][0].mean()) for number in uniform}
    laws = {number: tables[number][1][:, 4:10].mean(axis=0) for number in uniform}
    for number in uniform:
        shares = {
            other: max(float(lines[other]["score"]), 1e-6)
            * np.exp(-abs(centres[other] - centres[number]) / _ALIKE)
            for other in uniform
        }
        mean = sum(share * laws[other] for other, share in shares.items())
        tables[number][1][:, 4:10] = mean / sum(shares.values())


def _inset(points: NDArray[Any], block: Block, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return how deep points lie within what belongs to a window, px; negative outside."""
    top, bottom, left, right = block.core(shape)
    large = 1e9
    sides = [
        points[:, 0] - top if top > 0 else large,
        bottom - points[:, 0] if bottom < shape[0] else large,
        points[:, 1] - left if left > 0 else large,
        right - points[:, 1] if right < shape[1] else large,
    ]
    return np.minimum.reduce([np.broadcast_to(side, len(points)) for side in sides])


def _reach(law: Mapping[str, Any]) -> float:
    """Return the distance from the line, px, at which the displacement has faded away."""
    gap, decay = np.array(law["gap"]), np.maximum(np.array(law["decay"]), 1e-6)
    q = np.maximum(1 - np.array(law["tail"]), 1e-3)
    # phi(x) = (1 - q x)^(1/q) falls to NEGLIGIBLE / gap.
    left = np.minimum(NEGLIGIBLE / np.maximum(gap, NEGLIGIBLE), 1.0)
    x = (1 - left**q) / q
    far = np.where(gap > NEGLIGIBLE, x * gap / decay, 0.0)
    return float(np.max(far + np.array(law["dark"])) + np.max(gap))


@dataclass(frozen=True)
class _PartOfDrift(SliceDrift):
    """The drift of a window, in pixels of a part of it.

    Parameters
    ----------
    begin : (y, x)
        Where the part begins in the window, px.
    """

    begin: tuple[float, float] = (0.0, 0.0)

    def on_grid(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the field (2, height, width), in px, on a grid of the part."""
        moved = (origin[0] + self.begin[0], origin[1] + self.begin[1])
        return super().on_grid(shape, moved, step)


def around(lines: Sequence[Mapping[str, Any]]) -> int:
    """Return how many pixels around it a block has to read: tissue is moved, and fused."""
    farthest = max((float(np.max(line["gap"])) for line in lines), default=0.0)
    return int(_FUSED + farthest)


def unfolding_in(
    lines: Sequence[Mapping[str, Any]],
    block: Block,
    cover: float,
    drift: Mapping[str, Any] | None,
    device: torch.device,
) -> LawUnfolding:
    """Return how to unfold what a block reads.

    Parameters
    ----------
    lines : sequence of mapping
        What `join` returns; those near the block.
    block : Block
        The block.
    cover : float
        Pixels beside the dark line that count as part of it.
    drift : mapping, optional
        Where the slice lies against its neighbours, as the window around the
        block found it, if there is one.
    device : torch.device
        Where to compute.
    """
    shape = (block.read_rows[1] - block.read_rows[0], block.read_columns[1] - block.read_columns[0])
    slice_drift = SliceDrift.none(shape, device)
    if drift is not None:
        window = Block.from_dict(drift["piece"])
        slice_drift = _PartOfDrift(
            (
                window.read_rows[1] - window.read_rows[0],
                window.read_columns[1] - window.read_columns[0],
            ),
            torch.tensor(drift["weights"], dtype=torch.float32, device=device),
            drift["finest"],
            begin=(
                float(block.read_rows[0] - window.read_rows[0]),
                float(block.read_columns[0] - window.read_columns[0]),
            ),
        )
    return compose_folds([_fitted(line, block, slice_drift, device) for line in lines], cover)


def _fitted(
    line: Mapping[str, Any], block: Block, drift: SliceDrift, device: torch.device
) -> FittedFold:
    vertices = np.array(line["vertices"])
    part = _near_part(line, block)
    origin = (block.read_rows[0], block.read_columns[0])
    fold = Fold(
        [(y - origin[0], x - origin[1]) for y, x in vertices[part]],
        float(np.mean(line["half_widths"][part])),
        half_widths=line["half_widths"][part],
        source=line["source"],
    )
    curve = Curve.of(fold, device)
    knots = torch.tensor(curve.vertices_along, dtype=torch.float32, device=device)

    def values(name: str) -> Tensor:
        table = np.atleast_2d(np.array(line[name]))[:, part]
        return torch.tensor(table, dtype=torch.float32, device=device)

    dark, gap, decay, tail = (values(name) for name in ("dark", "gap", "decay", "tail"))
    # Beyond an end within the slice there is no fold.
    for at_end, stop in enumerate(_stops(line, part)):
        if stop:
            edge = knots[-1:] + 1e-2 if at_end else knots[:1] - 1e-2
            knots = torch.cat([knots, edge] if at_end else [edge, knots])
            dark, gap, decay, tail = (
                _with_rim(table, bool(at_end), empty)
                for table, empty in ((dark, True), (gap, True), (decay, False), (tail, False))
            )
    law = FoldLaw(knots, dark[0], gap, decay, tail)
    return FittedFold(fold, curve, law, cast(Any, None), drift)


def _near_part(line: Mapping[str, Any], block: Block) -> slice:
    """Return the vertices of a line that count in what a block reads."""
    vertices = np.array(line["vertices"])
    beside = line["reach"] + _BESIDE
    low = np.array([block.read_rows[0], block.read_columns[0]]) - beside
    high = np.array([block.read_rows[1], block.read_columns[1]]) + beside
    inside = np.flatnonzero(((vertices > low) & (vertices < high)).all(axis=1))
    first, last = max(0, inside[0] - 2), min(len(vertices) - 1, inside[-1] + 2)
    if last == first:
        last, first = min(last + 1, len(vertices) - 1), max(0, first - 1)
    return slice(int(first), int(last) + 1)


def _stops(line: Mapping[str, Any], part: slice) -> tuple[bool, bool]:
    """Return whether a part of a line begins, and ends, where the line does within the slice."""
    begins, ends = line["ends"]
    return begins and part.start == 0, ends and part.stop == len(line["vertices"])


def errors_in(
    lines: Sequence[Mapping[str, Any]], block: Block, unfolding: LawUnfolding
) -> list[dict[str, NDArray[np.float64]]]:
    """Return for each fold of a block how far its displacement may be off, along its line.

    Parameters
    ----------
    lines, block
        As in `unfolding_in`.
    unfolding : LawUnfolding
        What that returned.

    Returns
    -------
    list of dict
        ``along`` (N,): arc lengths on the fold's curve, px; there ``error`` and
        ``floor`` in px, see `block_confidence.line_errors`.
    """
    found = []
    for line, one in zip(lines, unfolding.fitted, strict=True):
        part = _near_part(line, block)
        first, last = _stops(line, part)
        knots = one.law.knots.cpu().numpy()
        found.append(
            {
                "along": knots[int(first) : len(knots) - int(last)],
                "error": np.array(line["error"])[:, part],
                "floor": np.array(line["floor"])[part],
            }
        )
    return found


def _with_rim(table: Tensor, at_end: bool, empty: bool) -> Tensor:
    rim = table[:, -1:] if at_end else table[:, :1]
    rim = torch.zeros_like(rim) if empty else rim
    return torch.cat([table, rim] if at_end else [rim, table], dim=1)


def near(lines: Sequence[Mapping[str, Any]], block: Block) -> list[Mapping[str, Any]]:
    """Return the lines that displace tissue in what a block reads."""
    low = np.array([block.read_rows[0], block.read_columns[0]])
    high = np.array([block.read_rows[1], block.read_columns[1]])
    found = []
    for line in lines:
        vertices = np.array(line["vertices"])
        outside = np.maximum(np.maximum(low - vertices, vertices - high), 0)
        if np.hypot(*outside.T).min() <= line["reach"] + _STEP:
            found.append(line)
    return found
