"""Say what is usual for folds, as a mixture, and what is left of it after something was seen.

No law is chosen.  Two sides may be alike or very unequal, the displacement the same
along the line or not, the fall linear or with a tail: each combination is a part of
the mixture, a normal distribution of the law's parameters and of the offset of the
whole slice.  What was seen makes each part more or less likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from sff_napari.alignment.drift_model import DriftPrior
from sff_napari.restoration.unfolding.law_parameters import LawParameters
from sff_napari.restoration.unfolding.law_search import LEAST_TAIL

_GAP, _GAP_SPREAD = 40.0, 40.0
"""Displacement next to the line, mean of both sides: mean and spread over folds, px."""
_DECAY, _DECAY_SPREAD = 0.045, 0.03
"""Mean and spread of the decay, px a px."""
_UNEQUAL = ((0.5, 0.1), (4.0, 0.2), (25.0, 0.7))
"""Spread of the difference of the sides' displacements, px, and how often it holds."""
_BENDS = ((0.004, 0.2), (0.04, 0.3), (0.15, 0.5))
"""Spread of changes of the displacement along the line, as a share of it, and how often."""
_UNEQUAL_DECAY = ((0.002, 0.4), (0.025, 0.6))
"""Spread of the difference of the sides' decays, px a px, and how often it holds."""
_TAILS = ((0.02, 0.02, 0.5), (0.35, 0.3, 0.5))
"""Mean and spread of the tail, and how often they hold."""
_LEAST_GAP = 2.0
"""Displacement, px, below which spreads that are shares of it grow no smaller."""
_SLOPE = 1.25
"""How much less the displacement changes from one coefficient to the next than its slope does."""


@dataclass(frozen=True)
class Mixture:
    """Normal distributions, each with a share.

    Parameters
    ----------
    shares : Tensor, (M,)
        Logarithms of the shares.
    pulls : Tensor, (M, P)
        Precisions times means.
    precisions : Tensor, (M, P, P)
        Inverses of the covariances.
    """

    shares: Tensor
    pulls: Tensor
    precisions: Tensor

    def with_offset(self, prior: DriftPrior) -> Mixture:
        """Return the mixture with two more parameters, the offset of the slice, (dy, dx) in px."""
        parts, size = self.pulls.shape
        many = len(prior.offsets)
        place = self.pulls.new_tensor(prior.place)
        variances = self.pulls.new_tensor([variance for variance, _ in prior.offsets])
        often = self.pulls.new_tensor([share for _, share in prior.offsets]).log()
        pulls = torch.zeros((parts, many, size + 2), dtype=self.pulls.dtype)
        pulls[:, :, :size] = self.pulls[:, None]
        pulls[:, :, size:] = place / variances[:, None]
        precisions = torch.zeros((parts, many, size + 2, size + 2), dtype=self.pulls.dtype)
        precisions[:, :, :size, :size] = self.precisions[:, None]
        precisions[:, :, size, size] = precisions[:, :, size + 1, size + 1] = 1 / variances
        return Mixture(
            (self.shares[:, None] + often).flatten(), pulls.flatten(0, 1), precisions.flatten(0, 1)
        )

    def after(self, known: Tensor, pull: Tensor) -> Posterior:
        """Return what is left of the mixture after something was seen.

        Parameters
        ----------
        known : Tensor, (P, P)
            Precision of the parameters by what was seen alone.
        pull : Tensor, (P,)
            `known` times the parameters that explain it best.
        """
        right = pull + self.pulls
        factor = torch.linalg.cholesky(known + self.precisions)
        means = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
        own = torch.linalg.cholesky(self.precisions)
        usual = torch.cholesky_solve(self.pulls[:, :, None], own)[:, :, 0]
        diagonals = own.diagonal(dim1=1, dim2=2), factor.diagonal(dim1=1, dim2=2)
        volume = (diagonals[0].log() - diagonals[1].log()).sum(1)
        likely = self.shares + volume
        likely = likely + 0.5 * ((means * right).sum(1) - (usual * self.pulls).sum(1))
        shares = torch.softmax(likely, dim=0)
        mean = shares @ means
        away = means - mean
        # Only parts that count: the inverse of all is most of the work.
        kept = shares > 1e-4
        covariance = torch.einsum(
            "m,mpq->pq", shares[kept], torch.cholesky_inverse(factor[kept])
        ) + torch.einsum("m,mp,mq->pq", shares, away, away)
        return Posterior(mean, covariance, float(torch.logsumexp(likely, 0)))


@dataclass(frozen=True)
class Posterior:
    """Parameters after something was seen.

    Parameters
    ----------
    mean : Tensor, (P,)
        Of the parameters.
    covariance : Tensor, (P, P)
        Of the parameters.
    evidence : float
        Logarithm of how likely the prior made what was seen, but for a constant.
    """

    mean: Tensor
    covariance: Tensor
    evidence: float


def flexible_prior(parameters: LawParameters, vector: Tensor) -> Mixture:
    """Return what is usual for folds whose sides and places along the line may differ.

    Parameters
    ----------
    parameters : LawParameters
        What the parameters mean.
    vector : Tensor, (P,) float64
        Parameters about which spreads that are shares of the displacement hold.
    """
    count, size = parameters.count, parameters.size
    half = count + 2
    gaps = [side[0].mean().clamp_min(_LEAST_GAP) for side in parameters.sides(vector)]
    eye = torch.eye(size, dtype=torch.float64)
    sides = [eye[s * half : s * half + count] for s in (0, 1)]
    # Rows are what is usual about the parameters; each has a mean and a spread.
    gap = (sides[0].mean(0) + sides[1].mean(0))[None] / 2
    unequal = (sides[1].mean(0) - sides[0].mean(0))[None]
    slopes = [_SLOPE * side.diff(dim=0) / own for side, own in zip(sides, gaps, strict=True)]
    bends = [side.diff(n=2, dim=0) / own for side, own in zip(sides, gaps, strict=True)]
    bend = torch.cat([*slopes, *bends])
    decay = (eye[count] + eye[half + count])[None] / 2
    uneven = (eye[half + count] - eye[count])[None]
    tail = torch.stack([eye[count + 1], eye[half + count + 1]])
    fixed = gap.T @ gap / _GAP_SPREAD**2 + decay.T @ decay / _DECAY_SPREAD**2
    drawn = _GAP * gap[0] / _GAP_SPREAD**2 + _DECAY * decay[0] / _DECAY_SPREAD**2
    shares, pulls, precisions = [], [], []
    for (apart, often), (bent, bent_often), (odd, odd_often), (mean, spread, tail_often) in product(
        _UNEQUAL, _BENDS, _UNEQUAL_DECAY, _TAILS
    ):
        shares.append(math.log(often * bent_often * odd_often * tail_often))
        precisions.append(
            fixed
            + unequal.T @ unequal / apart**2
            + bend.T @ bend / bent**2
            + uneven.T @ uneven / odd**2
            + tail.T @ tail / spread**2
        )
        pulls.append(drawn + mean * tail.sum(0) / spread**2)
    return Mixture(vector.new_tensor(shares), torch.stack(pulls), torch.stack(precisions))


def uniform_prior() -> Mixture:
    """Return what is usual for the two parameters of the paper's law: displacement and decay."""
    precision = torch.diag(torch.tensor([_GAP_SPREAD**-2, _DECAY_SPREAD**-2]).double())
    pull = precision @ torch.tensor([_GAP, _DECAY]).double()
    return Mixture(torch.zeros(1).double(), pull[None], precision[None])


def uniform_map(parameters: LawParameters) -> tuple[Tensor, Tensor]:
    """Return how all parameters follow from those of the paper's law.

    Returns
    -------
    slopes : Tensor, (P + 2, 4)
        All parameters and the offset, by displacement, decay and offset.
    rest : Tensor, (P + 2,)
        What to add.
    """
    count, half, size = parameters.count, parameters.count + 2, parameters.size
    slopes = torch.zeros((size + 2, 4), dtype=torch.float64)
    rest = torch.zeros(size + 2, dtype=torch.float64)
    for first in (0, half):
        slopes[first : first + count, 0] = 1
        slopes[first + count, 1] = 1
        rest[first + count + 1] = LEAST_TAIL
    slopes[size, 2] = slopes[size + 1, 3] = 1
    return slopes, rest
