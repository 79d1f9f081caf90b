"""Store what restoring a block changes until the chunks are written, and paste it into them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.volumes.plan.blocks import Block, Span

SURE = 255
"""How a confidence of 1 is stored."""
GRAIN = 5
"""A stored confidence is a multiple of this; finer steps say nothing and take three times the
space."""
_WHOLE = 1 - 1e-6


def stored(confidence: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a confidence in [0, 1] as it is stored, in 1/255."""
    known = np.nan_to_num(np.asarray(confidence, dtype=np.float32), nan=0.0)
    return (GRAIN * np.rint(np.clip(known, 0, 1) * (SURE / GRAIN))).astype(np.uint8)


@dataclass(frozen=True)
class Patch:
    """The pixels of a block that are not as they were.

    Parameters
    ----------
    block : Block
        Where it belongs.
    rows, columns : (first, end)
        The pixels of the slice that it covers.
    restored : ndarray, (rows, columns)
        Grey values in the dtype of the stack.
    changed : ndarray of bool, (rows, columns)
        Where they differ from the damaged slice.
    synthesised : ndarray of bool, (rows, columns)
        Where they are not wholly observed.
    flow : ndarray of float32, (2, rows, columns)
        Sampling offset (dy, dx) in px; NaN where there is no source.
    confidence : ndarray of uint8, (rows, columns), or None
        How sure each pixel is, in 1/255; None for methods that cannot tell.
    """

    block: Block
    rows: Span
    columns: Span
    restored: NDArray[Any]
    changed: NDArray[np.bool_]
    synthesised: NDArray[np.bool_]
    flow: NDArray[np.float32]
    confidence: NDArray[np.uint8] | None = None

    @classmethod
    def of(
        cls,
        block: Block,
        damaged: NDArray[Any],
        restored: NDArray[Any],
        synthesised: NDArray[Any],
        flow: NDArray[np.float32],
        confidence: NDArray[Any] | None = None,
    ) -> Patch:
        """Return the patch of a restored block; arrays (Y, X) of what the block reads."""
        top, left = block.read_rows[0], block.read_columns[0]
        part = (
            slice(block.rows[0] - top, block.rows[1] - top),
            slice(block.columns[0] - left, block.columns[1] - left),
        )
        changed = different(restored[part], damaged[part])
        made = synthesised[part] > 0
        moved = (flow[(slice(None), *part)] != 0).any(axis=0)  # NaN differs from 0 too
        touched = changed | made | moved
        rows, columns = _extent(touched.any(axis=1)), _extent(touched.any(axis=0))
        box = slice(*rows), slice(*columns)
        return cls(
            block,
            (block.rows[0] + rows[0], block.rows[0] + rows[1]),
            (block.columns[0] + columns[0], block.columns[0] + columns[1]),
            np.ascontiguousarray(restored[part][box]),
            np.ascontiguousarray(changed[box]),
            np.ascontiguousarray(made[box]),
            np.ascontiguousarray(flow[(slice(None), *part)][(slice(None), *box)]),
            None if confidence is None else stored(confidence[part][box]),
        )

    @property
    def extent(self) -> tuple[Span, Span] | None:
        """Rows and columns of the slice within which grey values changed; None if none did."""
        rows, columns = _extent(self.changed.any(axis=1)), _extent(self.changed.any(axis=0))
        if rows[0] == rows[1]:
            return None
        return (
            (self.rows[0] + rows[0], self.rows[0] + rows[1]),
            (self.columns[0] + columns[0], self.columns[0] + columns[1]),
        )

    def to_bytes(self) -> bytes:
        """Return the patch as the content of a file (NumPy's npz, without pickle)."""
        file = io.BytesIO()
        sure: dict[str, Any] = {}
        if self.confidence is not None:
            sure["confidence"] = self.confidence
        np.savez(
            file,
            box=np.array([*self.rows, *self.columns], dtype=np.int64),
            restored=self.restored,
            changed=np.packbits(self.changed),
            synthesised=np.packbits(self.synthesised),
            flow=self.flow,
            **sure,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, block: Block) -> Patch:
        """Return the patch in a file.

        Raises
        ------
        StackError
            If the file is damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                top, bottom, left, right = (int(n) for n in file["box"])
                shape = (bottom - top, right - left)

                def mask(name: str) -> NDArray[np.bool_]:
                    bits = np.unpackbits(file[name], count=shape[0] * shape[1])
                    return bits.reshape(shape).astype(bool)

                return cls(
                    block,
                    (top, bottom),
                    (left, right),
                    file["restored"].reshape(shape),
                    mask("changed"),
                    mask("synthesised"),
                    file["flow"].reshape(2, *shape),
                    file["confidence"].reshape(shape) if "confidence" in file else None,
                )
        except Exception as error:  # a damaged file makes the reader raise anything
            raise StackError("A stored patch is damaged: remove it and run again.") from error

    def overlap(self, rows: Span, columns: Span) -> _Overlap | None:
        """Return where the patch lies in a part of the slice; None if it does not."""
        top, bottom = max(rows[0], self.rows[0]), min(rows[1], self.rows[1])
        left, right = max(columns[0], self.columns[0]), min(columns[1], self.columns[1])
        if top >= bottom or left >= right:
            return None
        return _Overlap(
            (slice(top - rows[0], bottom - rows[0]), slice(left - columns[0], right - columns[0])),
            (
                slice(top - self.rows[0], bottom - self.rows[0]),
                slice(left - self.columns[0], right - self.columns[0]),
            ),
            (top, bottom),
            (left, right),
        )


@dataclass(frozen=True)
class _Overlap:
    target_part: tuple[slice, slice]
    own_part: tuple[slice, slice]
    rows: Span
    columns: Span


def paste(plane: NDArray[Any], rows: Span, columns: Span, patches: list[Patch]) -> None:
    """Paste the grey values of patches of one slice into a part of it.

    Parameters
    ----------
    plane : ndarray, (rows, columns)
        The damaged slice's pixels; changed here.
    rows, columns : (first, end)
        Which part it is.
    patches : list of Patch
        Of this slice.
    """
    kind = np.float64 if plane.dtype.itemsize > 2 else np.float32
    total = np.zeros(plane.shape, dtype=kind)
    weight = np.zeros(plane.shape, dtype=np.float32)
    touched = np.zeros(plane.shape, dtype=bool)
    exact: list[tuple[NDArray[np.bool_], NDArray[Any], tuple[slice, slice]]] = []
    for patch, over in _overlapping(rows, columns, patches):
        share = patch.block.share(over.rows, over.columns)
        changed = patch.changed[over.own_part]
        values = patch.restored[over.own_part]
        total[over.target_part] += share * np.where(share > 0, values, 0)
        weight[over.target_part] += share
        touched[over.target_part] |= changed & (share > 0)
        exact.append((changed & (share >= _WHOLE), values, over.target_part))
    rest = 1 - weight
    left = touched & (rest > 1e-6)
    total[left] += (rest[left] * plane[left]).astype(kind)
    mixed = np.rint(total) if plane.dtype.kind in "ui" else total
    plane[touched] = mixed[touched].astype(plane.dtype)
    # Where one block alone counts, its very bits.
    for where, values, target_part in exact:
        plane[target_part][where] = values[where]


def paste_derived(
    synthesised: NDArray[np.uint8],
    flow: NDArray[np.float32],
    rows: Span,
    columns: Span,
    patches: list[Patch],
) -> None:
    """Paste masks (rows, columns) and flow (2, rows, columns) of patches of one slice."""
    nan = np.zeros(synthesised.shape, dtype=np.float32)
    for patch, over in _overlapping(rows, columns, patches):
        share = patch.block.share(over.rows, over.columns)
        synthesised[over.target_part] |= patch.synthesised[over.own_part] & (share > 0)
        part = patch.flow[(slice(None), *over.own_part)]
        lost = np.isnan(part[0])
        nan[over.target_part] += share * lost
        flow[(slice(None), *over.target_part)] += share * np.where(lost, 0, part)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = 1 - nan
        flow[:] = np.where((nan > 0) & (nan < 0.5), flow / known, flow)
    flow[:, nan >= 0.5] = np.nan


def paste_confidence(
    confidence: NDArray[np.uint8], rows: Span, columns: Span, patches: list[Patch]
) -> None:
    """Paste the confidence of patches of one slice into a part of it, (rows, columns)."""
    doubt = np.zeros(confidence.shape, dtype=np.float32)
    for patch, over in _overlapping(rows, columns, patches):
        if patch.confidence is not None:
            share = patch.block.share(over.rows, over.columns)
            doubt[over.target_part] += share * (
                SURE - patch.confidence[over.own_part].astype(np.float32)
            )
    confidence[:] = SURE - (GRAIN * np.clip(np.rint(doubt / GRAIN), 0, SURE / GRAIN))


def _overlapping(
    rows: Span, columns: Span, patches: list[Patch]
) -> Iterator[tuple[Patch, _Overlap]]:
    for patch in sorted(patches, key=lambda one: one.block.number):
        over = patch.overlap(rows, columns)
        if over is not None:
            yield patch, over


def different(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two arrays differ; NaN equals NaN."""
    unequal: NDArray[np.bool_] = a != b
    if a.dtype.kind == "f":
        unequal &= ~(np.isnan(a) & np.isnan(b))
    return unequal


def _extent(marked: Any) -> Span:
    places = np.flatnonzero(marked)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
