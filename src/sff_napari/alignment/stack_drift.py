"""Measure how strongly the slices of a stack drift, on its clean slices.

The strength of drift is a trait of the stack: some stacks are aligned to a pixel, in
others each slice lies several pixels off the middle of its neighbours (METHOD,
section 7.2b and c).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.drift_fields import drift_field, global_shift, met_half_way
from sff_napari.alignment.drift_model import DriftPrior
from sff_napari.alignment.drift_strength import estimate_strength
from sff_napari.alignment.features import Features
from sff_napari.alignment.window_scores import compare_windows
from sff_napari.arrays import GreyScale, as_slice, is_constant
from sff_napari.errors import InputError
from sff_napari.no_data import find_no_data

MOST_SLICES = 12
"""Clean slices that are measured unless they are named."""
_SIDE = 1536
"""Largest side, px, of what is looked at: the middle of larger slices."""
_FARTHEST = 4
"""Slices away whose places may tell where a slice lies."""
_POOL = 4
_REACH = 16.0
_WIDTHS = (8.0, 4.0)
_MOST_WINDOWS = 700
_WORTH_IT = 0.7
"""Share of the middle's mean square error that a prediction must stay below to be used."""
_RIDGE = 0.5
"""Variance of errors of a shift, px^2, that keeps a regression from following them."""
_LEAST_SLICES = 6
"""Slices from which a prediction can be learned."""


@dataclass(frozen=True)
class StackDrift:
    """How clean slices of a stack lie against the middle of their neighbours.

    Parameters
    ----------
    slices : tuple of int
        The slices that were measured.
    offset_variance : float
        Variance of the offset of a slice, px^2 (each of dy and dx), about where it is
        expected: the middle of its neighbours, or the prediction where that is better.
    middle_variance : float
        The same about the middle.
    level : float
        Strength of the smooth part of the drift, as a factor on what is usual (0.8 px^2
        for one half wave per 1024 px).
    level_spread : float
        Factor within which slices of the stack vary in that.
    weights : tuple of float
        How much the slices two, three and four away tell of where a slice lies; empty if
        the middle of the neighbours predicts it better.
    place : (dy, dx)
        Where the slice in question is expected against the middle, px; see `for_slice`.

    See Also
    --------
    sff_napari.measure_drift : Measures it.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.simulation import neuropil
    >>> drift = sff.measure_drift(neuropil((5, 256, 256), seed=1))
    >>> sff.StackDrift.from_json(drift.to_json()) == drift
    True
    """

    slices: tuple[int, ...]
    offset_variance: float
    middle_variance: float
    level: float
    level_spread: float
    weights: tuple[float, ...] = ()
    place: tuple[float, float] = (0.0, 0.0)

    def for_slice(self, stack: Any, z: int) -> StackDrift:
        """Return the same with the place that is expected of slice `z`.

        Parameters
        ----------
        stack : sequence of array_like, (Z, Y, X)
            The stack; slices that cannot be compared are left out.
        z : int
            The damaged slice.
        """
        if not self.weights:
            return self
        apart = _differences(_Features(stack), z, len(self.weights))
        if apart is None:
            return self
        dy, dx = np.asarray(self.weights) @ apart
        return replace(self, place=(float(dy), float(dx)))

    def prior(self) -> DriftPrior:
        """Return what is known of the drift of a slice of this stack."""
        variance = self.offset_variance
        offsets = ((variance / 3, 0.3), (variance, 0.5), (4 * variance + 1, 0.2))
        return DriftPrior(self.level, self.level_spread, offsets, self.place)

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON types; `from_dict` reads it."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> StackDrift:
        """Return the measurement that `to_dict` described.

        Raises
        ------
        InputError
            If a value is missing or makes no sense.
        """
        try:
            dy, dx = (float(value) for value in record.get("place", (0.0, 0.0)))
            found = cls(
                slices=tuple(int(z) for z in record["slices"]),
                offset_variance=float(record["offset_variance"]),
                middle_variance=float(record["middle_variance"]),
                level=float(record["level"]),
                level_spread=float(record["level_spread"]),
                weights=tuple(float(value) for value in record.get("weights", ())),
                place=(dy, dx),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"This is no measurement of drift: {error!s} is missing or no number. "
                "Measure it again with sff_napari.measure_drift."
            ) from error
        numbers = [getattr(found, name) for name in _NUMBERS]
        if not all(math.isfinite(value) and value > 0 for value in numbers):
            raise InputError("The variances and strengths of a drift must be finite and above 0.")
        return found

    def to_json(self) -> str:
        """Return the measurement as one JSON object."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> StackDrift:
        """Return the measurement that `to_json` wrote.

        Raises
        ------
        InputError
            If it is none.
        """
        try:
            record = json.loads(text)
        except ValueError as error:
            raise InputError(f"This is no measurement of drift in JSON: {error}.") from error
        if not isinstance(record, dict):
            raise InputError("A measurement of drift must be a JSON object.")
        return cls.from_dict(record)


_NUMBERS = ("offset_variance", "middle_variance", "level", "level_spread")


def measure_drift(
    stack: Any,
    slices: Sequence[int] | None = None,
    *,
    damaged: Sequence[int] = (),
    progress: Callable[[float, str], None] | None = None,
) -> StackDrift:
    """Measure how strongly clean slices of a stack drift against their neighbours.

    Parameters
    ----------
    stack : sequence of array_like, (Z, Y, X)
        The stack, or anything that gives slices by number and has a length.
    slices : sequence of int, optional
        Slices to measure; about a dozen over the stack if not given.  Each needs both
        neighbours.
    damaged : sequence of int
        Slices that are no use, neither by themselves nor as neighbours.
    progress : callable, optional
        Called as ``progress(share, text)``.

    Returns
    -------
    StackDrift
        Give it to `restore` as ``drift``.

    Raises
    ------
    InputError
        If no clean slice has two clean neighbours, or a slice cannot be used.

    See Also
    --------
    restore : Uses the measurement.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.simulation import neuropil
    >>> stack = neuropil((5, 256, 256), seed=1)
    >>> drift = sff.measure_drift(stack)
    >>> drift.slices
    (1, 2, 3)
    """
    depth, bad = len(stack), set(damaged)
    usable = [z for z in range(1, depth - 1) if not bad & {z - 1, z, z + 1}]
    if slices is None:
        chosen = usable[:: max(1, -(-len(usable) // MOST_SLICES))]
    else:
        chosen = [z for z in slices if z in set(usable)]
    if not chosen:
        raise InputError(
            "No clean slice with a clean neighbour on both sides was given: name slices of an "
            "undamaged stretch of the stack."
        )
    features = _Features(stack, bad)
    measured, offsets, levels, apart = [], [], [], []
    for count, z in enumerate(chosen):
        if progress is not None:
            progress(count / len(chosen), "Measuring the drift of clean slices")
        found = _measured(features, z)
        if found is None:
            continue
        offset, level = found
        measured.append(z)
        offsets.append(offset)
        levels.append(level)
        apart.append(_differences(features, z, _FARTHEST - 1))
    if not measured:
        raise InputError("None of the clean slices resembles its neighbours: drift is not known.")
    places = np.stack(offsets)
    middle = float(np.square(places).mean())
    weights, error = _prediction(places, apart)
    logs = np.log(levels)
    # A few slices say little of how much they vary: a usual factor counts as two more.
    usual = math.log(2.5)
    spread = math.sqrt(
        (float(np.square(logs - logs.mean()).sum()) + 2 * usual**2) / (len(logs) + 1)
    )
    variance = min(middle, error) if weights else middle
    # The same for the offset: two slices with an offset of 1 px.
    variance = (2 * len(measured) * variance + 4.0) / (2 * len(measured) + 4)
    return StackDrift(
        tuple(measured),
        variance,
        max(middle, 1e-3),
        float(np.exp(logs.mean())),
        math.exp(spread),
        weights,
    )


class _Features:
    """Features of the slices of a stack, read once; None for slices that show nothing."""

    def __init__(self, stack: Any, damaged: set[int] | None = None) -> None:
        self._stack, self._damaged = stack, damaged or set()
        self._found: dict[int, Features | None] = {}

    def __getitem__(self, z: int) -> Features | None:
        if z < 0 or z >= len(self._stack) or z in self._damaged:
            return None
        if z not in self._found:
            if len(self._found) > 2 * _FARTHEST + 2:
                self._found.pop(next(iter(self._found)))
            self._found[z] = _features_of(as_slice(self._stack[z], f"slice {z}"))
        return self._found[z]


def _features_of(image: NDArray[Any]) -> Features | None:
    rows, columns = (
        slice(max(0, (side - _SIDE) // 2), max(0, (side - _SIDE) // 2) + min(side, _SIDE))
        for side in image.shape
    )
    part = image[rows, columns]
    if is_constant(part):
        return None
    empty = find_no_data(part)
    unit = GreyScale.of(part).to_unit(part)
    known = np.isfinite(unit) if empty is None else np.isfinite(unit) & ~empty
    values = torch.from_numpy(np.nan_to_num(unit, nan=0.0))
    return Features.of(values, torch.from_numpy(known), _POOL)


def _moved(features: Features, shift: Tensor) -> Features:
    return features.moved(
        shift.to(features.values)[:, None, None].expand(2, *features.values.shape)
    )


def _measured(features: _Features, z: int) -> tuple[NDArray[np.float64], float] | None:
    """Return offset (dy, dx), px, and strength of the drift of a slice."""
    first, own, second = features[z - 1], features[z], features[z + 1]
    if first is None or own is None or second is None:
        return None
    between, _ = global_shift(first, second)
    pair = [_moved(first, -between / 2), _moved(second, between / 2)]
    pair = met_half_way(pair, drift_field(pair[0], pair[1]))
    begin = (global_shift(own, pair[0])[0] + global_shift(own, pair[1])[0]) / 2
    scores = compare_windows(own, [_moved(one, begin) for one in pair], _REACH, _MOST_WINDOWS)
    if scores is None or scores.points.shape[1] < 20:
        return None
    expected = torch.zeros_like(scores.points, dtype=torch.float64)
    noise = torch.ones(expected.shape[1], dtype=torch.float64)
    for width in _WIDTHS:
        shift, precision = scores.sites(expected, width)
        noise = 1 / precision
        expected = ((shift / noise).sum(1) / precision.sum())[:, None].expand_as(shift)
    shape = (own.values.shape[0] * _POOL, own.values.shape[1] * _POOL)
    count = scores.points.shape[1]
    directions = torch.zeros((2, 2 * count), dtype=torch.float64)
    # Both components in turn, so that thinning keeps some of each.
    directions[0, 0::2] = directions[1, 1::2] = 1
    strength = estimate_strength(
        scores.points.repeat_interleave(2, dim=1),
        directions,
        shift.T.flatten(),
        noise.repeat_interleave(2),
        shape,
        DriftPrior(),
    )
    offset = begin.double() + expected[:, 0]
    return offset.numpy(), strength.level


def _differences(features: _Features, z: int, count: int) -> NDArray[np.float64] | None:
    """Return how far the middles of slices farther away lie off that of the neighbours, px.

    Returns
    -------
    ndarray, (count, 2), or None
        For the slices two, three, ... away; None if one of them is missing.
    """
    before, after = np.zeros(2), np.zeros(2)
    first, second = features[z - 1], features[z + 1]
    if first is None or second is None:
        return None
    rows = []
    for step in range(2, count + 2):
        farther, later = features[z - step], features[z + step]
        if farther is None or later is None:
            return None
        # Where the next slice shows what this one shows, added up along the stack.
        before = before + global_shift(first, farther)[0].numpy()
        after = after + global_shift(second, later)[0].numpy()
        rows.append((before + after) / 2)
        first, second = farther, later
    return np.stack(rows)


def _prediction(
    places: NDArray[np.float64], apart: Sequence[NDArray[np.float64] | None]
) -> tuple[tuple[float, ...], float]:
    """Return weights of slices farther away, and their error if each slice is left out (px^2)."""
    kept = [index for index, rows in enumerate(apart) if rows is not None]
    if len(kept) < _LEAST_SLICES:
        return (), math.inf
    given = np.stack([rows for rows in apart if rows is not None])
    truth = places[kept]

    def fitted(slices: NDArray[np.bool_]) -> NDArray[np.float64]:
        x = given[slices].transpose(0, 2, 1).reshape(-1, given.shape[1])
        y = truth[slices].reshape(-1)
        ridge = _RIDGE * len(y) * np.eye(x.shape[1])
        return np.asarray(np.linalg.solve(x.T @ x + ridge, x.T @ y))

    errors = []
    for left_out in range(len(kept)):
        others = np.arange(len(kept)) != left_out
        errors.append(truth[left_out] - fitted(others) @ given[left_out])
    error = float(np.square(errors).mean())
    if error > _WORTH_IT * float(np.square(truth).mean()):
        return (), math.inf
    return tuple(float(w) for w in fitted(np.ones(len(kept), dtype=bool))), error
