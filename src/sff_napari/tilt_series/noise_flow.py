"""Conditional normalizing flow of the noise: eight radial layers, its mean anchored."""

from __future__ import annotations

import math

import torch
from torch import nn

_HIDDEN = 16
_PARAMETER_RANGE = 10.0


def radial(
    z: torch.Tensor, centre: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a radial layer's output and its log-derivative, both taken at its input.

    ``z' = z + b (z - centre) / (a + |z - centre|)`` with ``a = exp(alpha)`` and
    ``b = softplus(beta) - a``, which keeps it rising.
    """
    a = alpha.exp()
    b = nn.functional.softplus(beta) - a
    away = z - centre
    distance = away.abs()
    moved = z + b * away / (a + distance)
    return moved, torch.log1p(b * a / (a + distance).square())


def radial_inverse(
    moved: torch.Tensor, centre: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    """Return the input of `radial` that gives `moved`, by the root of a quadratic."""
    a = alpha.exp()
    b = nn.functional.softplus(beta) - a
    away = moved - centre
    target = away.abs()
    # distance + b distance / (a + distance) = target
    half = 0.5 * (target - a - b)
    distance = half + (half.square() + a * target).sqrt()
    return centre + away.sign() * distance


class NoiseFlow(nn.Module):
    """Density of the noise ``n = image - clean`` given the clean signal.

    Four radial layers alike for all signals are followed by four whose
    parameters a small network reads off the signal; the result is
    normal.  After Kniesel et al. (2022), but each log-derivative is taken at
    the layer's input, where it belongs.

    Parameters
    ----------
    scale : float
        Rough standard deviation of the noise.
    layers : int
        Of each of the two kinds.

    Examples
    --------
    >>> import torch
    >>> flow = NoiseFlow(0.1)
    >>> flow.log_density(torch.zeros(3), torch.full((3,), 0.5)).shape
    torch.Size([3])
    """

    def __init__(self, scale: float, layers: int = 4) -> None:
        super().__init__()
        self.scale = scale
        # alpha = 0, softplus(beta) = 1: starts as the identity.
        identity = torch.tensor([0.0, 0.0, math.log(math.e - 1)])
        self.free = nn.Parameter(identity.repeat(layers, 1))
        self.conditional = nn.ModuleList()
        for _ in range(layers):
            last = nn.Linear(_HIDDEN, 3)
            nn.init.normal_(last.weight, std=1e-3)
            with torch.no_grad():
                last.bias.copy_(torch.atanh(identity / _PARAMETER_RANGE))
            self.conditional.append(
                nn.Sequential(nn.Linear(1, _HIDDEN), nn.ReLU(), last, nn.Tanh())
            )

    def _parameters_at(self, clean: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        parameters = [tuple(row) for row in self.free]
        for network in self.conditional:
            found = _PARAMETER_RANGE * network(clean[..., None])
            parameters.append(tuple(found.unbind(-1)))
        return parameters

    def forward(
        self, noise: torch.Tensor, clean: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normal value of each noise and the log-derivative by the noise."""
        z = noise / self.scale
        total = torch.full_like(z, -math.log(self.scale))
        for parameters in self._parameters_at(clean):
            z, log_slope = radial(z, *parameters)
            total = total + log_slope
        return z, total

    def inverse(self, z: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """Return the noise that the flow maps to `z`."""
        for parameters in reversed(self._parameters_at(clean)):
            z = radial_inverse(z, *parameters)
        return z * self.scale

    def log_density(self, noise: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """Return the log-density of each noise given its clean signal."""
        z, log_slope = self(noise, clean)
        return -0.5 * (z.square() + math.log(2 * math.pi)) + log_slope

    def mean(self, clean: torch.Tensor, nodes: int = 16) -> torch.Tensor:
        """Return the mean noise at each clean signal, by quantiles of the normal."""
        shares = (torch.arange(nodes, device=clean.device) + 0.5) / nodes
        z = torch.special.ndtri(shares)
        spread = clean[..., None].expand(*clean.shape, nodes)
        return self.inverse(z.expand_as(spread), spread).mean(-1)
