"""Settings of a training of the networks that restore scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sff_napari.errors import InputError
from sff_napari.training.settings import DataSpec

MAY_CHANGE = ("validate", "device", "threads", "minutes", "data_note", "licence")
"""Settings a resumed run may have other than the run it goes on with."""
SCAN_STAGES = ("scan", "scan_plain12", "scan_cgrdn")
_OPTIONS = {
    "data": "data",
    "validate": "validate",
    "stages": "stages",
    "width": "width",
    "batch": "batch",
    "crop": "crop",
    "rates": "rate",
    "seed": "seed",
    "max_minutes": "minutes",
    "device": "device",
    "threads": "threads",
    "data_note": "data_note",
    "licence": "licence",
}
"""Options of the command, and the settings they are."""


@dataclass(frozen=True)
class ScanTraining:
    """Settings of a training.

    Parameters
    ----------
    data, validate : tuple of str
        Stacks, ``PATH`` or ``PATH:SLICES``.
    stages : tuple of str
        Networks, one after another: ``scan``, the default; ``scan_plain12`` and
        ``scan_cgrdn`` are those of the literature.
    width : float
        Factor on their channel counts.
    minutes : float
        Length of the training of a network; the learning rate falls to 0 over it.
    batch, crop : int
        Pairs an iteration and their side, px.
    rate : float
        Largest learning rate.
    seed : int
        Of weights and pairs.
    device : str
        Where to compute.
    threads : int
        Of the processor; 0: as many as torch likes.
    data_note, licence : str
        What the data are, and their terms, for the card.
    """

    data: tuple[str, ...] = ()
    validate: tuple[str, ...] = ()
    stages: tuple[str, ...] = ("scan",)
    width: float = 1.0
    minutes: float = 76.0
    batch: int = 4
    crop: int = 128
    rate: float = 1e-3
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    data_note: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for stage in self.stages:
            if stage not in SCAN_STAGES:
                raise InputError(
                    f"There is no network {stage!r} for scans: use {', '.join(SCAN_STAGES)}."
                )
        if not self.stages:
            raise InputError("There is no network to train: give --stages.")
        if not self.minutes > 0 or self.batch < 1 or self.crop < 32 or not self.rate > 0:
            raise InputError(
                "A training needs more than 0 minutes, at least one pair a batch, a crop of at "
                "least 32 px and a rate above 0."
            )
        for text in (*self.data, *self.validate):
            DataSpec.parse(text)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ScanTraining:
        """Return the settings that `to_dict` described; unknown keys are ignored.

        Raises
        ------
        InputError
            If a setting makes no sense.
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
            if name in known
        }
        return cls(**values)

    @property
    def labels(self) -> tuple[str, str]:
        """What was trained and validated on, without folders."""
        first, second = (
            ", ".join(f"`{DataSpec.parse(text).label}`" for text in part)
            for part in (self.data, self.validate)
        )
        return first, second


def settings_from_options(given: Mapping[str, Any], stored: Mapping[str, Any]) -> ScanTraining:
    """Return settings from what was given on the command line.

    Parameters
    ----------
    given : mapping
        The options that were given.
    stored : mapping
        The settings of the run that is resumed, which hold for all others; empty for a new run.

    Raises
    ------
    InputError
        If an option is not one for scans or has no meaning.
    """
    unknown = [name for name in given if name not in _OPTIONS]
    if unknown:
        raise InputError(f"--{unknown[0].replace('_', '-')} is not for --for scan: leave it out.")
    values = {_OPTIONS[name]: value for name, value in given.items()}
    if isinstance(values.get("stages"), str):
        names = [name.strip() for name in values["stages"].split(",")]
        values["stages"] = tuple(name for name in names if name)
    if "rate" in values:
        try:
            values["rate"] = float(values["rate"])
        except ValueError as error:
            raise InputError(f"The --rate {values['rate']!r} is no number.") from error
    for name in ("data", "validate"):
        if name in values:
            values[name] = tuple(values[name])
    return replace(ScanTraining.from_dict(stored), **values)
