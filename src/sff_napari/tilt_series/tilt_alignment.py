"""Align the images of a series: shifts, and where the tilt axis lies.

The images are first compared with their neighbours, the more tilted one stretched by the cosine.
Then position and angle of the tilt axis are those that make the images agree with one
volume, and the shifts are refined against the projections of that volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from sff_napari.devices import steady_torch
from sff_napari.errors import InputError
from sff_napari.progress import Reporter
from sff_napari.tilt_series.image_model import Contrast, ImageModel, find_levels
from sff_napari.tilt_series.projector import Projector
from sff_napari.tilt_series.series import TiltSeries
from sff_napari.tilt_series.thickness import binned, estimate_thickness

_SMALL = 64
"""Side of the images on which the axis is found; shifts are refined on ones of 1.5 times that."""
_SMOOTH = 1.5
_STEPS = 15
_ROUNDS = 10
_FARTHEST = 0.12
"""Farthest offset of the tilt axis that is looked for, as a share of the image's height."""
_STEEPEST = 6.0
"""Largest turn of the tilt axis that is looked for, in degrees."""


@dataclass(frozen=True)
class TiltAlignment:
    """Where the object and the tilt axis are seen in each image.

    Parameters
    ----------
    shifts : ndarray, (T, 2)
        Movement (dy, dx) of the object in each image, in pixels, of images
        turned so that the tilt axis lies along X, sorted by tilt.
    axis_offset : float
        Distance of the tilt axis from the middle of the images, in pixels along Y.
    axis_angle : float
        Turn of the tilt axis from X towards Y, in degrees.
    """

    shifts: NDArray[np.float64]
    axis_offset: float = 0.0
    axis_angle: float = 0.0

    @classmethod
    def none(cls, count: int) -> TiltAlignment:
        """Return the alignment of `count` images that need none."""
        return cls(np.zeros((count, 2)))

    def apply(self, series: TiltSeries) -> TiltSeries:
        """Return the series resampled once, the tilt axis in the middle along X.

        Raises
        ------
        InputError
            If the alignment is of another number of images.
        """
        if len(self.shifts) != len(series.tilts):
            raise InputError(
                f"The alignment is of {len(self.shifts)} images, but the series has "
                f"{len(series.tilts)}."
            )
        if not self.shifts.any() and not self.axis_offset and not self.axis_angle:
            return series
        angle = np.radians(self.axis_angle)
        # Along the axis at this angle x runs (sin, cos) in (y, x).
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = (np.array(series.images.shape[1:]) - 1) / 2
        moved = np.empty_like(series.images)
        for number, image in enumerate(series.images):
            place = centre + self.shifts[number] + turn @ np.array([self.axis_offset, 0.0])
            moved[number] = ndimage.affine_transform(
                image, turn, place - turn @ centre, order=3, mode="nearest"
            )
        return replace(series, images=moved)

    def to_dict(self, series: TiltSeries) -> dict[str, Any]:
        """Return the alignment as plain JSON types, to be looked at and corrected by hand."""
        return {
            "axis_offset": round(float(self.axis_offset), 4),
            "axis_angle": round(float(self.axis_angle), 4),
            "images": [
                {"tilt": float(t), "dy": round(float(dy), 4), "dx": round(float(dx), 4)}
                for t, (dy, dx) in zip(series.tilts, self.shifts, strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> TiltAlignment:
        """Return the alignment of `to_dict`.

        Raises
        ------
        InputError
            If it is none.
        """
        try:
            shifts = np.array([[image["dy"], image["dx"]] for image in stored["images"]], float)
            return cls(
                shifts.reshape(-1, 2), float(stored["axis_offset"]), float(stored["axis_angle"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "The alignment needs 'axis_offset', 'axis_angle' and 'images', each of these "
                "with 'dy' and 'dx'."
            ) from error


def align_tilts(
    series: TiltSeries,
    contrast: Contrast,
    *,
    correlate: bool = True,
    axis_position: bool = True,
    axis_angle: bool = True,
    refine: bool = True,
    reporter: Reporter | None = None,
) -> TiltAlignment:
    """Return the alignment of a series; each part can be left out.

    Parameters
    ----------
    series : TiltSeries
        From `check_series`.
    contrast : {"bright", "dark"}
        Of the images.
    correlate : bool
        Shifts between neighbours by cosine-stretched cross-correlation.
    axis_position, axis_angle : bool
        Offset and turn of the tilt axis.
    refine : bool
        Shifts against the projections of a common volume.
    reporter : Reporter, optional
        Told of progress.
    """
    reporter = reporter or Reporter()
    found = TiltAlignment.none(len(series.tilts))
    with steady_torch():
        if correlate:
            found = replace(found, shifts=correlated_shifts(series, reporter.part(0.0, 0.2)))
        reporter(0.2, "finding the thickness")
        thickness = estimate_thickness(found.apply(series), contrast)
        parts = (axis_position, axis_angle)
        turns = (_STEEPEST, 3.0, 1.0) if any(parts) else (0.0,)
        for number, span in enumerate(turns):
            part = reporter.part(0.25 + 0.25 * number, 0.5 + 0.25 * number)
            if any(parts):
                found = _with_axis(series, contrast, found, thickness, (*parts, span), part)
            if refine:
                found = _refined(series, contrast, found, thickness, part.part(0.5, 1.0))
    return found


def correlated_shifts(series: TiltSeries, reporter: Reporter | None = None) -> NDArray[np.float64]:
    """Return the movement (dy, dx) of each image by comparing it with its neighbour.

    From the least tilted image outwards, the more tilted of two neighbours is
    stretched across the tilt axis by the ratio of the cosines first.
    """
    tilts, images = series.tilts, series.images
    middle = int(np.abs(tilts).argmin())
    shifts = np.zeros((len(tilts), 2))
    centre = (np.array(images.shape[1:]) - 1) / 2
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in images.shape[1:]))
    done = 0
    for order in (range(middle + 1, len(tilts)), range(middle - 1, -1, -1)):
        last = middle
        for number in order:
            done += 1
            if reporter is not None:
                reporter(done / len(tilts), "comparing neighbours")
            ratio = np.cos(np.radians(tilts[number])) / np.cos(np.radians(tilts[last]))
            start = shifts[last] * [ratio, 1.0]
            fixed = ndimage.shift(images[last], -shifts[last], order=1, mode="nearest")
            stretch = np.diag([ratio, 1.0])
            moving = ndimage.affine_transform(
                images[number],
                stretch,
                centre + start - stretch @ centre,
                order=1,
                mode="nearest",
            )
            step, _, _ = phase_cross_correlation(
                _prepared(fixed) * window,
                _prepared(moving) * window,
                upsample_factor=20,
                normalization=None,
            )
            shifts[number] = start - step * [ratio, 1.0]
            last = number
    return shifts


def _prepared(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image without its mean, coarse slopes and finest noise."""
    smooth = ndimage.gaussian_filter(image, 1.0)
    return smooth - ndimage.gaussian_filter(image, max(image.shape) / 8)


class _Matcher:
    """How well images agree with one volume, on a small copy of the series."""

    def __init__(
        self, series: TiltSeries, contrast: Contrast, thickness: int, most: int = _SMALL
    ) -> None:
        self.factor = max(1, max(series.images.shape[1:]) // most)
        self._small = binned(series, self.factor)
        levels = find_levels(self._small.images, contrast)
        model = ImageModel(contrast, levels)
        # Smooth ones, or the blur of resampling would count as agreement.
        smooth = np.stack([ndimage.gaussian_filter(i, _SMOOTH) for i in self._small.images])
        images = torch.from_numpy(levels.scale(smooth))
        self.sums = replace(self._small, images=np.ascontiguousarray(model.sums(images).numpy()))
        height = self.sums.images.shape[1]
        thin = max(4, min(height, round(thickness / self.factor)))
        self._projector = Projector(self.sums.tilts, height, thin)
        lengths, weights = self._projector.ray_lengths(), self._projector.voxel_weights()
        self._rows = torch.where(lengths > 0.5, 1 / lengths.clamp(min=0.5), 0.0)
        self._columns = 1 / weights.clamp(min=1e-2)
        self._volume: torch.Tensor | None = None

    def aligned(self, alignment: TiltAlignment) -> TiltSeries:
        """Return the small sums along rays, aligned."""
        small = replace(
            alignment,
            shifts=alignment.shifts / self.factor,
            axis_offset=alignment.axis_offset / self.factor,
        )
        return small.apply(self.sums)

    def projections(self, aligned: TiltSeries, resume: bool = False) -> NDArray[Any]:
        """Return the projections of the volume of aligned sums, by accelerated SIRT."""
        sums, projector = torch.from_numpy(aligned.images), self._projector
        volume = self._volume if resume else None
        if volume is None:
            volume = sums.new_zeros(projector.thickness, projector.width, sums.shape[2])
        ahead = volume
        for step in range(_STEPS):
            misfit = self._rows * (sums - projector.project(ahead))
            moved = (ahead + self._columns * projector.back_project(misfit)).clamp_(min=0)
            ahead = moved + step / (step + 3) * (moved - volume)
            volume = moved
        self._volume = volume
        return projector.project(volume).numpy()

    def misfit(self, alignment: TiltAlignment) -> float:
        """Return how badly the aligned images agree with their common volume."""
        aligned = self.aligned(alignment)
        return float(np.mean((self.projections(aligned) - aligned.images) ** 2))


def _with_axis(
    series: TiltSeries,
    contrast: Contrast,
    found: TiltAlignment,
    thickness: int,
    parts: tuple[bool, bool, float],
    reporter: Reporter,
) -> TiltAlignment:
    """Return the alignment with the offset and the turn of the axis that agree best."""
    position, angle, span = parts
    fine = span < _STEEPEST / 2
    matcher = _Matcher(series, contrast, thickness, _SMALL * 3 // 2 if fine else _SMALL)
    height = series.images.shape[1]

    def at_offset(value: float) -> TiltAlignment:
        return replace(found, axis_offset=value)

    def at_angle(value: float) -> TiltAlignment:
        return replace(found, axis_angle=value)

    reporter(0.0, "finding the tilt axis")
    for _ in range(1 if fine else 2):
        if position:
            reach = _FARTHEST * height * span / _STEEPEST
            found = at_offset(
                _least(lambda v: matcher.misfit(at_offset(v)), found.axis_offset, reach)
            )
        if angle:
            found = at_angle(_least(lambda v: matcher.misfit(at_angle(v)), found.axis_angle, span))
    return found


def _least(function: Callable[[float], float], middle: float, span: float) -> float:
    """Return where a function is least within `span` of `middle`: a grid, then a parabola."""
    step = span / 3
    for reach in (3, 2, 2):
        places = middle + step * np.arange(-reach, reach + 1)
        values = np.array([function(float(place)) for place in places])
        best = int(np.clip(values.argmin(), 1, len(places) - 2))
        below, least, above = values[best - 1 : best + 2]
        bend = below - 2 * least + above
        shift = 0.5 * (below - above) / bend if bend > 0 else 0.0
        middle = float(places[best] + step * np.clip(shift, -1, 1))
        step /= 3
    return middle


def _refined(
    series: TiltSeries,
    contrast: Contrast,
    found: TiltAlignment,
    thickness: int,
    reporter: Reporter,
) -> TiltAlignment:
    """Return the alignment with shifts refined against the projections of the volume.

    Volume and shifts are improved in turns; each shift is the least-squares
    step of the projections' slopes.
    """
    matcher = _Matcher(series, contrast, thickness, 3 * _SMALL // 2)
    angle = np.radians(found.axis_angle)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    cosines, sines = np.cos(np.radians(series.tilts)), np.sin(np.radians(series.tilts))
    shifts = found.shifts.copy()
    for number in range(_ROUNDS):
        reporter(number / _ROUNDS, "refining the shifts")
        aligned = matcher.aligned(replace(found, shifts=shifts))
        projected = matcher.projections(aligned, resume=number > 0)
        steps = np.zeros_like(shifts)
        for place, (image, guess) in enumerate(zip(aligned.images, projected, strict=True)):
            steps[place] = _small_shift(image, guess) * matcher.factor
        # A common movement of the object is no misalignment.
        basis = np.stack([cosines, sines], 1)
        steps[:, 0] -= basis @ np.linalg.lstsq(basis, steps[:, 0], rcond=None)[0]
        steps[:, 1] -= steps[:, 1].mean()
        # Back into the axes of the images; a little further than the slope says, since
        # the volume was made of the misplaced images.
        shifts += 1.5 * steps @ turn.T
        if np.abs(steps).max() < 0.01:
            break
    return replace(found, shifts=shifts)


def _small_shift(image: NDArray[Any], guess: NDArray[Any]) -> NDArray[np.float64]:
    """Return the movement (dy, dx) of an image against what is expected, up to a pixel or so."""
    slopes = np.stack([part.ravel() for part in np.gradient(guess)], 1)
    columns = np.column_stack([-slopes, np.ones(image.size)])
    step = np.linalg.lstsq(columns, (image - guess).ravel(), rcond=None)[0][:2]
    return np.clip(step, -2.0, 2.0)
