"""Find what one fold did: a search on each side, then the posterior of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from sff_napari.alignment.drift_model import DriftPrior, SliceDrift
from sff_napari.alignment.features import Features
from sff_napari.folds import Curve, Fold, FoldLaw
from sff_napari.folds.law import interpolate
from sff_napari.progress import Reporter
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, dark_line, is_weak
from sff_napari.restoration.unfolding.law_posterior import fit_posterior, looks
from sff_napari.restoration.unfolding.law_search import SideFit, fit_side, fit_uniform, law_of
from sff_napari.restoration.unfolding.side_motion import (
    Motions,
    SideMotion,
    find_motion,
    neighbour_of_sides,
)
from sff_napari.restoration.unfolding.side_scores import SideScores, side_scores

_LARGE = 3072
"""Side of slices, px, up to which the last comparison is made on one of `_GRID` pixels: more
windows make up for coarser ones."""
_GRID = 4
_LEAST_WEIGHT = 100.0
"""Windows that a side must show for its correlation to tell anything."""
_LITTLE, _MUCH_MORE = 25.0, 4.0
"""Windows of a side below which the search there starts from the other side's law, if that shows
so many times as much."""


@dataclass(frozen=True)
class Scene:
    """What folds are fitted from.

    Parameters
    ----------
    damaged : mapping of int to Features
        The damaged slice on a coarse and on a fine grid, by their pixels.
    neighbours : mapping of int to sequence of Features
        Its neighbours on the same grids, where they meet half way.
    start : SliceDrift
        Where the search for the slice begins.
    prior : DriftPrior
        What is known of its drift.
    cover : float
        Pixels beside the dark line that count as part of it.
    """

    damaged: Mapping[int, Features]
    neighbours: Mapping[int, Sequence[Features]]
    start: SliceDrift
    prior: DriftPrior
    cover: float

    def with_damaged(self, damaged: Mapping[int, Features]) -> Scene:
        """Return the same with another state of the damaged slice."""
        return replace(self, damaged=damaged)


@dataclass(frozen=True)
class _Side:
    """What the search found on one side."""

    scores: SideScores
    fit: SideFit

    @property
    def weight(self) -> float:
        """How many windows could be compared."""
        return float(self.scores.weight.sum())

    @property
    def correlation(self) -> float | None:
        """The mean correlation at the best law, None with too little to tell."""
        return self.fit.score / self.weight if self.weight >= _LEAST_WEIGHT else None


def fit_fold(
    fold: Fold, curve: Curve, scene: Scene, to_the_end: bool, branch: bool, reporter: Reporter
) -> FittedFold:
    """Find what a fold did.

    Parameters
    ----------
    fold : Fold
        The line.
    curve : Curve
        Its smoothed centre line in the frame of `scene`.
    scene : Scene
        The slice and its neighbours.
    to_the_end : bool
        Whether to go on from the search of each side to the likeliest law.
    branch : bool
        Whether it branches off from another fold.
    reporter : Reporter
        Told of progress, asked for cancellation.
    """
    coarse, fine = max(scene.damaged), min(scene.damaged)
    shape = scene.start.shape
    knots, widths = dark_line(curve, fold, scene.cover)
    steps = torch.arange(int(curve.length / fine) + 1, device=curve.device) * float(fine)
    half_width = interpolate(knots, widths, steps)
    neighbours = scene.neighbours

    def searched(side: int) -> _Side:
        # Along the line the slice is found at once; across it the law stands in for an offset.
        shift = scene.start.offset[:, None, None].expand(2, *scene.damaged[fine].values.shape)
        others = [one.moved(shift) for one in neighbours[fine]]
        scores = side_scores(
            curve,
            half_width,
            scene.damaged[fine],
            others,
            side,
            window=16 * fine,
            reporter=reporter,
        )
        return _Side(scores, fit_side(scores, curve.length))

    sides = []
    for index, side in enumerate((-1, 1)):
        sides.append(searched(side))
        reporter(0.15 + 0.15 * index, "Matching the neighbours")
    correlations = (sides[0].correlation, sides[1].correlation)
    motions: list[SideMotion | None] = [None, None]
    for index, side in enumerate((-1, 1)):
        if is_weak(correlations, index):
            motions[index] = find_motion(
                curve, scene.damaged[coarse], scene.neighbours[coarse], side
            )
    both: Motions = (motions[0], motions[1])
    if both != (None, None):
        neighbours = {
            pool: [neighbour_of_sides(curve, one, both) for one in every]
            for pool, every in scene.neighbours.items()
        }
        sides = [
            found if motion is None else searched(side)
            for found, motion, side in zip(sides, both, (-1, 1), strict=True)
        ]
        correlations = (sides[0].correlation, sides[1].correlation)
    reporter(0.5, "Fitting the fold")

    def law(fits: tuple[SideFit, SideFit]) -> FoldLaw:
        return law_of(curve, widths, knots, fits).with_ends(curve, shape)

    fits = _starts(sides[0], sides[1])
    if branch and correlations == (None, None):
        # Too little is seen beside it to tell what it moved: its dark line is filled.
        fits = (_without_gap(fits[0]), _without_gap(fits[1]))
        to_the_end = False
    found = FittedFold(
        fold,
        curve,
        law(fits),
        fits,
        scene.start,
        summed_precision=sides[0].weight + sides[1].weight,
        motions=both,
        side_scores=correlations,
    )
    if not to_the_end:
        return found
    last = fine if coarse > _GRID and max(shape) <= _LARGE else coarse
    part = reporter.part(0.5, 1.0)
    rounds = looks(coarse, last)
    likeliest = fit_posterior(found, scene.damaged, neighbours, law, rounds, scene.prior, part)
    if likeliest is None:
        # A side of a small slice tells little, and its search may have hidden nearly all of it;
        # both together tell more.
        fits = fit_uniform((sides[0].scores, sides[1].scores), curve.length)
        found = replace(found, fits=fits, law=law(fits), uniform_share=1.0)
        likeliest = fit_posterior(found, scene.damaged, neighbours, law, rounds, scene.prior, part)
    # In a slice with too little to see the search is all there is.
    return likeliest or found


def _without_gap(fit: SideFit) -> SideFit:
    return replace(fit, gap=torch.zeros_like(fit.gap))


def _starts(first: _Side, second: _Side) -> tuple[SideFit, SideFit]:
    """Return where each side starts: from the other one if it shows hardly any tissue."""
    if first.weight < _LITTLE and second.weight > _MUCH_MORE * first.weight:
        return second.fit, second.fit
    if second.weight < _LITTLE and first.weight > _MUCH_MORE * second.weight:
        return first.fit, first.fit
    return first.fit, second.fit
