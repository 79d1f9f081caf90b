"""Fit the likeliest law of a fold and the drift of the slice, from one posterior.

Each window of the unfolded slice lies off its neighbours by what is wrong with the
law and by the drift of the tissue there.  The law's parameters have a prior of what
is usual for folds, the offset of the slice one about the middle of its neighbours,
and the rest of the drift is a smooth random field of a strength that this slice
itself shows.  Gauss-Newton steps find the likeliest of all together; what the
windows do not tell stays as uncertain as its prior.

The paper's law of two parameters is one more part of the prior.  It is solved for by
itself, as it lies far from where the flexible law is linear, and counts for as much
as what was seen makes it likely.

Source: METHOD, sections 6 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sff_napari.alignment.drift_model import (
    DriftCovariance,
    DriftPrior,
    DriftStrength,
    SliceDrift,
)
from sff_napari.alignment.drift_strength import estimate_strength
from sff_napari.alignment.features import Features
from sff_napari.alignment.window_scores import WindowScores, compare_windows
from sff_napari.folds import FoldLaw
from sff_napari.progress import Reporter
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, unfolded_features
from sff_napari.restoration.unfolding.law_parameters import LawParameters, LawPlaces
from sff_napari.restoration.unfolding.law_prior import (
    Mixture,
    Posterior,
    flexible_prior,
    uniform_map,
    uniform_prior,
)
from sff_napari.restoration.unfolding.law_search import (
    LARGEST_GAP,
    LEAST_DECAY,
    LEAST_GAP,
    MOST_DECAY,
    SideFit,
)

LawOfFits = Callable[[tuple[SideFit, SideFit]], FoldLaw]

_LEAST_WINDOWS = 20
_MOST_WINDOWS = 700
_OUTLIER = 9.0
"""Distance, px, of a window's shift from what law and drift explain at which it counts a third
less."""
_UNIFORM = 5.0
"""Logarithm of how much more often the paper's law holds than a flexible one, as far as the
evidence, which overstates, can tell."""
_DOUBT = 2.0
"""What the logarithm of the evidence is divided by: windows overlap."""
_UNIFORM_STEPS = 2


@dataclass(frozen=True)
class Look:
    """One comparison of the unfolded slice with its neighbours.

    Parameters
    ----------
    pool : int
        Grid of the features, px.
    reach : float
        Largest shift of a window that is looked for, px.
    widths : tuple of float
        Spread, px, of the shifts of windows about what law and drift say, in
        each round of the solution.
    grid : float
        Distance of the shifts that are told apart, px.
    """

    pool: int
    reach: float
    widths: tuple[float, ...]
    grid: float


def looks(coarse: int, fine: int) -> tuple[Look, Look]:
    """Return the comparisons of a slice, by the grids of its features, px."""
    return (
        Look(coarse, 3.0 * coarse, (12.0, 8.0, 6.0, 4.0), 4.0),
        Look(fine, 3.0 * fine, (4.0, 3.0, 2.0, 1.5), 2.0),
    )


def fit_posterior(
    start: FittedFold,
    damaged: Mapping[int, Features],
    neighbours: Mapping[int, Sequence[Features]],
    law_of_fits: LawOfFits,
    steps: Sequence[Look],
    prior: DriftPrior,
    reporter: Reporter,
) -> FittedFold | None:
    """Return a fold with its likeliest law; None if too little is seen.

    Parameters
    ----------
    start : FittedFold
        A law within some pixels of the truth, and where the search for the slice begins.
    damaged, neighbours : mapping of int to Features
        By the pixels of their grid; the neighbours where they meet half way.
    law_of_fits : callable
        Makes a law from fits.
    steps : sequence of Look
        From coarse to fine.
    prior : DriftPrior
        What is known of the drift before.
    reporter : Reporter
        Asked for cancellation.
    """
    one, strength, uniform = start, DriftStrength(prior.level), None
    for look in steps:
        reporter.check()
        seen = _Seen.of(one, damaged[look.pool], neighbours[look.pool], look)
        if seen is None:
            return None if one is start else one
        solver = _Solver(one, seen, prior, strength, uniform)
        for count, width in enumerate(look.widths):
            reporter.check()
            # The strength hardly changes once the windows have settled.
            solver.step(width, learn=count in (0, len(look.widths) - 1))
        one, strength, uniform = solver.fitted(law_of_fits), solver.strength, solver.uniform
    return one


@dataclass(frozen=True)
class _Seen:
    """What windows tell, in the coordinates of the fold.

    Parameters
    ----------
    places : LawPlaces
        The windows as the law sees them.
    scores : WindowScores
        Of shifts about `applied`.
    applied : Tensor, (2, N) float64
        What was undone and by how much the neighbours were moved, px.
    """

    places: LawPlaces
    scores: WindowScores
    applied: Tensor

    @classmethod
    def of(
        cls, one: FittedFold, damaged: Features, neighbours: Sequence[Features], look: Look
    ) -> _Seen | None:
        unfolded = unfolded_features(one.curve, one.law, damaged)
        grid, first = unfolded.values.shape, (damaged.pool - 1) / 2
        offset = one.drift.on_grid((grid[0], grid[1]), (first, first), float(damaged.pool))
        moved = [neighbour.moved(offset) for neighbour in neighbours]
        scores = compare_windows(unfolded, moved, look.reach, _MOST_WINDOWS, look.grid)
        if scores is None or scores.points.shape[1] < _LEAST_WINDOWS:
            return None
        places = LawPlaces.of(one, scores.points)
        if int(places.seen.sum()) < _LEAST_WINDOWS:
            return None
        scores = scores.where(places.seen)
        shifts = one.drift.at(scores.points).double().cpu()
        # Small dense algebra from here on: the CPU is best at it.
        scores = WindowScores(scores.points.cpu(), scores.likelihood.cpu(), scores.shifts.cpu())
        places = places.where_seen()
        parameters = LawParameters(len(one.fits[0].gap))
        undone = places.normal * parameters.displacement(parameters.vector_of(one.fits), places)
        return cls(places, scores, undone + shifts)


class _Solver:
    """Gauss-Newton steps towards the likeliest law, offset and drift for one comparison.

    Parameters
    ----------
    one : FittedFold
        Where to start.
    seen : _Seen
        What windows tell.
    prior : DriftPrior
        What is known of the drift before.
    strength : DriftStrength
        The strength of drift to start with.
    uniform : Tensor, (4,), optional
        Parameters of the paper's law to start with; from the flexible one if not given.
    """

    def __init__(
        self,
        one: FittedFold,
        seen: _Seen,
        prior: DriftPrior,
        strength: DriftStrength,
        uniform: Tensor | None,
    ) -> None:
        self.one, self.seen, self.prior, self.strength = one, seen, prior, strength
        self.parameters = LawParameters(len(one.fits[0].gap))
        law = self.parameters.vector_of(one.fits)
        self.flexible = torch.cat([law, one.drift.offset.double().cpu()])
        self._map, self._rest = uniform_map(self.parameters)
        self.uniform = self._nearest_uniform() if uniform is None else uniform
        self._covariance = DriftCovariance(seen.scores.points, one.drift.shape)
        normal = seen.places.normal
        self._tangent = torch.stack([-normal[1], normal[0]])
        self._offsets = torch.eye(2, dtype=torch.float64)[:, None].expand(2, normal.shape[1], 2)
        self._uniform_prior = uniform_prior().with_offset(prior)
        self._explained = seen.applied
        self._learned = False

    def step(self, width: float, learn: bool) -> None:
        """Take a step, with shifts of windows spread by `width` px about what is explained.

        With `learn` the strength of drift is found anew first.
        """
        shift, precision = self.seen.scores.sites(self._explained - self.seen.applied, width)
        total = self.seen.applied + shift
        trust = 1 / (1 + (total - self._explained).square().sum(0) / (2 * _OUTLIER**2))
        noise = 1 / (precision * trust)
        if learn:
            self.strength = estimate_strength(
                self.seen.scores.points,
                self._tangent,
                (total * self._tangent).sum(0),
                noise,
                self.one.drift.shape,
                self.prior,
            )
        shared = self._covariance.of(self.strength)
        factor = torch.linalg.cholesky(shared + torch.diag(noise))
        mixture = flexible_prior(self.parameters, self.flexible[:-2]).with_offset(self.prior)
        eye = torch.eye(len(self.flexible), dtype=torch.float64)
        flexible = self._solve(self.flexible, eye, self.flexible, total, factor, mixture)
        self.flexible = self._bounded(flexible.mean)
        for _ in range(_UNIFORM_STEPS):
            whole = self._map @ self.uniform + self._rest
            uniform = self._solve(
                whole, self._map, self.uniform, total, factor, self._uniform_prior
            )
            self.uniform = uniform.mean.clone()
            self.uniform[0].clamp_(LEAST_GAP, LARGEST_GAP)
            self.uniform[1].clamp_(LEAST_DECAY, MOST_DECAY)
        self.share = self._uniform_share(flexible, uniform)
        whole = self._map @ self.uniform + self._rest
        self.vector = self.share * whole + (1 - self.share) * self.flexible
        away = whole - self.flexible
        self.covariance = (
            self.share * self._map @ uniform.covariance @ self._map.T
            + (1 - self.share) * flexible.covariance
            + self.share * (1 - self.share) * away[:, None] * away
        )
        law = self._explained_by(self.vector)
        rest = total - law
        self.apart = torch.cholesky_solve(rest.T, factor)
        self._explained = law + (shared @ self.apart).T
        self.misfit = float((rest * self.apart.T).sum()) / rest.numel()
        self.summed_precision = float((1 / noise).sum())

    def _solve(
        self,
        vector: Tensor,
        slopes: Tensor,
        values: Tensor,
        total: Tensor,
        factor: Tensor,
        mixture: Mixture,
    ) -> Posterior:
        """Return the posterior of `values`, where all parameters change by `slopes` with them."""
        moves = self.parameters.slopes(vector[:-2], self.seen.places)
        moves = torch.cat([self.seen.places.normal[:, :, None] * moves, self._offsets], dim=2)
        rest = total - self._explained_by(vector)
        both = torch.cat([moves @ slopes, rest[:, :, None]], dim=2)
        white = torch.linalg.solve_triangular(factor, both, upper=False)
        known = torch.einsum("cnp,cnq->pq", white[:, :, :-1], white[:, :, :-1])
        target = white[:, :, -1] + white[:, :, :-1] @ values
        pull = torch.einsum("cnp,cn->p", white[:, :, :-1], target)
        found = mixture.after(known, pull)
        return replace(found, evidence=found.evidence - 0.5 * float(target.square().sum()))

    def _uniform_share(self, flexible: Posterior, uniform: Posterior) -> float:
        """Return how likely the paper's law is enough."""
        if self.one.motions != (None, None):
            # Sides that lie apart as a whole are not what it is about.
            return 0.0
        lead = flexible.evidence - uniform.evidence
        # The evidence of shapes is doubted, that of an offset no slice of the stack has is not.
        usual = self.prior.offset_density(self.flexible[-2:])
        usual -= self.prior.offset_density(self.uniform[-2:])
        lead = (lead - usual) / _DOUBT + usual - _UNIFORM
        return 1 / (1 + math.exp(min(max(lead, -50.0), 50.0)))

    def _explained_by(self, vector: Tensor) -> Tensor:
        """Return the displacement (2, N), px, by a law and an offset."""
        law = self.parameters.displacement(vector[:-2], self.seen.places)
        return self.seen.places.normal * law + vector[-2:, None]

    def _bounded(self, vector: Tensor) -> Tensor:
        return torch.cat([self.parameters.bounded(vector[:-2]), vector[-2:]])

    def _nearest_uniform(self) -> Tensor:
        """Return displacement, decay and offset of the paper's law nearest to the flexible one."""
        (first, one, _), (second, other, _) = self.parameters.sides(self.flexible[:-2])
        gap, decay = (first.mean() + second.mean()) / 2, (one + other) / 2
        return torch.cat([torch.stack([gap, decay]), self.flexible[-2:]])

    def fitted(self, law_of_fits: LawOfFits) -> FittedFold:
        """Return the fold with the law and the drift as they are now."""
        fits = self.parameters.fits_at(self.vector[:-2])
        device = self.one.curve.device
        field = replace(SliceDrift.none(self.one.drift.shape), level=self.strength.level)
        waves, variance = field.waves(self.seen.scores.points)
        weights = (variance[:, None] * (waves.T @ self.apart)).T.reshape(field.weights.shape)
        drift = replace(field, weights=weights.float().to(device))
        return replace(
            self.one,
            fits=fits,
            law=law_of_fits(fits),
            drift=drift.with_offset(self.vector[-2:]),
            uniform_share=self.share,
            covariance=self.covariance[:-2, :-2],
            misfit=self.misfit,
            summed_precision=self.summed_precision,
        )
