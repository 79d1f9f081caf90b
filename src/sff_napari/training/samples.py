"""Train samples: a clean triple, damaged, with the flow that repairs it.

Sample i of a stage depends on (seed, stage, i) alone, so that a resumed run,
another number of workers or of GPUs sees the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from sff_napari.folds import Curve, LineCoordinates, fold_displacement, unfold_displacement
from sff_napari.simulation import FoldPlan, random_realistic, random_straight
from sff_napari.simulation.appearance import paint_realistic
from sff_napari.training.data import TripleSet
from sff_napari.training.inpainting_samples import band_sample, zoomed, zoomed_side
from sff_napari.training.settings import STAGES, TrainingSettings
from sff_napari.warp import sample as read_at

COVER = 1.5
"""How much wider, in px, than a realistic dark line the black one is that covers it (the paper,
section 3.3: "slightly larger")."""
JITTER = 0.5
"""Range of the contrast factor (1 +- JITTER / 2) and brightness shift (+- JITTER / 2)."""
VALIDATION = len(STAGES)
"""Stands in the place of the stage for the samples of the validation."""

NAMES = ("previous", "clean", "following")

Sample = dict[str, Tensor]
What = Literal["clean", "fold", "pair", "band"]
"""Clean slices; with a fold; the same where the reference was made beforehand; with a band to
be filled."""


@dataclass
class SampleSet(Dataset[Sample]):
    """The endless row of samples of one stage.

    Parameters
    ----------
    triples : TripleSet
        Where the clean slices come from.
    settings : TrainingSettings
        How they are damaged and varied.
    stage : int
        Place of the stage in `STAGES`, or `VALIDATION`: no variation of texture,
        and no jitter, but folds all the same.
    what : {"clean", "fold", "pair", "band"}
        What is done to the slices.
    step : int
        How many times the slices of `triples` are reduced already.
    """

    triples: TripleSet
    settings: TrainingSettings
    stage: int
    what: What = "fold"
    step: int = 1

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`.

        Returns
        -------
        dict of str to Tensor
            ``previous``, ``clean``, ``following`` (1, crop, crop) float32 in
            [0, 1]; with a fold also ``damaged`` (1, crop, crop), ``flow``
            (2, crop, crop) in px, ``known`` (1, crop, crop) bool, where the flow
            leads to a pixel of the damaged slice, and ``hidden`` (1, crop, crop)
            bool, where the clean tissue was swallowed.  A pair has ``reference``
            in the place of the neighbours; all its images are reduced `step`
            times, its flow remains in px of the full slice.  For a band see
            `band_sample`.
        """
        settings = self.settings
        rng = np.random.default_rng([settings.seed, self.stage, index])
        varied = self.stage != VALIDATION
        side = settings.crop // self.step
        big = side
        if self.what in ("fold", "pair"):
            big += settings.margin // self.step
        elif self.what == "band" and varied:
            big = zoomed_side(settings.crop, rng)
        least = min(big, side)
        triple = self.triples.draw(rng, big, least, self.what == "band")
        if varied:
            triple = _turned(triple, rng)
            if settings.vary_texture:
                triple = _textured(triple, rng, self.step)
        triple = np.ascontiguousarray(triple)
        if self.what == "band":
            triple = zoomed(triple, settings.crop)
            return band_sample(triple, settings.folds, settings.ranges, rng, varied)
        inset = (triple.shape[1] - side) // 2
        centre = slice(inset, inset + side)
        inner = torch.from_numpy(triple[:, centre, centre].copy())
        names = ("clean", "reference") if self.what == "pair" else NAMES
        sample = {name: inner[k : k + 1] for k, name in enumerate(names)}
        if self.what == "pair" and self.stage == STAGES.index("unfolding"):
            done = index / (settings.batch * max(settings.easy_start, 1))
            easy = max(0.0, 1.0 - done) * (settings.easy_start > 0)
            sample["reference"] = torch.lerp(sample["reference"], sample["clean"], easy)
        if self.what in ("fold", "pair"):
            clean = torch.from_numpy(triple[names.index("clean")])
            grid = _Grid(side, inset, self.step)
            sample |= _damaged(clean, settings, grid, rng, JITTER if varied else 0.0)
        return sample


def _turned(triple: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the triple flipped, turned by a multiple of 90 degrees, transposed."""
    flip_y, flip_x, transpose = rng.uniform(size=3) < 0.5
    triple = np.rot90(triple, int(rng.integers(4)), axes=(1, 2))
    if flip_y:
        triple = triple[:, ::-1]
    if flip_x:
        triple = triple[:, :, ::-1]
    return triple.transpose(0, 2, 1) if transpose else triple


def _textured(
    triple: NDArray[np.float32], rng: np.random.Generator, step: int = 1
) -> NDArray[np.float32]:
    """Return slices as another microscope may have shown them: blurred, flatter, noisier.

    What is reduced `step` times shows that much less of blur and noise.
    """
    if rng.uniform() < 0.3:
        return triple
    count = len(triple)
    sigma = float(rng.uniform(0, 1.8)) / step
    if sigma > 0.3:
        triple = ndimage.gaussian_filter(triple, (0, sigma, sigma), mode="reflect", truncate=3)
    mean = float(triple.mean())
    contrast = rng.uniform(0.5, 1.2) * rng.uniform(0.9, 1.1, size=(count, 1, 1))
    level = mean + rng.uniform(-0.1, 0.1) + rng.uniform(-0.03, 0.03, size=(count, 1, 1))
    varied = (triple - mean) * contrast.astype(np.float32) + level.astype(np.float32)
    noise = float(rng.uniform(0, 0.03)) / step
    varied += noise * rng.standard_normal(triple.shape, dtype=np.float32)
    return np.clip(varied, 0, 1, dtype=np.float32)


@dataclass(frozen=True)
class _Grid:
    """The pixels of a sample within the crop that is folded, in px of the full slice."""

    side: int
    inset: int
    step: int

    @property
    def first(self) -> float:
        """Where the first pixel's centre lies in the crop."""
        return self.inset * self.step + self.half

    @property
    def half(self) -> float:
        """Where the centre of the crop's first pixel lies."""
        return (self.step - 1) / 2

    def line(self, plan: FoldPlan) -> LineCoordinates:
        """Return the line coordinates of the pixels."""
        first = (self.first, self.first)
        return Curve.of(plan.fold).on_grid((self.side, self.side), first, float(self.step))

    def points(self) -> Tensor:
        """Return where the pixels lie, (2, side, side)."""
        along = torch.arange(self.side, dtype=torch.float32) * self.step + self.first
        return torch.stack(torch.meshgrid(along, along, indexing="ij"))


def _damaged(
    clean: Tensor, settings: TrainingSettings, grid: _Grid, rng: np.random.Generator, jitter: float
) -> Sample:
    """Return what a random fold makes of the middle of a clean crop (Y, X)."""
    step = grid.step
    shape = (clean.shape[0] * step, clean.shape[1] * step)
    real = settings.folds == "realistic" or (settings.folds == "mixed" and rng.uniform() < 0.5)
    for _ in range(20):
        if real:
            plan = random_realistic(shape, rng, settings.ranges)
        else:
            plan = random_straight(shape, rng)
        at = grid.line(plan)
        # A line that misses the middle would leave nothing to learn.
        if bool(plan.law.is_dark(at.along, at.distance).any()):
            break
    points = grid.points()
    push = _straight_push(plan, at) if not real else fold_displacement(plan.law, at)
    y, x = (points + push - grid.half) / step
    damaged = read_at(clean[None, None], y[None], x[None], "bicubic", "reflection")[0, 0]
    damaged = damaged.clamp(0, 1)
    half_width = plan.law.half_width(at.along) if real else plan.law.dark[0]
    if real:
        # On reduced slices blocks and debris come out that much larger.
        damaged = paint_realistic(damaged, at.distance.abs(), half_width, rng)
    damaged = _jittered(damaged, jitter, rng)
    cover = half_width + (COVER if real else 0.0) * (half_width > 0)
    if step == 1:
        damaged = torch.where((at.distance.abs() <= cover) & (half_width > 0), 0.0, damaged)
    else:
        share = ((cover - at.distance.abs()) / step + 0.5).clamp(0, 1) * (half_width > 0)
        damaged = damaged * (1 - share)
    flow, hidden = _way_back(plan, at, real)
    source = points + flow
    last = torch.tensor(shape, dtype=torch.float32)[:, None, None] - 1
    known = ((source >= 0) & (source <= last)).all(dim=0)
    return {
        "damaged": damaged[None],
        "flow": flow,
        "known": known[None],
        "hidden": hidden[None],
    }


def _straight_push(plan: FoldPlan, at: LineCoordinates) -> Tensor:
    """Return `fold_displacement` of a fold that is the same everywhere: no knots to look up."""
    law = plan.law
    u = (law.gap[0, 0] - law.decay[0, 0] * (at.distance.abs() - law.dark[0])).clamp(min=0)
    return torch.where(at.distance > 0, u, -u) * at.normal


def _way_back(plan: FoldPlan, at: LineCoordinates, real: bool) -> tuple[Tensor, Tensor]:
    """Return the flow (2, Y, X) to learn, and where the tissue is hidden (Y, X).

    Hidden tissue has no source.  There the target leads onto the dark line,
    shrinking the hidden band evenly to it: it joins the exact flow at the edge
    of the band without a jump, and what is read there is black.
    """
    law, distance = plan.law, at.distance
    r = distance.abs()
    if real:
        back = unfold_displacement(law, at)
        side = distance > 0
        reach = law.hidden_half_width(at.along, side)
        dark = law.half_width(at.along)
        hidden = law.is_hidden(at.along, distance)
    else:
        dark, gap, decay = law.dark[0], law.gap[0, 0], law.decay[0, 0]
        reach = dark + gap
        beyond = (r - reach).clamp(min=0) / (1 - decay)
        shift = (gap - decay * beyond).clamp(min=0)
        back = torch.where(distance > 0, -shift, shift) * at.normal
        hidden = r <= reach
    inside = r * (1 - dark / torch.clamp(reach, min=1e-3))
    inside = torch.where(distance > 0, -inside, inside) * at.normal
    return torch.where(hidden, inside, back), hidden


def _jittered(image: Tensor, jitter: float, rng: np.random.Generator) -> Tensor:
    """Return the image with another contrast and brightness."""
    factor, shift = 1 + jitter * (rng.uniform(size=2) - 0.5)
    return ((image - 0.5) * float(factor) + 0.5 + float(shift) - 1).clamp(0, 1)
