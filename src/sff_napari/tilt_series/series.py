"""A tilt series as arrays, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sff_napari.errors import InputError

Axis = Literal["x", "y"]

FEWEST_TILTS = 5
_NARROWEST_RANGE = 20.0
_STEEPEST = 89.0


@dataclass(frozen=True)
class TiltSeries:
    """Images of one object at several tilts, turned so that the tilt axis lies along X.

    Parameters
    ----------
    images : ndarray, (T, Y, X) float32
        Grey values, sorted by tilt.
    tilts : ndarray, (T,)
        In degrees, rising.
    axis : {"x", "y"}
        Where the tilt axis lay in the images as they were given.
    order : ndarray, (T,)
        Where each image was in the series as it was given.
    """

    images: NDArray[np.float32]
    tilts: NDArray[np.float64]
    axis: Axis
    order: NDArray[np.intp]

    def turned_back(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return images (T, Y, X) or a volume (Z, Y, X) with the axes of the given images."""
        return array if self.axis == "x" else np.ascontiguousarray(np.swapaxes(array, 1, 2))

    def unsorted(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return images in the order and with the axes in which they were given."""
        given = np.empty_like(images)
        given[self.order] = images
        return self.turned_back(given)

    def some(self, chosen: NDArray[Any]) -> TiltSeries:
        """Return the series of the chosen tilts only."""
        return TiltSeries(
            self.images[chosen], self.tilts[chosen], self.axis, np.arange(len(chosen))
        )


def check_series(series: ArrayLike, tilts: Sequence[float] | ArrayLike, axis: str) -> TiltSeries:
    """Return a series that can be reconstructed, sorted by tilt.

    Raises
    ------
    InputError
        One sentence on what is wrong: shape, NaN, constant images, number of
        tilts, angles that are not tilts.
    """
    images = np.asarray(series)
    if axis not in ("x", "y"):
        raise InputError(f"The tilt axis lies along 'x' or 'y', not along {axis!r}.")
    if images.ndim != 3:
        raise InputError(
            f"A tilt series has three axes (tilt, Y, X), but this array has {images.ndim}."
        )
    if images.dtype.kind not in "buif":
        raise InputError(f"A tilt series holds real numbers, not {images.dtype}.")
    angles = np.asarray(tilts, np.float64).ravel()
    check_tilts(angles, len(images))
    if min(images.shape[1:]) < 8:
        raise InputError("The images of a tilt series need at least 8 pixels along each axis.")
    images = images.astype(np.float32)
    _check_values(images)
    order = np.argsort(angles, kind="stable")
    images = images[order]
    if axis == "y":
        images = np.swapaxes(images, 1, 2)
    return TiltSeries(
        np.ascontiguousarray(images), angles[order], "x" if axis == "x" else "y", order
    )


def check_tilts(angles: NDArray[Any], count: int) -> None:
    """Check that angles in degrees are those of `count` images.

    Raises
    ------
    InputError
        If they are not.
    """
    if len(angles) != count:
        raise InputError(
            f"There are {len(angles)} tilt angles for {count} images: give one angle an image."
        )
    if not np.isfinite(angles).all():
        raise InputError("Some tilt angles are not finite numbers: give each in degrees.")
    if count < FEWEST_TILTS:
        raise InputError(
            f"{count} tilts are too few for a reconstruction: at least {FEWEST_TILTS} are needed."
        )
    if np.abs(angles).max() > _STEEPEST:
        raise InputError(
            f"A tilt of {angles[np.abs(angles).argmax()]:g} degrees is not between "
            f"-{_STEEPEST:g} and {_STEEPEST:g}: are these the tilt angles in degrees?"
        )
    if np.ptp(angles) < _NARROWEST_RANGE:
        raise InputError(
            f"The tilts span only {np.ptp(angles):.3g} degrees, which shows no depth "
            f"(at least {_NARROWEST_RANGE:g} are needed): are they given in degrees?"
        )


def _check_values(images: NDArray[np.float32]) -> None:
    bad = [number for number, image in enumerate(images) if not np.isfinite(image).all()]
    if bad:
        raise InputError(
            f"Image {bad[0]} of the series has values that are NaN or infinite: "
            "leave it out or fill them first."
        )
    flat = [number for number, image in enumerate(images) if image.min() == image.max()]
    if flat:
        raise InputError(
            f"Image {flat[0]} of the series is constant and shows nothing: leave that tilt out."
        )
