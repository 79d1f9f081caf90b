"""Project a volume along the rays of every tilt, and its exact adjoint.

The tilt axis keeps every slice across it to itself, so that one sparse matrix
of two dimensions serves the whole volume: it is applied to all slices at once.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from sff_napari.errors import InputError

_NARROWEST = 1e-3
"""Sides of a voxel's shadow below which it is taken as this wide, in pixels."""


def _ramp_squared(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(t, 0.0) ** 2


def _shadow_integral(t: NDArray[np.float64], cosine: float, sine: float) -> NDArray[np.float64]:
    """Return the share of a unit voxel's shadow that lies below `t`, the trapezoid's integral."""
    a, b = max(abs(cosine), _NARROWEST), max(abs(sine), _NARROWEST)
    outer, inner = (a + b) / 2, (a - b) / 2
    total = (
        _ramp_squared(t + outer)
        - _ramp_squared(t + inner)
        - _ramp_squared(t - inner)
        + _ramp_squared(t - outer)
    )
    return total / (2 * a * b)


def strip_matrix(
    tilts: NDArray[Any], width: int, thickness: int, shifts: NDArray[Any] | None = None
) -> scipy.sparse.csr_matrix:
    """Return the matrix that projects one slice across the tilt axis.

    Each weight is the area of a square voxel inside the strip that a detector
    pixel sees, so that every voxel gives its full mass to every tilt and flat
    areas are projected without ripple.  A point (z, y), counted from the middle of the
    slice, is seen at ``y cos(tilt) + z sin(tilt)``.

    Parameters
    ----------
    tilts : ndarray, (T,)
        In degrees.
    width : int
        Pixels of the detector, and voxels of the slice, across the tilt axis.
    thickness : int
        Voxels of the slice along the beam at zero tilt.
    shifts : ndarray, (T,), optional
        Where the tilt axis is seen in each image, in pixels from the middle.

    Returns
    -------
    csr_matrix, (T * width, thickness * width) float32
        Rows in the order (tilt, pixel), columns in the order (z, y); in voxels.
    """
    y = np.arange(width) - (width - 1) / 2
    z = np.arange(thickness) - (thickness - 1) / 2
    shifts = np.zeros(len(tilts)) if shifts is None else np.asarray(shifts, float)
    voxels = np.arange(thickness * width, dtype=np.int32)
    values, rows, columns = [], [], []
    for number, (tilt, shift) in enumerate(zip(np.radians(tilts), shifts, strict=True)):
        cosine, sine = float(np.cos(tilt)), float(np.sin(tilt))
        centre = (y[None, :] * cosine + z[:, None] * sine).ravel() + (width - 1) / 2 + shift
        first = np.floor(centre).astype(np.int32) - 1
        edges = [_shadow_integral(first + step - 0.5 - centre, cosine, sine) for step in range(5)]
        for step in range(4):
            pixel = first + step
            weight = edges[step + 1] - edges[step]
            kept = (weight > 1e-7) & (pixel >= 0) & (pixel < width)
            values.append(weight[kept].astype(np.float32))
            rows.append((number * width + pixel[kept]).astype(np.int32))
            columns.append(voxels[kept])
    matrix = scipy.sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(len(tilts) * width, thickness * width),
    )
    matrix.sort_indices()
    return matrix


def _as_torch(matrix: scipy.sparse.csr_matrix, device: torch.device) -> torch.Tensor:
    with warnings.catch_warnings():
        # What is used of it, the product with a dense matrix, has long been settled.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr),
            torch.from_numpy(matrix.indices),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
            device=device,
            check_invariants=False,
        )


class Projector:
    """Projections of a volume (Z, Y, X) tilted about X, and the exact adjoint.

    Parameters
    ----------
    tilts : ndarray, (T,)
        In degrees.
    width : int
        Pixels across the tilt axis.
    thickness : int
        Slices of the volume.
    shifts : ndarray, (T,), optional
        Where the tilt axis is seen in each image, in pixels from the middle.
    device : torch.device, optional
        Where to compute; the processor where not given.

    See Also
    --------
    strip_matrix : The weights.

    Examples
    --------
    >>> import numpy as np, torch
    >>> projector = Projector(np.array([-30.0, 0.0, 30.0]), width=8, thickness=4)
    >>> projector.project(torch.ones(4, 8, 5)).shape
    torch.Size([3, 8, 5])
    """

    def __init__(
        self,
        tilts: NDArray[Any],
        width: int,
        thickness: int,
        shifts: NDArray[Any] | None = None,
        device: torch.device | None = None,
    ) -> None:
        if thickness < 1 or width < 1:
            raise InputError("A volume needs at least one voxel along each axis.")
        self.tilts = np.asarray(tilts, np.float64)
        self.width, self.thickness = width, thickness
        self.device = device or torch.device("cpu")
        self.shifts = shifts
        matrix = strip_matrix(self.tilts, width, thickness, shifts)
        self._forward = _as_torch(matrix, self.device)
        self._backward = _as_torch(matrix.T.tocsr(), self.device)

    def project(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the sums along the rays, (T, Y, X), of a volume (Z, Y, X)."""
        flat = volume.reshape(self.thickness * self.width, -1)
        return cast(torch.Tensor, _Apply.apply(flat, self._forward, self._backward)).reshape(
            len(self.tilts), self.width, -1
        )

    def back_project(self, images: torch.Tensor) -> torch.Tensor:
        """Return the adjoint, (Z, Y, X), of images (T, Y, X)."""
        flat = images.reshape(len(self.tilts) * self.width, -1)
        return cast(torch.Tensor, _Apply.apply(flat, self._backward, self._forward)).reshape(
            self.thickness, self.width, -1
        )

    def ray_lengths(self) -> torch.Tensor:
        """Return the voxels that each ray meets, (T, Y, 1)."""
        return self.project(torch.ones(self.thickness, self.width, 1, device=self.device))

    def voxel_weights(self) -> torch.Tensor:
        """Return the weight with which all images see each voxel, (Z, Y, 1)."""
        return self.back_project(torch.ones(len(self.tilts), self.width, 1, device=self.device))

    def squared_norm(self) -> float:
        """Return an upper bound of the largest squared singular value."""
        return float(self.back_project(self.ray_lengths()).max())


class _Apply(torch.autograd.Function):
    """A sparse matrix times a dense one, with the stored transpose for the gradient."""

    @staticmethod
    def forward(
        ctx: Any, flat: torch.Tensor, matrix: torch.Tensor, transpose: torch.Tensor
    ) -> torch.Tensor:
        ctx.matrices = (matrix, transpose)
        return matrix @ flat.contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        matrix, transpose = ctx.matrices
        return _Apply.apply(gradient, transpose, matrix), None, None
