"""Restore one slice: cover the dark line, interpolate, unfold, fuse."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.drift_model import DriftPrior
from sff_napari.alignment.stack_drift import StackDrift
from sff_napari.arrays import GreyScale, as_slice, is_constant
from sff_napari.detection import snap_fold
from sff_napari.devices import all_threads, choose_device, describe_device, steady_torch
from sff_napari.errors import FoldError, InputError
from sff_napari.folds import Fold
from sff_napari.folds.curve import grid_points
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.restoration.cascade import CONFIDENCE_STEP, Cascade
from sff_napari.restoration.extend_line import prolonged
from sff_napari.restoration.fusion.seamless import FUSIONS, Fusion
from sff_napari.restoration.interpolation.weighted import INTERPOLATIONS, Interpolation
from sff_napari.restoration.methods import UNFOLDINGS, Methods, Unfolding
from sff_napari.restoration.neighbours.aligned import aligned_neighbours
from sff_napari.tiling import DEFAULT_TILE, tiles
from sff_napari.warp import sample

_log = logging.getLogger(__name__)

DEFAULT_COVER = 2.0
"""Pixels by which the dark line is widened: its rim is neither line nor tissue."""
_SMALLEST_TILE = 256
_SNAP_REACH = 8.0
"""How far, in pixels, a line drawn by hand may lie from the ridge it means."""


@dataclass(frozen=True)
class Restoration:
    """A restored slice and how it came about.

    Parameters
    ----------
    restored : ndarray, (Y, X)
        The slice repaired, in the dtype and value range of the damaged one.
    reference : ndarray, (Y, X)
        The slice interpolated from the neighbours, in the same dtype.
    unfolded : ndarray, (Y, X) float32
        The damaged slice unfolded, in its grey values; NaN where it has no source.
    flow : ndarray, (2, Y, X) float32
        Sampling offset (dy, dx) in px: ``unfolded(x) = damaged(x + flow(x))``;
        NaN where there is no source.
    synthesised : ndarray, (Y, X) float32
        Share in [0, 1] of each restored pixel that does not come from the damaged slice.
    report : dict
        Methods, device, the law found for each fold, what was done to the
        neighbours; plain JSON types.
    confidence : ndarray, (Y, X) float16, or None
        How sure each pixel is, in [0, 1]: 1 where the folds changed nothing; where
        tissue was unfolded, the chance that the flow is within 1 px of the true
        one; where it was made up, the correlation it should have with the true
        tissue.  None for an unfolding that cannot tell.

    See Also
    --------
    sff_napari.restore : Makes it.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.simulation import neuropil
    >>> previous, clean, following = neuropil((3, 320, 320), seed=1)
    >>> line = sff.Fold([(0, 150), (319, 170)], half_width=6)
    >>> damaged = sff.simulate_fold(clean, line, hidden_half_width=20).damaged
    >>> result = sff.restore(previous, damaged, following, [line], fusion="seamless")
    >>> bool(0.05 < (result.synthesised > 0.5).mean() < 0.3)
    True
    >>> result.confidence.shape
    (320, 320)
    """

    restored: NDArray[Any]
    reference: NDArray[Any]
    unfolded: NDArray[np.float32]
    flow: NDArray[np.float32]
    synthesised: NDArray[np.float32]
    report: dict[str, Any] = field(default_factory=dict)
    confidence: NDArray[np.float16] | None = None


def restore(
    previous: Any,
    damaged: Any,
    following: Any,
    folds: Fold | Sequence[Fold],
    *,
    device: str | torch.device = "auto",
    interpolation: Interpolation = "motion",
    unfolding: Unfolding = "law",
    fusion: Fusion = "learned",
    weights: str | Path | None = None,
    cover: float = DEFAULT_COVER,
    snap: bool = True,
    tile: int | None = None,
    drift: StackDrift | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Restoration:
    """Restore a slice damaged by folds from itself and its neighbours.

    Parameters
    ----------
    previous, following : array_like, (Y, X), or None
        The undamaged neighbouring slices; one may be None.  NumPy, dask or
        zarr; any supported dtype; brightness may differ; may be shifted by up
        to 30 px.  One that lies farther off, shifted or turned or scaled, is
        moved onto the damaged slice first, and the report says so.
    damaged : array_like, (Y, X)
        The slice with folds; uint8, uint16, float32 or float64.
    folds : Fold or sequence of Fold
        The fold lines in it, drawn or detected.
    device : str or torch.device
        ``"auto"`` for the best there is.
    interpolation : {"motion", "mean", "network", "previous", "following"}
        How the reference is made: neighbours moved half way along their drift
        and averaged (default), averaged in place, the paper's network, or a copy.
    unfolding : {"law", "network", "none"}
        How the fold is undone: by a fit of the fold's own law (default), the
        paper's network, or not at all.
    fusion : {"learned", "expected", "seamless", "stitch", "network", "network-everywhere"}
        How observed and synthesised tissue are joined: the hidden band made up by
        a network that sees both neighbours and the slice around it, with the detail
        of tissue or with the least error, which is blurred; filled from the
        reference without a visible seam; pasted; or by the paper's network near the
        band; "network-everywhere" replaces observed pixels too, as the paper does.
    weights : path, optional
        Folder of weights for the networks; the bundled ones if not given.  A
        folder without weights for "learned" leaves that to the bundled ones.
        ``"free"``: a set of the package trained on synthetic tissue alone; the
        bundled ones were trained on data with non-commercial terms.
    cover : float
        Pixels by which the dark line is widened.
    snap : bool
        Move lines drawn by hand onto the dark ridge within 8 px and measure
        their width, and take every line on to where its dark line ends; else
        all lines are taken as they are.
    tile : int, optional
        Side of the tiles, px; smaller needs less memory.  The result does not
        depend on it.
    drift : StackDrift, optional
        How strongly the slices of the stack drift, as `measure_drift` found it; what
        this slice itself shows if not given.
    progress : callable, optional
        Called as ``progress(share, text)`` with the share done in [0, 1].
    cancelled : callable, optional
        Asked often; once it returns True, `Cancelled` is raised.

    Returns
    -------
    Restoration
        All arrays have the shape of `damaged`.

    Raises
    ------
    InputError
        If a slice or a choice cannot be used.
    FoldError
        If there is no fold or one lies outside the slice.
    WeightsError
        If a network was chosen and its weights cannot be used.
    Cancelled
        If `cancelled` returned True.

    See Also
    --------
    detect_folds : Finds the fold lines.
    measure_drift : Measures the drift of a stack once for all its slices.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.simulation import neuropil
    >>> previous, clean, following = neuropil((3, 320, 320), seed=1)
    >>> line = sff.Fold([(0, 150), (319, 170)], half_width=6)
    >>> damaged = sff.simulate_fold(clean, line, hidden_half_width=20).damaged
    >>> result = sff.restore(previous, damaged, following, [line])
    >>> result.restored.dtype, result.flow.shape
    (dtype('uint8'), (2, 320, 320))
    """
    with steady_torch():
        return _restore_slice(
            previous,
            damaged,
            following,
            folds,
            Methods.checked(interpolation, unfolding, fusion, weights, cover, tile),
            choose_device(device),
            snap,
            _checked_drift(drift),
            Reporter(progress, cancelled),
        )


def _checked_drift(drift: Any) -> DriftPrior | None:
    if drift is None:
        return None
    if not isinstance(drift, StackDrift):
        raise InputError(
            f"The drift is given as {type(drift).__name__}: use what sff_napari.measure_drift "
            "returns."
        )
    return drift.prior()


def _restore_slice(
    previous: Any,
    damaged: Any,
    following: Any,
    folds: Fold | Sequence[Fold],
    methods: Methods,
    device: torch.device,
    snap: bool,
    prior: DriftPrior | None,
    reporter: Reporter,
) -> Restoration:
    slice_ = as_slice(damaged, "damaged slice")
    lines = _checked_folds(folds, (slice_.shape[0], slice_.shape[1]))
    if is_constant(slice_):
        raise InputError(
            "The damaged slice has the same value everywhere: there is nothing to restore."
        )
    around = {
        name: _checked_neighbour(array, name, slice_.shape)
        for name, array in (("previous", previous), ("following", following))
        if array is not None
    }
    if not around:
        raise InputError("Both neighbours are missing: give at least one undamaged slice.")
    reporter(0.0, "Comparing the slices")
    names = {name: f"The {name} slice" for name in around}
    around, moved = aligned_neighbours(slice_, around, names, "the damaged slice")
    if snap:
        lines = snapped(slice_, lines)
    made = _with_less_memory(slice_, around, lines, methods, device, prior, reporter)
    made.report["notes"] = moved + made.report["notes"]
    return made


def snapped(image: NDArray[Any], folds: Sequence[Fold]) -> list[Fold]:
    """Return lines as they are taken: those drawn by hand on the dark ridge, all to its end.

    Parameters
    ----------
    image : ndarray, (Y, X)
        The damaged slice.
    folds : sequence of Fold
        The lines in it.
    """
    lines = [
        snap_fold(image, fold, reach=_SNAP_REACH) if fold.source == "drawn" else fold
        for fold in folds
    ]
    return [prolonged(image, fold) for fold in lines]


def _checked_folds(folds: Any, shape: tuple[int, int]) -> list[Fold]:
    lines = [folds] if isinstance(folds, Fold) else list(folds)
    if not lines:
        raise FoldError("There is no fold to restore: detect or draw a fold line first.")
    for fold in lines:
        if not isinstance(fold, Fold):
            raise FoldError(f"A fold is given as {type(fold).__name__}: use sff_napari.Fold.")
        fold.check_inside(shape)
    return lines


def _checked_neighbour(array: Any, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    neighbour = as_slice(array, f"{name} slice")
    if neighbour.shape != shape:
        raise InputError(
            f"The {name} slice has {neighbour.shape[0]} x {neighbour.shape[1]} pixels but the "
            f"damaged one {shape[0]} x {shape[1]}: neighbours must have the same shape."
        )
    if is_constant(neighbour):
        raise InputError(
            f"The {name} slice has the same value everywhere: give another neighbour or None."
        )
    return neighbour


def _with_less_memory(
    damaged: NDArray[Any],
    around: dict[str, NDArray[Any]],
    folds: list[Fold],
    methods: Methods,
    device: torch.device,
    prior: DriftPrior | None,
    reporter: Reporter,
) -> Restoration:
    """Run the cascade; when GPU memory runs out, in smaller tiles, then on the CPU."""
    notes: list[str] = []
    tile = methods.tile or DEFAULT_TILE
    while True:
        try:
            cascade = Cascade(
                damaged,
                GreyScale.of(damaged),
                around,
                folds,
                methods,
                device,
                tile,
                reporter.part(0, 0.7),
                prior=prior,
            )
            return _run(cascade, damaged, reporter, notes)
        except torch.OutOfMemoryError:
            if device.type == "cpu":
                raise InputError(
                    "There is not enough memory for this slice: use smaller tiles."
                ) from None
        # Outside of `except`: the traceback would keep the tensors alive.
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if tile > _SMALLEST_TILE:
            tile //= 2
            notes.append(f"GPU memory ran out; went on with tiles of {tile} px.")
        else:
            device = torch.device("cpu")
            notes.append("GPU memory ran out even with small tiles; went on on the CPU.")
        _log.warning(notes[-1])
        reporter(0.0, notes[-1])


def _run(
    cascade: Cascade, damaged: NDArray[Any], reporter: Reporter, notes: list[str]
) -> Restoration:
    grey = cascade.grey
    shape = (damaged.shape[0], damaged.shape[1])
    restored = damaged.copy()
    reference = np.empty_like(damaged)
    unfolded = np.empty(shape, dtype=np.float32)
    flow = np.empty((2, *shape), dtype=np.float32)
    synthesised = np.empty(shape, dtype=np.float32)
    with all_threads():
        for share, (rows, columns), part in cascade.tiles():
            reporter(0.7 + 0.3 * share, "Restoring")
            reference[rows, columns] = grey.from_unit(part.reference)
            flow[:, rows, columns] = part.flow
            unfolded[rows, columns] = part.unfolded * np.float32(grey.high - grey.low) + np.float32(
                grey.low
            )
            synthesised[rows, columns] = part.synthesised
            # Pixels the folds did not touch keep their very bits.
            restored[rows, columns][part.changed] = grey.from_unit(part.restored[part.changed])
    sure = _confidence(cascade.confidence(), flow, synthesised, cascade.tile)
    reporter(1.0, "Done")
    report = cascade.report()
    report["device"] = describe_device(cascade.device)
    report["notes"] = notes + cascade.warnings()
    return Restoration(restored, reference, unfolded, flow, synthesised, report, sure)


def _confidence(
    coarse: Tensor | None, flow: NDArray[np.float32], synthesised: NDArray[np.float32], side: int
) -> NDArray[np.float16] | None:
    """Return the confidence of each pixel, tile by tile, from that on a coarse grid."""
    if coarse is None:
        return None
    result = np.ones(synthesised.shape, dtype=np.float16)
    first = (CONFIDENCE_STEP - 1) / 2
    for rows, columns in tiles((flow.shape[1], flow.shape[2]), side):
        size = (rows.stop - rows.start, columns.stop - columns.start)
        points = grid_points(size, (float(rows.start), float(columns.start)), 1.0, coarse.device)
        y, x = (points - first) / CONFIDENCE_STEP
        sure, filling = sample(coarse[None], y[None], x[None], "bilinear")[0].cpu().numpy()
        share = synthesised[rows, columns]
        # NaN, without source, is no flow of zero.
        still = (flow[:, rows, columns] == 0).all(axis=0)
        result[rows, columns] = np.where(still, 1.0, sure) * (1 - share) + filling * share
    return result


__all__ = [
    "DEFAULT_COVER",
    "FUSIONS",
    "INTERPOLATIONS",
    "UNFOLDINGS",
    "Restoration",
    "restore",
]
