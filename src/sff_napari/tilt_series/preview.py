"""Preview a reconstruction: one slice across the tilt axis by each of the quick methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sff_napari.progress import CancelledCallback, Reporter
from sff_napari.tilt_series.reconstruct import Method, Options, reconstruct_series
from sff_napari.tilt_series.series import TiltSeries
from sff_napari.tilt_series.thickness import estimate_thickness

PREVIEW_METHODS: tuple[Method, ...] = ("wbp", "sirt", "grid")
_COLUMNS = 16


def preview_slices(
    series: TiltSeries, options: Options, reporter: Reporter, cancelled: CancelledCallback
) -> NDArray[np.float32]:
    """Return the slice across the middle of the axis by each quick method.

    Parameters
    ----------
    series : TiltSeries
        Aligned.
    options : Options
        Of the reconstruction; its method does not count.
    reporter : Reporter
        Told of progress.
    cancelled : callable
        True stops.

    Returns
    -------
    ndarray, (method, Z, Y) float32
        In the order of `PREVIEW_METHODS`, each on a grey scale of its own in [0, 1].
    """
    thickness = options.thickness or estimate_thickness(series, options.contrast)
    start = max(0, series.images.shape[2] // 2 - _COLUMNS // 2)
    middle = np.ascontiguousarray(series.images[:, :, start : start + _COLUMNS])
    part = replace(series, axis="x", images=middle)
    slices = []
    for number, method in enumerate(PREVIEW_METHODS):
        share = number / len(PREVIEW_METHODS)
        chosen = replace(options, method=method, thickness=thickness)
        made = reconstruct_series(
            part, chosen, reporter.part(share, share + 1 / len(PREVIEW_METHODS)), cancelled
        )
        image = made.volume[:, :, made.volume.shape[2] // 2]
        low, high = np.percentile(image, (1, 99.8))
        slices.append(np.clip((image - low) / max(high - low, 1e-12), 0, 1))
    return np.stack(slices).astype(np.float32)
