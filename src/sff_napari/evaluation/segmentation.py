"""Measure how much a fold, and what is left of it, hurts a segmentation.

The segmentation is plain and the same for every row: a watershed on each slice
by itself.  Its absolute scores are far from those of the networks in use today;
what counts is how much of the loss a restoration wins back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from sff_napari.errors import InputError

BAND = 64
"""Pixels around the corrupted region that count as near the fold; it belongs to them."""
SCORES = ("voi_split", "voi_merge", "voi", "arand")
"""Names of the scores; smaller is better."""
NEAR = "_near"
"""Ends the names of the scores near the fold."""

Labels = NDArray[np.int32]

_SMOOTHING = 2.0
_AROUND = 40.0
_MEMBRANE = -1.0
_ROUNDING = 1.5
_RISE = 4.5
# The five numbers above were chosen on clean slices of ISBI 2012 and SNEMI3D, see docs.


def segment(image: NDArray[Any]) -> Labels:
    """Return a segmentation of a slice into neurites.

    Parameters
    ----------
    image : ndarray, (Y, X)
        Grey values, membranes dark, at 4 to 8 nm a pixel.

    Returns
    -------
    ndarray, (Y, X) int32
        Labels from 1; every pixel has one.

    Notes
    -----
    The slice is smoothed (Gaussian, 2 px) and normalised by the mean and spread
    around each pixel (Gaussian, 40 px).  Membrane is what lies a spread or more
    below the mean.  Seeds are the maxima of the distance from membrane (smoothed
    by 1.5 px) that stand out by 4.5 px; the watershed of the darkness grows them.
    """
    grey = image.astype(np.float32)
    known = np.isfinite(grey)
    if not known.all():
        grey = np.where(known, grey, grey[known].mean() if known.any() else np.float32(0))
    smooth = ndimage.gaussian_filter(grey, _SMOOTHING)
    mean = ndimage.gaussian_filter(smooth, _AROUND)
    spread = np.sqrt(ndimage.gaussian_filter(np.square(smooth - mean), _AROUND))
    normal = (smooth - mean) / np.maximum(spread, 1e-3 * max(float(np.ptp(smooth)), 1e-6))
    distance = ndimage.distance_transform_edt(normal >= _MEMBRANE).astype(np.float32)
    distance = ndimage.gaussian_filter(distance, _ROUNDING)
    seeds = label(h_maxima(distance, _RISE))
    if not seeds.any():
        seeds[np.unravel_index(int(distance.argmax()), distance.shape)] = 1
    labels: Labels = watershed(-normal, seeds).astype(np.int32)
    return labels


def instances_in_slice(instances: NDArray[Any]) -> Labels:
    """Return 3-D instances (Y, X) of one slice as the segmentation of that slice.

    Parts of one neurite that do not touch within the slice count as different
    ones: no segmentation of a slice by itself can know better.  0 stays 0.
    """
    parts: Labels = label(instances, background=0, connectivity=1).astype(np.int32)
    return parts


def segmentation_scores(
    labels: NDArray[Any], truth: NDArray[Any], where: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Return how far a segmentation is from the truth.

    Parameters
    ----------
    labels : ndarray, (Y, X)
        The segmentation.
    truth : ndarray, (Y, X)
        The true one; pixels of 0 (membrane, unknown) do not count.
    where : ndarray, (Y, X) bool, optional
        Pixels that count; all if not given.

    Returns
    -------
    dict of str to float
        ``voi_split`` (one true neurite cut into several), ``voi_merge`` (several
        true ones taken for one) and ``voi``, their sum, in bits; ``arand``, the
        adapted Rand error in [0, 1].  NaN if no pixel counts.
    """
    known = truth != 0
    if where is not None:
        known &= where
    if not known.any():
        return dict.fromkeys(SCORES, float("nan"))
    true, found = truth[known], labels[known]
    split, merge = (float(v) for v in variation_of_information(true, found))
    return {
        "voi_split": split,
        "voi_merge": merge,
        "voi": split + merge,
        "arand": float(adapted_rand_error(true, found)[0]),
    }


@dataclass(frozen=True)
class SegmentationJudge:
    """Scores of segmentations of one slice, after a fold and without it.

    Parameters
    ----------
    truth : ndarray, (Y, X)
        The true segmentation, 0 where it is not known.
    near : ndarray, (Y, X) bool
        Pixels near the fold; see `BAND`.
    """

    truth: NDArray[Any]
    near: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        clean: NDArray[Any],
        corrupted: NDArray[np.bool_],
        instances: NDArray[Any] | None = None,
    ) -> SegmentationJudge:
        """Return the judge for a slice.

        Parameters
        ----------
        clean : ndarray, (Y, X)
            The slice without fold, on the scale of 8-bit data.
        corrupted : ndarray, (Y, X) bool
            The corrupted region.
        instances : ndarray, (Y, X), optional
            True instances, 0 for membrane; without them the segmentation of
            the clean slice is the truth.

        Raises
        ------
        InputError
            If the instances have another shape.
        """
        if instances is None:
            truth = segment(clean)
        elif instances.shape != clean.shape:
            raise InputError(
                f"The instances have {instances.shape[0]} x {instances.shape[1]} pixels but the "
                f"slices {clean.shape[0]} x {clean.shape[1]}: give those of this stack."
            )
        else:
            truth = instances_in_slice(instances)
        return cls(truth, ndimage.distance_transform_edt(~corrupted) <= BAND)

    def scores(self, image: NDArray[Any]) -> dict[str, float]:
        """Return the scores of a slice (Y, X) on the scale of 8-bit data, whole and near."""
        labels = segment(image)
        near = segmentation_scores(labels, self.truth, self.near)
        return segmentation_scores(labels, self.truth) | {f"{k}{NEAR}": v for k, v in near.items()}


def all_scores() -> tuple[str, ...]:
    """Return the names of all scores of a `SegmentationJudge`."""
    return (*SCORES, *(f"{name}{NEAR}" for name in SCORES))
