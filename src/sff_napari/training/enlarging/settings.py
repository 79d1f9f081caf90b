"""Describe a training of the enlarging networks in one record that is stored with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from sff_napari.errors import InputError
from sff_napari.networks import EnlargingNetwork
from sff_napari.training.settings import DataSpec, Precision

STAGES = ("enlarging", "enlarging_stack", "gpemsr")
USUAL = STAGES[:2]
SHARES = {"enlarging": 0.75, "enlarging_stack": 0.25, "gpemsr": 1.0}
"""How a time limit is shared among the networks."""
REACH = {"enlarging": 1, "enlarging_stack": 2}
"""How many slices on each side a network sees."""


@dataclass(frozen=True)
class EnlargingSettings:
    """The settings of a training run.

    Parameters
    ----------
    data, validate : tuple of DataSpec
        Stacks at full resolution to train on, and slices to measure on at the end.
    stages : tuple of str
        Which networks, of `STAGES`.
    factors : tuple of int
        By how much slices are reduced, each as often as it stands here.
    width : float
        Width multiplier of the networks.
    max_minutes : float, optional
        Longest training in all, over resumed runs.
    iterations, batch, crop : int
        Longest training of a network, samples an iteration, and their side, px.
    rate, final_rate : float
        Learning rate at the start and at the end of its cosine.
    varied, degraded : float
        Shares of the samples whose neighbours, or whose low slice, are made worse.
    averaging : float
        How slowly the weights that are kept follow those that are trained, below 1.
    seed : int
        The same seed gives the same samples and starting weights.
    save_every : int
        Iterations between checkpoints.
    precision, device : str
        Of the networks' arithmetic, and where to compute.
    threads : int
        CPU threads; 0 leaves the choice to torch.
    data_note, licence : str
        What the data are and their terms, for the model card.
    """

    data: tuple[DataSpec, ...]
    validate: tuple[DataSpec, ...] = ()
    stages: tuple[str, ...] = USUAL
    factors: tuple[int, ...] = (8, 8, 8, 4, 4)
    width: float = 1.0
    max_minutes: float | None = None
    iterations: int = 20_000
    batch: int = 2
    crop: int = 256
    rate: float = 1e-3
    final_rate: float = 1e-5
    varied: float = 0.25
    degraded: float = 0.1
    averaging: float = 0.998
    seed: int = 0
    save_every: int = 200
    precision: Precision = "auto"
    device: str = "auto"
    threads: int = 0
    data_note: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name.replace('_', '-')} is {getattr(self, name)}: it must be at least 1."
                )
        if not self.data:
            raise InputError("There is nothing to train on: give at least one stack.")
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown or not self.stages:
            raise InputError(
                f"There is no network {', '.join(unknown) or '(none given)'} for slices at low "
                f"magnification: choose among {', '.join(STAGES)}."
            )
        known = EnlargingNetwork.factors
        if not self.factors or not set(self.factors) <= set(known):
            raise InputError(f"The factors must be among {', '.join(map(str, known))}.")
        if self.crop < 64 or any(self.crop % f for f in (16, *self.factors)):
            raise InputError(
                f"A crop of {self.crop} px cannot be reduced by {self.factors}: use a multiple of "
                "all of them and of 16, at least 64."
            )
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise InputError(f"max-minutes is {self.max_minutes:g}: it must be more than 0.")
        if not 0 < self.final_rate <= self.rate < 1:
            raise InputError("The learning rates must lie between 0 and 1, the final one lower.")
        if self.precision not in get_args(Precision):
            raise InputError(
                f"precision is {self.precision!r}: use one of {', '.join(get_args(Precision))}."
            )

    def minutes_of(self, stage: str) -> float | None:
        """Return the longest training of one network, None if there is no limit."""
        if self.max_minutes is None:
            return None
        return self.max_minutes * SHARES[stage] / sum(SHARES[name] for name in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        record = asdict(self)
        for name in ("data", "validate"):
            record[name] = [str(spec) for spec in getattr(self, name)]
        for name in ("stages", "factors"):
            record[name] = list(getattr(self, name))
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> EnlargingSettings:
        """Return the settings that `to_dict` described; unknown keys are ignored.

        Raises
        ------
        InputError
            If a setting makes no sense.
        """
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        for name in ("data", "validate"):
            values[name] = tuple(DataSpec.parse(text) for text in values.get(name, ()))
        for name in ("stages", "factors"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)


def settings_from_options(given: Mapping[str, Any], stored: Mapping[str, Any]) -> EnlargingSettings:
    """Return the settings that options of ``sff-napari-train`` ask for.

    Parameters
    ----------
    given : mapping
        The options that were given.
    stored : mapping
        Settings of a run that goes on; empty for a new one.

    Raises
    ------
    InputError
        If an option has no meaning here, or a value makes no sense.
    """
    known = {f.name for f in fields(EnlargingSettings)}
    named = {"rates": "rate"}
    unknown = sorted(name for name in given if named.get(name, name) not in known)
    if unknown:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in unknown)
        raise InputError(f"{shown} has no meaning for low magnification: leave it out.")
    values = {named.get(name, name): value for name, value in given.items()}
    try:
        if "factors" in values:
            values["factors"] = [int(part) for part in values["factors"].split(",")]
        if "rate" in values:
            values["rate"] = float(values["rate"])
    except ValueError as error:
        raise InputError(
            "--factors and --rate are numbers; --rate is a single one here."
        ) from error
    if isinstance(values.get("stages"), str):
        names = [name.strip() for name in values["stages"].split(",")]
        values["stages"] = [name for name in names if name]
    return EnlargingSettings.from_dict({**stored, **values})
