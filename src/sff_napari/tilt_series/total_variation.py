"""Total variation of a volume: its value, and the step that lowers it."""

from __future__ import annotations

import math

import torch

_INNER = 3
"""Steps of the dual problem; it starts where the last call ended, so few are enough."""


def differences(volume: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Write the differences to the next voxel along each axis into `out`, (3, Z, Y, X)."""
    torch.sub(volume[1:], volume[:-1], out=out[0, :-1])
    torch.sub(volume[:, 1:], volume[:, :-1], out=out[1][:, :-1])
    torch.sub(volume[:, :, 1:], volume[:, :, :-1], out=out[2][:, :, :-1])
    return out


def divergence(field: torch.Tensor) -> torch.Tensor:
    """Return minus the adjoint of `differences`, (Z, Y, X), of a field (3, Z, Y, X)."""
    total = torch.zeros_like(field[0])
    total[:-1] += field[0][:-1]
    total[1:] -= field[0][:-1]
    total[:, :-1] += field[1][:, :-1]
    total[:, 1:] -= field[1][:, :-1]
    total[:, :, :-1] += field[2][:, :, :-1]
    total[:, :, 1:] -= field[2][:, :, :-1]
    return total


def total_variation(volume: torch.Tensor) -> torch.Tensor:
    """Return the mean length of the gradient, differentiable, with a rounded tip at 0."""
    z = volume[1:, :-1, :-1] - volume[:-1, :-1, :-1]
    y = volume[:-1, 1:, :-1] - volume[:-1, :-1, :-1]
    x = volume[:-1, :-1, 1:] - volume[:-1, :-1, :-1]
    return (z.square() + y.square() + x.square() + 1e-10).sqrt().mean()


class TotalVariationStep:
    """The nearest non-negative volume of lower total variation.

    Solves ``min_u |u - v|^2 / 2 + weight TV(u), u >= 0`` by the fast gradient
    projection of Beck and Teboulle (2009) on the dual field, which is kept from call to call.

    Parameters
    ----------
    shape : (Z, Y, X)
        Of the volumes.
    weight : float
        Of the total variation.
    device : torch.device
        Where the volumes are.
    """

    def __init__(self, shape: tuple[int, int, int], weight: float, device: torch.device) -> None:
        self._weight = weight
        self._dual = torch.zeros(3, *shape, device=device)
        self._scratch = torch.zeros_like(self._dual)

    def __call__(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the smoother volume."""
        if self._weight <= 0:
            return volume.clamp(min=0)
        ahead, momentum = self._dual, 1.0
        for _ in range(_INNER):
            primal = (volume + self._weight * divergence(ahead)).clamp_(min=0)
            moved = differences(primal, self._scratch).mul(1 / (12 * self._weight)).add_(ahead)
            moved /= moved.square().sum(0).sqrt_().clamp_(min=1)
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = moved + ((momentum - 1) / following) * (moved - self._dual)
            self._dual, momentum = moved, following
        return (volume + self._weight * divergence(self._dual)).clamp_(min=0)
