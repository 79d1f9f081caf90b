"""Enlarge a slice that exists only at low magnification."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sff_napari.alignment import Similarity
from sff_napari.arrays import GreyScale, as_slice, is_constant
from sff_napari.devices import all_threads, choose_device, describe_device, steady_torch
from sff_napari.errors import InputError
from sff_napari.low_magnification.aligned import Aligned, align
from sff_napari.low_magnification.enlarged import Enlarged
from sff_napari.low_magnification.frame import Frame, check_factor, in_place
from sff_napari.low_magnification.methods import METHODS, Made, Method, local_mean, make
from sff_napari.low_magnification.placement import find_placement
from sff_napari.low_magnification.resampling import back_project, band_of_low
from sff_napari.no_data import fill_no_data, find_no_data
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter

_LEAST_SIDE = 8
WITHIN = 0.5
"""Error, in units of the spread of the low slice, that the confidence refers to."""

Grey = NDArray[np.float32]


def enlarge(
    low: ArrayLike,
    previous: ArrayLike | None,
    following: ArrayLike | None,
    *,
    factor: int = 8,
    placement: Similarity | None = None,
    method: Method = "default",
    weights: str | Path | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Enlarged:
    """Return a slice at full resolution that exists only at low magnification.

    Parameters
    ----------
    low : array-like, (y, x)
        The slice at low magnification; one of its pixels is the mean of `factor` x `factor`.
    previous, following : array-like, (Y, X), optional
        The slices before and after it in the stack, at full resolution.  One stands in for
        the other; without both, `low` is enlarged by what it shows alone.
    factor : int
        Pixels of the stack along the side of one of `low`, 2 to 32.
    placement : Similarity, optional
        Where the stack's pixels lie in the grid of `low`, see
        `sff_napari.low_magnification.Frame`; found where not given.
    method : {"default", "bicubic", "back-projected", "aligned", "gpemsr"}
        ``"default"`` adds the detail that a network expects from the aligned neighbours;
        ``"bicubic"`` enlarges alone, ``"back-projected"`` so that the result reduces to
        `low`; ``"aligned"`` takes the mean of the aligned neighbours, its low band replaced;
        ``"gpemsr"`` is the method of Shou et al., for which `weights` must be given.
    weights : str or Path, optional
        Of the network; the bundled ones where not given.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : callable, optional
        Called as ``progress(share, text)``.
    cancelled : callable, optional
        True stops the work.

    Returns
    -------
    Enlarged
        The slice (Y, X) with what the neighbours say, what was synthesised, a confidence
        and a report.

    Raises
    ------
    InputError
        If an image, the factor or the placement cannot be used, and why.
    WeightsError
        If the weights cannot be used.
    Cancelled
        If it was cancelled.

    See Also
    --------
    sff_napari.restore : A slice damaged by a fold.

    Examples
    --------
    >>> import numpy as np
    >>> from sff_napari import enlarge
    >>> stack = np.random.default_rng(1).random((3, 64, 64))
    >>> low = stack[1].reshape(16, 4, 16, 4).mean(axis=(1, 3))
    >>> made = enlarge(low, stack[0], stack[2], factor=4, method="aligned")
    >>> made.restored.shape, round(float(made.placement.displacement), 1)
    ((64, 64), 0.0)
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}: use one of {', '.join(METHODS)}.")
    began = time.monotonic()
    given = read_inputs(low, [previous, following], factor)
    reporter = Reporter(progress, cancelled)
    compute = choose_device(device)
    with steady_torch(), all_threads():
        reporter(0.0, "placing the slice")
        frame, notes = _placed(given, placement)
        reporter(0.2, "aligning neighbours")
        aligned = align(given.low, [frame.to_frame(one) for one in given.neighbours], given.factor)
        if not aligned.neighbours and method == "default":
            # The network for stacks at low magnification knows slices without neighbours.
            aligned = replace(aligned, neighbours=(aligned.base,) * 4)
        made = make(method, aligned, weights, compute, reporter.part(0.3, 0.9))
        reporter(0.9, "composing")
        report: dict[str, Any] = {
            "method": method,
            "factor": given.factor,
            "neighbours": len(given.neighbours),
            "used": [("previous", "following")[number] for number in given.used],
            "placement_found": placement is None and bool(given.neighbours),
            "weights": made.weights,
            "device": describe_device(compute),
            "notes": [*given.notes, *notes],
        }
        return composed(given, frame, aligned, made, report, began)


@dataclass(frozen=True)
class Inputs:
    """Checked images in working values, NaN-free.

    Parameters
    ----------
    low : ndarray, (y, x) float32
        The low slice, in [0, 1].
    neighbours : list of ndarray, (Y, X) float32
        Those there are.
    factor : int
        Checked.
    grey : GreyScale
        What results are given back in.
    stack_shape : (Y, X)
        Of the result.
    no_data : ndarray, (y, x) bool, or None
        Where the low slice shows nothing.
    raw : ndarray, (y, x) float32
        The low slice as given, NaN and all, in working values.
    notes : list of str
        Sentences for the user.
    used : tuple of int
        Which of the slices that were given are neighbours: those that show something.
    """

    low: Grey
    neighbours: list[Grey]
    factor: int
    grey: GreyScale
    stack_shape: tuple[int, int]
    no_data: NDArray[np.bool_] | None
    raw: Grey
    notes: list[str]
    used: tuple[int, ...] = ()


def read_inputs(
    low: ArrayLike, others: Sequence[ArrayLike | None], factor: float, *, all_low: bool = False
) -> Inputs:
    """Return checked images; see `Inputs`.

    Parameters
    ----------
    low : array-like, (y, x)
        The low slice.
    others : sequence of array-like or None
        Its neighbours.
    factor : float
        Pixels of the stack along the side of one of `low`.
    all_low : bool
        Whether the neighbours are at low magnification too.

    Raises
    ------
    InputError
        If something cannot be used.
    """
    small = as_slice(low, "low-magnification slice", _LEAST_SIDE)
    if is_constant(small):
        raise InputError("The low-magnification slice is the same everywhere: nothing to enlarge.")
    given = [
        None if one is None else as_slice(one, "neighbouring slice", _LEAST_SIDE) for one in others
    ]
    # A slice of a stack that is lost as well is no neighbour.
    used = [
        number
        for number, one in enumerate(given)
        if one is not None and (all_low or not is_constant(one))
    ]
    images = [one for number in used if (one := given[number]) is not None]
    if len({image.shape for image in images}) > 1:
        sizes = " and ".join(f"{image.shape[0]} x {image.shape[1]}" for image in images[:2])
        raise InputError(f"The neighbouring slices differ in size: {sizes} px.")
    low_shape = (int(small.shape[0]), int(small.shape[1]))
    shape = None
    if images and not all_low:
        shape = (int(images[0].shape[0]), int(images[0].shape[1]))
    whole = check_factor(low_shape, factor, shape)
    mask = find_no_data(small)
    model = images[0] if images else small
    grey = GreyScale.of(model, find_no_data(model))
    # Of another dtype it has a scale of its own; of the same one its grey values mean the same.
    own = grey if small.dtype == model.dtype else GreyScale.of(small, mask)
    notes = []
    if not all_low and len(images) == 1:
        notes.append("There is one neighbour: it stands in for the other.")
    if not all_low and not images:
        notes.append("There is no neighbour: the slice is enlarged by what it shows alone.")
    return Inputs(
        own.to_unit(fill_no_data(small, mask)),
        _known_neighbours(images, grey),
        whole,
        grey,
        shape or (low_shape[0] * whole, low_shape[1] * whole),
        mask,
        own.to_unit(small),
        notes,
        tuple(used),
    )


def _known_neighbours(images: Sequence[NDArray[Any]], grey: GreyScale) -> list[Grey]:
    """Return neighbours in working values; where one shows nothing, another does if it can."""
    masks = [find_no_data(image) for image in images]
    filled = [
        grey.to_unit(fill_no_data(image, mask)) for image, mask in zip(images, masks, strict=True)
    ]
    out = []
    for index, (image, mask) in enumerate(zip(filled, masks, strict=True)):
        if mask is not None and len(filled) > 1:
            other = filled[(index + 1) % len(filled)]
            image = np.where(mask, other, image)
        out.append(image)
    return out


def _placed(given: Inputs, placement: Similarity | None) -> tuple[Frame, list[str]]:
    low_shape = (given.low.shape[0], given.low.shape[1])
    notes: list[str] = []
    if placement is None and given.neighbours:
        placement, note = find_placement(given.low, given.neighbours, given.factor)
        notes = [] if note is None else [note]
    elif placement is None:
        placement = in_place(given.stack_shape)
    return Frame(
        low_shape, given.factor, given.stack_shape, replace(placement, shape=given.stack_shape)
    ), notes


def composed(
    given: Inputs,
    frame: Frame,
    aligned: Aligned,
    made: Made,
    report: dict[str, Any],
    began: float,
) -> Enlarged:
    """Return what was made in the frame as a slice of the stack.

    Parameters
    ----------
    given : Inputs
        The images.
    frame : Frame
        Where the low slice lies.
    aligned : Aligned
        Its neighbours, brought onto it.
    made : Made
        What a method made of them.
    report : dict
        To be completed.
    began : float
        When the work began, of `time.monotonic`.
    """
    exact = report["method"] != "bicubic"
    image = made.image
    if exact:
        image = back_project(image, aligned.low, given.factor, 1, exact=True)
    covered = frame.covered()
    out = frame.to_stack(aligned.to_grey(image))
    reference = np.full(given.stack_shape, np.nan, np.float32)
    if given.neighbours and len(aligned.neighbours) == 2:
        reference = frame.to_stack(aligned.to_grey(aligned.mean()))
        if not covered.all():
            mean = np.mean(given.neighbours, axis=0)
            reference = np.where(np.isfinite(reference), reference, mean)
    uncovered = ~np.isfinite(out)
    out[uncovered] = reference[uncovered] if np.isfinite(reference).any() else aligned.level
    if exact and not frame.is_straight:
        out = frame.agree(out, given.low)
    synthesised = np.nan_to_num(frame.to_stack(synthesised_share(image, given.factor)), nan=1.0)
    chance = torch.erf(WITHIN / (2 * made.variance.clamp_min(1e-6)).sqrt())[0, 0].numpy()
    confidence = np.nan_to_num(frame.to_stack(chance), nan=0.0)
    _show_no_data(given, frame, out, synthesised, confidence)
    made_grey = given.grey.from_unit(out)
    found, whole = frame.reduce(given.grey.to_unit(made_grey))
    off = (found - given.low)[whole] * (given.grey.high - given.grey.low)
    off = off[np.isfinite(off)]
    move = frame.placement
    report |= {
        "placement": {
            "rotation_degrees": move.rotation_degrees,
            "scale": move.scale,
            "shift": list(move.shift),
            "score": move.score,
        },
        "covered": round(float(covered.mean()), 4),
        "off_low_rms": round(float(np.sqrt(np.mean(np.square(off)))) if off.size else 0.0, 4),
        "synthesised": round(float(synthesised.mean()), 4),
        "seconds": round(time.monotonic() - began, 2),
    }
    scale = np.float32(given.grey.high - given.grey.low)
    return Enlarged(
        made_grey,
        reference * scale + np.float32(given.grey.low),
        np.clip(synthesised, 0, 1).astype(np.float32),
        np.clip(confidence, 0, 1).astype(np.float32),
        move,
        report,
    )


def synthesised_share(image: torch.Tensor, factor: int) -> Grey:
    """Return the share of the local energy of a slice that its low magnification cannot hold.

    Parameters
    ----------
    image : Tensor, (1, 1, Y, X)
        The slice, sides multiples of `factor`.
    factor : int
        By how much it would be reduced.

    Returns
    -------
    ndarray, (Y, X) float32
        Between 0 and 1, over surroundings of about a pixel of the low slice.
    """
    held = band_of_low(image, factor)
    beyond = local_mean((image - held).square(), float(factor))
    level = local_mean(held, 2.0 * factor)
    below = local_mean((held - level).square(), float(factor))
    return (beyond / (beyond + below).clamp_min(1e-12))[0, 0].numpy()


def _show_no_data(
    given: Inputs, frame: Frame, out: Grey, synthesised: Grey, confidence: Grey
) -> None:
    """Let the slice show nothing where the low one does, as that one marks it."""
    if given.no_data is None:
        return
    marked = given.no_data.repeat(given.factor, 0).repeat(given.factor, 1)
    values = given.raw.repeat(given.factor, 0).repeat(given.factor, 1)
    if frame.is_straight:
        mask = np.nan_to_num(frame.to_stack(marked.astype(np.float32))) > 0.5
        out[mask] = frame.to_stack(values)[mask]
    else:
        mask = np.nan_to_num(frame.to_stack(marked.astype(np.float32))) > 0.5
        out[mask] = np.nan if given.grey.dtype.kind == "f" else float(given.raw[given.no_data][0])
    synthesised[mask] = 0.0
    confidence[mask] = 0.0
