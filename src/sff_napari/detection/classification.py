"""Tell folds from everything else that is dark and long, and ending them where they end.

Membranes, cracks and the rims of vessels can be dark, but no path along them
is at once dark all through, set off from both of its sides, and bounded by two
edges as smooth as those of a folded film.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from sff_napari.detection.measure import Measured
from sff_napari.detection.ridge import STEP, strongest_run
from sff_napari.detection.straightened_band import smooth

_SEAM_HALF_WIDTH = 3.5
_LEAST_TWO_SIDED = 60.0
"""Length with tissue on both sides, px, that makes what runs along the border count."""
LEAST_SCORE = 0.5
"""Lines with a lower score are not folds."""


@dataclass(frozen=True)
class Traits:
    """What a line looks like as a whole.

    Parameters
    ----------
    length : float
        In px.  Where the line runs along the border, with tissue on one side only, half of it
        counts, and nothing unless both sides are seen elsewhere.
    half_width : float
        Median, in px.
    depth : float
        Median of how much darker the band is than the darker of its sides, 1 = tissue to black.
    dark : float
        Median darkness of the band.
    solid : float
        Share of the band's pixels that are dark.
    wander : float
        Median distance of the centre line from its own smooth course, in px.
    bend : float
        As `wander`, but against a course twice as smooth.
    rough : float
        Median distance of the raw edges from their smooth courses, in px.
    """

    length: float
    half_width: float
    depth: float
    dark: float
    solid: float
    wander: float
    bend: float
    rough: float


def traits_of(line: Measured) -> Traits:
    """Return what a measured line looks like as a whole."""
    wander, bend = (
        float(np.median(np.linalg.norm(line.points - smooth(line.points, sigma), axis=1)))
        for sigma in (12.0, 24.0)
    )
    raw = (line.offsets[:, 1] - line.offsets[:, 0]) / 2
    known = np.isfinite(raw)
    rough = float(np.median(np.abs(raw - line.half_widths)[known])) if known.any() else math.inf
    seen = line.length * float(np.mean(line.two_sided))
    if seen >= _LEAST_TWO_SIDED:
        seen += 0.5 * (line.length - seen)
    return Traits(
        seen,
        float(np.median(line.half_widths)),
        float(np.median(line.depth)),
        float(np.median(line.dark)),
        float(np.mean(line.solid)),
        wander,
        bend,
        rough,
    )


def score_of(traits: Traits, side: float) -> float:
    """Return how likely the line is a fold, in [0, 1].

    Parameters
    ----------
    traits : Traits
        Of the line.
    side : float
        Shorter side of the slice, px.

    Notes
    -----
    A product of logistic terms, one a trait: a fold has to be all of it, long, smooth,
    dark through and through, and set off from both of its sides.
    """
    enough = _least_length(side)
    # The longer a line, the less likely is it that tissue lies along it by chance.
    slack = min(max(traits.length / enough, 1.0) ** 0.25, 1.5)
    terms = (
        math.log(max(traits.length, 1.0) / enough) / 0.12,
        math.log(0.38 * slack / max(traits.wander, 1e-3)) / 0.12,
        math.log(2.2 * slack / max(traits.bend, 1e-3)) / 0.15,
        math.log(0.40 / min(max(traits.rough, 1e-3), 1e3)) / 0.2,
        # A short line has to be as black as film; long ones may be paler.
        (traits.dark - 0.72 + min(0.15 * math.log2(max(traits.length / enough, 1.0)), 0.1)) / 0.03,
        (traits.depth - 0.3) / 0.03,
        (traits.solid - 0.6) / 0.03,
    )
    return math.prod(1 / (1 + math.exp(-min(max(term, -60.0), 60.0))) for term in terms)


def _least_length(side: float) -> float:
    """Return the length, px, at which lines in a slice of this shorter side may be folds."""
    return min(max(0.3 * side, 48.0), 150.0)


def may_be_fold(points: NDArray[np.float64], factor: int, shape: tuple[int, int]) -> bool:
    """Tell whether a followed line (N, 2), in reduced px, is worth measuring at full scale.

    Far from where `score_of` decides: most lines in clean slices are much too
    short or much too crooked.
    """
    if len(points) * STEP * factor < 0.6 * _least_length(min(shape)):
        return False
    course = smooth(points, 6.0)
    return float(np.median(np.linalg.norm(points - course, axis=1))) * factor < 1.5


def is_seam(line: Measured, shape: tuple[int, int]) -> bool:
    """Tell whether a line is the gap between two tiles of a mosaic: thin, straight, along an axis.

    Film never folds along the rows or columns of the camera to a fraction of a degree.
    """
    if float(np.median(line.half_widths)) > _SEAM_HALF_WIDTH:
        return False
    for axis in range(2):
        spread = float(np.ptp(np.percentile(line.points[:, axis], [5, 95])))
        if spread < 1.0 + 0.004 * line.length and line.length > 0.5 * shape[1 - axis]:
            return True
    return False


def trimmed(line: Measured) -> Measured | None:
    """Return the line cut back to where it is a dark band, or None if nothing is left."""
    evidence = np.minimum(line.depth - 0.15, 0.4) + 2.0 * np.minimum(line.solid - 0.75, 0.1)
    first, last = strongest_run(evidence)
    if last - first < 8:
        return None
    kept = {field.name: getattr(line, field.name)[first : last + 1] for field in fields(line)}
    return replace(line, **kept)


def lies_on(
    inner: NDArray[np.float64], outer: NDArray[np.float64], reach: NDArray[np.float64]
) -> float:
    """Return the share of points (N, 2) within `reach` (M,) of the nearest of others (M, 2)."""
    squared = ((inner[:, None, :] - outer[None, :, :]) ** 2).sum(axis=2)
    nearest = squared.argmin(axis=1)
    distance = np.sqrt(squared[np.arange(len(inner)), nearest])
    return float((distance <= reach[nearest]).mean())
