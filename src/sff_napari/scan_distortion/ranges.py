"""Say how strongly a scan is distorted, and how noisy it is: ranges to draw from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import numpy as np

from sff_napari.errors import InputError

Range = tuple[float, float]
_LARGEST = 1e6


@dataclass(frozen=True)
class ScanRanges:
    """What a simulated scan draws its strengths from.

    Pairs are the smallest and the largest value; shares are probabilities.

    Parameters
    ----------
    jitter : pair of float
        Standard deviation of the displacement of rows along the fast axis, px, drawn
        log-uniformly.
    jitter_across : pair of float
        The same along the slow axis, as a share of `jitter`.
    jitter_correlation : pair of float
        Correlation of neighbouring rows' displacements; drawn for half of all scans, else 0.
    pixel_jitter : pair of float
        Standard deviation of the displacement of pixels within a row, px.
    drift : pair of float
        Linear drift over the image, as a share of its width.
    vibration : pair of float
        Amplitude of each of four oscillations, px.
    frequency : pair of float
        Their frequency, Hz.
    dwell : pair of float
        Time a pixel takes, microseconds, log-uniform.
    flyback_time : pair of float
        Time between two rows, as a share of the time of a row.
    flyback : pair of float
        Displacement at the beginning of a row, px.
    flyback_length : pair of float
        Columns over which it falls to 1/e.
    drift_share, flyback_share : float
        Share of scans with drift and vibration, and with flyback.
    counts : pair of float
        Electrons a pixel at white, log-uniform.
    detector : pair of float
        Columns over which the detector's answer falls to 1/e, log-uniform.
    detector_power : pair of float
        How it falls: 1 exponentially, 2 as a Gaussian.
    detector_share : float
        Share of scans with such a slow detector.
    noise : pair of float
        Standard deviation of the electronic noise, white being 1.
    row_offset : pair of float
        Standard deviation of a grey offset of each row, white being 1.
    row_offset_share : float
        Share of scans with such offsets.
    dead_pixels : pair of float
        Share of pixels that are black or white.
    dead_segments : pair of float
        Parts of rows without response, in an image of 256 rows.
    interlaced : pair of float
        Displacement between odd and even rows, px.
    interlaced_share : float
        Share of scans with it.
    gain, offset : pair of float
        What white is multiplied by and what is added before values are cut to [0, 1].
    bits : pair of float
        Bits of the analogue-to-digital converter.

    See Also
    --------
    sff_napari.simulate_scan : Takes them.

    Examples
    --------
    >>> from sff_napari.scan_distortion import ScanRanges
    >>> ScanRanges.of(jitter=1, counts=(10, 50)).counts
    (10.0, 50.0)
    """

    jitter: Range = (0.1, 4.0)
    jitter_across: Range = (0.0, 0.5)
    jitter_correlation: Range = (0.0, 0.9)
    pixel_jitter: Range = (0.0, 0.3)
    drift: Range = (0.0, 0.02)
    vibration: Range = (0.0, 1.0)
    frequency: Range = (0.0, 500.0)
    dwell: Range = (0.5, 20.0)
    flyback_time: Range = (0.0, 0.5)
    flyback: Range = (0.0, 6.0)
    flyback_length: Range = (5.0, 40.0)
    drift_share: float = 0.5
    flyback_share: float = 0.3
    counts: Range = (2.0, 400.0)
    detector: Range = (0.3, 4.0)
    detector_power: Range = (1.0, 3.0)
    detector_share: float = 0.6
    noise: Range = (0.0, 0.06)
    row_offset: Range = (0.0, 0.04)
    row_offset_share: float = 0.5
    dead_pixels: Range = (0.0, 0.001)
    dead_segments: Range = (0.0, 1.5)
    interlaced: Range = (0.0, 2.0)
    interlaced_share: float = 0.1
    gain: Range = (0.8, 1.0)
    offset: Range = (0.0, 0.1)
    bits: Range = (8.0, 16.0)

    @classmethod
    def of(cls, **values: Any) -> ScanRanges:
        """Return ranges with some changed: numbers, or pairs of the smallest and the largest.

        Raises
        ------
        InputError
            If a name is unknown or a value is no range.
        """
        hints = get_type_hints(cls)
        known = [entry.name for entry in fields(cls)]
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InputError(f"There is no range {name!r}: use one of {', '.join(known)}.")
            numbers = np.atleast_1d(np.asarray(value, dtype=object)).tolist()
            try:
                pair = tuple(float(number) for number in numbers)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"The range {name} is no number and no pair of numbers."
                ) from error
            if len(pair) not in (1, 2) or not all(0 <= v <= _LARGEST for v in pair):
                raise InputError(
                    f"The range {name} is {value}: give one number, or the smallest and the "
                    "largest, each at least 0."
                )
            if pair[0] > pair[-1]:
                raise InputError(f"The range {name} is {value}: the smallest number comes first.")
            if hints[name] is float:
                if len(pair) == 2 or pair[0] > 1:
                    raise InputError(f"The share {name} is {value}: give one number from 0 to 1.")
                checked[name] = pair[0]
            else:
                checked[name] = (pair[0], pair[-1])
        return cls(**checked)
