"""From sums along rays to what the detector shows: contrast, clipping, noise and defocus."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats

from sff_napari.tilt_series.defocus import DefocusBlur

Contrast = Literal["bright", "dark"]

_ENTRIES = 201
_LARGEST_SIGNAL = 1.2
"""Tables end here; brighter signals take the last entry."""

_SATURATED = 0.005
"""Share of pixels at an extreme value from which on it counts as clipped."""

_LEAST_VARIANCE = 0.3
"""Least variance of a signal's noise, as a share of the mean over all pixels."""

_BINS = 24
_FEWEST = 40


@dataclass(frozen=True)
class Levels:
    """What the grey values mean.

    Parameters
    ----------
    dark, empty : float
        Grey of no signal and of the reference signal 1: the empty beam of a bright
        field, the brightest part of a dark field.
    clipped_low, clipped_high : bool
        Whether values are cut off at the ends of the series.
    low, high : float
        The extreme values of the series, scaled as `scale` does.
    """

    dark: float
    empty: float
    clipped_low: bool
    clipped_high: bool
    low: float
    high: float

    def scale(self, series: NDArray[Any]) -> NDArray[np.float32]:
        """Return grey values as signals, 0 for none and 1 for the reference."""
        return ((series - self.dark) / (self.empty - self.dark)).astype(np.float32)

    def unscale(self, signal: NDArray[Any]) -> NDArray[np.float32]:
        """Return signals as grey values of the series."""
        return (signal * (self.empty - self.dark) + self.dark).astype(np.float32)


def find_levels(series: NDArray[Any], contrast: Contrast) -> Levels:
    """Return the levels of a series (T, Y, X).

    Where values pile up at an end they were clipped there, and the end is the
    level.  Elsewhere the levels are taken from smoothed images, which noise
    does not widen.
    """
    series = np.asarray(series, np.float32)
    low, high = float(series.min()), float(series.max())
    clipped_low = float((series == low).mean()) > _SATURATED
    clipped_high = float((series == high).mean()) > _SATURATED
    smooth = np.stack([ndimage.gaussian_filter(image, 2.0) for image in series])
    if contrast == "bright":
        dark = low if clipped_low else float(np.percentile(series, 0.01))
        empty = high if clipped_high else float(np.percentile(smooth, 99.5))
    else:
        dark = low if clipped_low else float(np.percentile(smooth, 1.0))
        empty = high if clipped_high else float(np.percentile(smooth, 99.9))
    if empty - dark < 1e-6 * max(abs(high), abs(low), 1e-30):
        dark, empty = low, high
    span = empty - dark
    return Levels(dark, empty, clipped_low, clipped_high, (low - dark) / span, (high - dark) / span)


def _signals() -> NDArray[np.float64]:
    return np.linspace(0, _LARGEST_SIGNAL, _ENTRIES)


@dataclass(frozen=True)
class ImageModel:
    """The mean image and the precision of its pixels, for given sums along rays.

    Parameters
    ----------
    contrast : {"bright", "dark"}
        Signal ``exp(-sum)``, or the sum itself.
    levels : Levels
        Of the series.
    mean, precision : Tensor, (201,)
        Expected grey, which clipping bends, and one over its variance, by signal.
    blur : DefocusBlur, optional
        Known defocus.
    """

    contrast: Contrast
    levels: Levels
    mean: torch.Tensor = field(
        default_factory=lambda: torch.tensor(_signals(), dtype=torch.float32)
    )
    precision: torch.Tensor = field(default_factory=lambda: torch.ones(_ENTRIES))
    blur: DefocusBlur | None = None

    def signal(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the noise-free signal of sums along rays."""
        return torch.exp(-sums) if self.contrast == "bright" else sums

    def sums(self, signal: torch.Tensor, least: float = 0.05) -> torch.Tensor:
        """Return the sums that give measured signals; those below `least` count as `least`."""
        if self.contrast == "dark":
            return signal
        return -torch.log(signal.clamp(least, 1.0))

    def blurred_signal(self, sums: torch.Tensor, tilts: torch.Tensor | None = None) -> torch.Tensor:
        """Return the noise-free signal as it is seen through the known defocus."""
        signal = self.signal(sums)
        if self.blur is None:
            return signal
        background = 1.0 if self.contrast == "bright" else 0.0
        return self.blur(signal - background, tilts) + background

    def expected(self, sums: torch.Tensor, tilts: torch.Tensor | None = None) -> torch.Tensor:
        """Return the expected scaled images (T, Y, X); `tilts` are their numbers in the series."""
        return _look_up(self.mean, self.blurred_signal(sums, tilts))

    def whitened(
        self, sums: torch.Tensor, images: torch.Tensor, tilts: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the residuals in units of their noise."""
        with torch.no_grad():
            signal = self.signal(sums).clamp(0, _LARGEST_SIGNAL)
            root = _look_up(self.precision, signal).sqrt()
        return (self.expected(sums, tilts) - images) * root

    def gradient(
        self, sums: torch.Tensor, images: torch.Tensor, tilts: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the gradient by `sums` of half the sum of squares of `whitened`."""
        with torch.enable_grad():
            leaf = sums.detach().requires_grad_()
            loss = 0.5 * self.whitened(leaf, images, tilts).square().sum()
            (found,) = torch.autograd.grad(loss, leaf)
        return found

    def sensitivity(self) -> torch.Tensor:
        """Return the change of a pixel, in units of its noise, with its sum, by signal."""
        slope = torch.gradient(self.mean, spacing=_LARGEST_SIGNAL / (_ENTRIES - 1))[0]
        signals = torch.tensor(_signals(), dtype=torch.float32)
        inner = signals.clamp(max=1.0) if self.contrast == "bright" else torch.ones_like(signals)
        return slope * inner * self.precision.sqrt()

    def curvature(self) -> float:
        """Return an upper bound of the second derivative of the loss by a sum."""
        return float(self.sensitivity().square().max())

    def typical_sensitivity(self, sums: torch.Tensor) -> float:
        """Return the root mean square of the sensitivity over pixels with these sums."""
        signal = self.signal(sums).clamp(0, _LARGEST_SIGNAL)
        return float(_look_up(self.sensitivity(), signal).square().mean().sqrt())

    def to(self, device: torch.device) -> ImageModel:
        """Return the model with its tables on a device."""
        blur = None if self.blur is None else self.blur.to(device)
        return replace(
            self, mean=self.mean.to(device), precision=self.precision.to(device), blur=blur
        )

    def fitted(self, sums: torch.Tensor, images: torch.Tensor) -> ImageModel:
        """Return the model with the noise measured on the residuals of a reconstruction.

        The noise before clipping is taken as normal with a variance that is
        linear in the signal and mean 0; its clipped mean and variance make the tables.
        Keeping the mean at 0 anchors the signal: noise and signal cannot trade offsets.

        Parameters
        ----------
        sums : Tensor, (T, Y, X)
            Along the rays of the reconstruction.
        images : Tensor, (T, Y, X)
            Scaled.
        """
        signal = self.blurred_signal(sums)
        spread = _spread_by_signal(
            signal.cpu().numpy().ravel(), images.cpu().numpy().ravel(), self.levels
        )
        mean, variance = _clipped_moments(_signals(), spread, self.levels)
        # Pixels of very little noise would rule the fit and slow it down, most of all where
        # what the model does not explain, and not the noise, is what is left.
        seen = np.interp(
            np.clip(signal.cpu().numpy().ravel(), 0, _LARGEST_SIGNAL), _signals(), variance
        )
        floor = max(_LEAST_VARIANCE * float(seen.mean()), 1e-8)
        device = self.mean.device
        return replace(
            self,
            mean=torch.tensor(mean, dtype=torch.float32, device=device),
            precision=torch.tensor(
                1 / np.maximum(variance, floor), dtype=torch.float32, device=device
            ),
        )


def _look_up(table: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
    """Return a table's values between its entries, going on straight beyond its ends."""
    place = signal * ((_ENTRIES - 1) / _LARGEST_SIGNAL)
    below = place.detach().clamp(0, _ENTRIES - 2).long()
    share = place - below
    low = table[below]
    return low + share * (table[below + 1] - low)


def _clipped_moments(
    signal: NDArray[Any], spread: NDArray[Any], levels: Levels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of normal noise around signals, clipped as the series is."""
    spread = np.maximum(spread, 1e-9)
    low = levels.low if levels.clipped_low else -np.inf
    high = levels.high if levels.clipped_high else np.inf
    a, b = (low - signal) / spread, (high - signal) / spread
    below, above = stats.norm.cdf(a), stats.norm.sf(b)
    inner = 1 - below - above
    pa, pb = stats.norm.pdf(a), stats.norm.pdf(b)
    end_a, end_b = np.where(np.isfinite(a), a, 0.0), np.where(np.isfinite(b), b, 0.0)
    first = pa - pb + below * end_a + above * end_b
    second = inner + end_a * pa - end_b * pb + below * end_a**2 + above * end_b**2
    return signal + spread * first, spread**2 * np.maximum(second - first**2, 1e-12)


def _spread_by_signal(
    signal: NDArray[Any], images: NDArray[Any], levels: Levels
) -> NDArray[np.float64]:
    """Return the noise's standard deviation before clipping at the entries of the tables."""
    edges = np.linspace(0, _LARGEST_SIGNAL, _BINS + 1)
    bins = np.clip(np.digitize(signal, edges) - 1, 0, _BINS - 1)
    count = np.bincount(bins, minlength=_BINS)
    used = np.flatnonzero(count >= _FEWEST)
    if not len(used):
        return np.full(_ENTRIES, float(np.std(images - signal)))
    centres = np.array([signal[bins == k].mean() for k in used])
    seen = np.array([images[bins == k].var() for k in used])
    candidates = np.geomspace(1e-4, 2.0, 300)
    spreads = []
    for centre, variance in zip(centres, seen, strict=True):
        _, clipped = _clipped_moments(np.full(300, centre), candidates, levels)
        spreads.append(candidates[np.argmin(np.abs(np.log(clipped / max(variance, 1e-12))))])
    weights = np.sqrt(count[used]) / np.square(spreads)
    design = np.stack([np.ones_like(centres), centres], 1)
    from scipy.optimize import nnls

    fit, _ = nnls(design * weights[:, None], np.square(spreads) * weights)
    return np.sqrt(np.maximum(fit[0] + fit[1] * _signals(), 1e-10))
