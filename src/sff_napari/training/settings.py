"""Describe everything a training run is made of, in one record that is stored with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from sff_napari.errors import InputError
from sff_napari.networks.unfolding import checked_scale
from sff_napari.simulation import RealisticRanges, ranges_from_dict, ranges_to_dict

STAGES = ("interpolation", "unfolding", "fusion", "filling")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "interpolation": (),
    "unfolding": ("interpolation",),
    "fusion": ("interpolation", "unfolding"),
    "filling": (),
}
"""The networks whose results each stage is trained on."""
SHARES = {"interpolation": 0.3, "unfolding": 0.3, "fusion": 0.2, "filling": 0.2}
"""How a time limit is shared among the stages."""
Folds = Literal["straight", "realistic", "mixed"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

_DATA = re.compile(r"^(?P<path>.+?)(?::(?P<range>\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*))?$")


@dataclass(frozen=True)
class DataSpec:
    """A stack and the slices of it to use.

    Parameters
    ----------
    path : str
        TIFF, folder of images, or zarr.
    slices : tuple of (first, last), optional
        Ranges of slice numbers, both ends included; every slice if None.
    """

    path: str
    slices: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def parse(cls, text: str) -> DataSpec:
        """Return the record for ``PATH`` or ``PATH:SLICES``, e.g. ``stack.tif:0-15,18-30``.

        Raises
        ------
        InputError
            If the text is empty or a range runs backwards.
        """
        match = _DATA.match(text)
        if match is None:
            raise InputError("A DATA argument is empty: give the path of a stack.")
        if match["range"] is None:
            return cls(match["path"])
        ranges = []
        for part in match["range"].split(","):
            first, _, last = part.partition("-")
            ranges.append((int(first), int(last or first)))
            if ranges[-1][1] < ranges[-1][0]:
                raise InputError(f"The slices {part} of {match['path']} run backwards.")
        return cls(match["path"], tuple(ranges))

    @property
    def label(self) -> str:
        """The stack's name without its folder, and the slices."""
        return str(DataSpec(Path(self.path).name, self.slices))

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        if self.slices is None:
            return self.path
        ranges = ",".join(f"{a}-{b}" if a != b else f"{a}" for a, b in self.slices)
        return f"{self.path}:{ranges}"


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training run; the defaults are the paper's (section 5.2).

    Parameters
    ----------
    data : tuple of DataSpec
        Stacks to train on.
    validate : tuple of DataSpec
        Slices to validate on; their neighbours may lie just outside the range.
        Without any, the last `val_slices` slices of each stack of `data` are held out.
    stages : tuple of str
        Which networks to train, in the order of `STAGES`.
    width : float
        Width multiplier of the networks.
    scale : {1, 2, 4, 8}
        How many times the slices are reduced that the unfolding network works on.
    iterations : int
        Longest training of a stage.
    batch, crop : int
        Samples an iteration (over all GPUs) and their side in pixels.
    margin : int
        How much wider, in all, the crop is that a fold is made in.
    rates : tuple of float
        Learning rate at the start: one for all stages, or one for each of `stages`.
    final_rate, power : float
        Learning rate at the end, and the power of the decay.
    warm_up : int
        Iterations at the start of a stage over which the learning rate rises.
    easy_start : int
        Iterations of the unfolding stage, at a scale above 1, over which the reference
        fades from the clean slice itself to the interpolated one.  What agrees is
        learned to be matched first, and much sooner.
    folds : {"straight", "realistic", "mixed"}
        What damages the slices.
    ranges : RealisticRanges, optional
        What realistic folds are drawn from; the usual ones if None.
    vary_texture : bool
        Also vary blur, noise and contrast of all slices of a sample.
    true_flow_share : float
        Share of the fusion samples that are unfolded with the true flow rather
        than by the unfolding network, 0 in the paper: for a fusion network that
        is also to serve better unfoldings.
    texture : float
        Share of the fine detail of true tissue that the filling network is to show.
    neuropil : int
        Number of synthetic slices to train on besides.
    seed : int
        The same seed gives the same samples and starting weights.
    validate_every, save_every : int
        Iterations between validations, and between checkpoints.
    val_slices, val_samples : int
        Slices held out a stack without `validate`; samples a validation.
    patience : int
        Validations without a better score after which a stage ends.
    max_minutes : float, optional
        Longest training in all, over resumed runs; the learning rate then
        follows whichever is further, the iterations or the time.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Of the networks' arithmetic.
    device : str
        Where to compute.
    workers : int
        Processes that prepare samples.
    threads : int
        CPU threads; 0 leaves the choice to torch.
    before : str
        Folder with the weights of stages that come before the first one trained
        here; the ones in the package if empty.
    data_note, licence : str
        What the data are and their terms, for the model card.
    """

    data: tuple[DataSpec, ...]
    validate: tuple[DataSpec, ...] = ()
    stages: tuple[str, ...] = STAGES
    width: float = 1.0
    scale: int = 1
    iterations: int = 400_000
    batch: int = 32
    crop: int = 256
    margin: int = 144
    rates: tuple[float, ...] = (1e-4,)
    final_rate: float = 1e-5
    power: float = 1.5
    warm_up: int = 0
    easy_start: int = 0
    folds: Folds = "straight"
    ranges: RealisticRanges | None = None
    vary_texture: bool = False
    true_flow_share: float = 0.0
    texture: float = 0.8
    neuropil: int = 0
    seed: int = 0
    validate_every: int = 1000
    save_every: int = 200
    val_slices: int = 3
    val_samples: int = 64
    patience: int = 20
    max_minutes: float | None = None
    precision: Precision = "auto"
    device: str = "auto"
    workers: int = 0
    threads: int = 0
    before: str = ""
    data_note: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "validate_every", "save_every"):
            _at_least(name, getattr(self, name), 1)
        for name in ("val_samples", "patience"):
            _at_least(name, getattr(self, name), 1)
        for name in (
            "margin",
            "neuropil",
            "val_slices",
            "workers",
            "threads",
            "seed",
            "warm_up",
            "easy_start",
        ):
            _at_least(name, getattr(self, name), 0)
        _at_least("crop", self.crop, 32)
        checked_scale(self.scale)
        if self.crop % self.scale or self.margin % (2 * self.scale) or self.crop < 32 * self.scale:
            raise InputError(
                f"A crop of {self.crop} and a margin of {self.margin} px cannot be reduced "
                f"{self.scale} times: use a crop that is a multiple of {self.scale} and at least "
                f"{32 * self.scale}, and a margin that is a multiple of {2 * self.scale}."
            )
        if not all(0 < self.final_rate <= rate < 1 for rate in self.rates):
            raise InputError(
                f"The learning rates {', '.join(f'{rate:g}' for rate in self.rates)} and finally "
                f"{self.final_rate:g} cannot be used: they must lie between 0 and 1, the final one "
                "not above the first."
            )
        if len(self.rates) not in (1, len(self.stages)):
            raise InputError(
                f"There are {len(self.rates)} learning rates for {len(self.stages)} stages: "
                "give one, or one for each stage."
            )
        if not 0 <= self.true_flow_share <= 1:
            raise InputError(
                f"true-flow-share is {self.true_flow_share:g}: it must lie between 0 and 1."
            )
        if not 0 <= self.texture <= 1:
            raise InputError(f"texture is {self.texture:g}: it must lie between 0 and 1.")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise InputError(f"max-minutes is {self.max_minutes:g}: it must be more than 0.")
        if 0 < self.neuropil < 3:
            raise InputError("neuropil must be at least 3 slices: a sample needs three in a row.")
        if not (self.data or self.neuropil):
            raise InputError("There is nothing to train on: give at least one stack.")
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown or not self.stages:
            raise InputError(
                f"There is no stage {', '.join(unknown) or '(none given)'}: "
                f"choose among {', '.join(STAGES)}."
            )
        if list(self.stages) != sorted(set(self.stages), key=STAGES.index):
            raise InputError(f"The stages must be in this order, each once: {', '.join(STAGES)}.")
        if self.folds not in get_args(Folds):
            raise InputError(f"folds is {self.folds!r}: use one of {', '.join(get_args(Folds))}.")
        if self.ranges is not None and self.folds == "straight":
            raise InputError(
                "Ranges are those of realistic folds: use them with folds realistic or mixed."
            )
        if self.precision not in get_args(Precision):
            raise InputError(
                f"precision is {self.precision!r}: use one of {', '.join(get_args(Precision))}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        record = asdict(self)
        record["data"] = [str(spec) for spec in self.data]
        record["validate"] = [str(spec) for spec in self.validate]
        record["stages"] = list(self.stages)
        record["rates"] = list(self.rates)
        record["ranges"] = None if self.ranges is None else ranges_to_dict(self.ranges)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TrainingSettings:
        """Return the settings that `to_dict` described; unknown keys are ignored.

        Raises
        ------
        InputError
            If a setting is missing or makes no sense.
        """
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        try:
            values["data"] = tuple(DataSpec.parse(text) for text in values.get("data", ()))
            values["validate"] = tuple(DataSpec.parse(text) for text in values.get("validate", ()))
            values["stages"] = tuple(values.get("stages", STAGES))
            values["rates"] = tuple(values.get("rates", cls.rates))
            if values.get("ranges") is not None:
                values["ranges"] = ranges_from_dict(values["ranges"])
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The stored settings cannot be read: {error}.") from error

    def rate_at(self, stage: str, share: float, iteration: int | None = None) -> float:
        """Return the learning rate once a share of a stage, in [0, 1], is done.

        At an iteration within the warm-up it is lower.
        """
        first = self.rates[self.stages.index(stage) if len(self.rates) > 1 else 0]
        left = (1 - min(max(share, 0.0), 1.0)) ** self.power
        rise = 1.0 if iteration is None else min(1.0, (iteration + 1) / (self.warm_up + 1))
        return rise * (self.final_rate + (first - self.final_rate) * left)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        shown = name.replace("_", "-")
        raise InputError(f"{shown} is {value}: it must be at least {least}.")
