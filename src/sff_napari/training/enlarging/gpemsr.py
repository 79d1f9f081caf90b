"""Train the three stages of the method of Shou et al., one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sff_napari.devices import choose_device
from sff_napari.errors import InputError
from sff_napari.low_magnification.prior import flows_between
from sff_napari.networks import weights
from sff_napari.networks.gpemsr.codebook import PatchJudge
from sff_napari.networks.gpemsr.fusion import SLICES, GpemsrNetwork
from sff_napari.progress import ProgressCallback
from sff_napari.training.enlarging.samples import Slices
from sff_napari.training.enlarging.settings import EnlargingSettings
from sff_napari.training.enlarging.timed_trainer import TimedTrainer
from sff_napari.training.records import RunFolder
from sff_napari.training.settings import DataSpec

PHASES = {"codes": 0.4, "indexer": 0.6, "fusion": 1.0}
"""Share of the training at whose end each stage ends."""
_JUDGED = 0.2
"""Share from which made images are judged against true ones."""
_QUANTISED, _BELIEVED, _STEEP, _STEEP_EVERY = 10.0, 0.05, 1e-4, 16
_RATE = 4e-4
_LARGEST_GRADIENT = 1.0


@dataclass
class _Progress:
    iteration: int = 0
    minutes: float = 0.0
    phase: str = ""


class GpemsrTrainer(TimedTrainer):
    """Trains code book, indexer and fusion, from the start or from the last checkpoint.

    The loss by features of a network trained on photographs is left out: there are no
    such weights here.

    Parameters
    ----------
    settings : EnlargingSettings
        How; the first of `factors` counts.
    folder : RunFolder
        Where checkpoints and weights go.
    """

    stage = "gpemsr"

    def __init__(self, settings: EnlargingSettings, folder: RunFolder) -> None:
        self.settings, self.folder = settings, folder
        self.device = choose_device(settings.device)
        self.factor = settings.factors[0]
        torch.manual_seed(settings.seed)
        network = weights.new_network("gpemsr", settings.width, self.factor)
        assert isinstance(network, GpemsrNetwork)
        self.network = network.to(self.device)
        self.judge = PatchJudge(network.size.widths[0]).to(self.device)
        self.state: _Progress = _Progress()
        self.losses: list[float] = []
        self._optimisers: list[torch.optim.Optimizer] = []
        self._resume()

    def prepare(self, progress: ProgressCallback) -> None:
        """Read the slices that are trained on; it takes no time worth telling of."""
        self._crops = _Crops(self.settings.data, self.settings.crop)
        self.network.train()

    def learn(self, rng: np.random.Generator) -> float:
        """Do one iteration of the stage whose time it is; return its loss."""
        phase = next(name for name, end in PHASES.items() if self.share() < end)
        if phase != self.state.phase or not self._optimisers:
            self._begin(phase)
        images = torch.cat([self._crops.draw(rng) for _ in range(self.settings.batch)])
        loss: float = getattr(self, f"_learn_{phase}")(images.to(self.device))
        return loss

    def learnt(self, loss: float) -> str:
        """Keep the loss for the record."""
        self.losses.append(loss)
        return f"gpemsr, {self.state.phase} {self.state.iteration}, {loss:.4f}"

    def finish(self) -> Path:
        """Write the weights of all stages as one file."""
        path = self.folder.weights(self.stage)
        data = ", ".join(spec.label for spec in self.settings.data)
        info = weights.WeightsInfo(
            self.stage, self.settings.width, data, self.settings.seed,
            {"loss": float(np.mean(self.losses[-50:])) if self.losses else 0.0}, scale=self.factor,
        )  # fmt: skip
        weights.save_weights(path, self.network, info)
        return path

    def _begin(self, phase: str) -> None:
        """Let one stage learn, and only that."""
        network = self.network
        parts: dict[str, list[nn.Module]] = {
            "codes": [network.codes],
            "indexer": [network.indexer],
            "fusion": [
                part for name, part in network.named_children() if name not in ("codes", "indexer")
            ],
        }
        network.requires_grad_(False)
        learning = []
        for part in parts[phase]:
            part.requires_grad_(True)
            learning += list(part.parameters())
        self._optimisers = [torch.optim.Adam(learning, lr=_RATE, betas=(0.9, 0.99))]
        if phase == "codes":
            self._optimisers.append(torch.optim.Adam(self.judge.parameters(), lr=_RATE))
        self.state.phase = phase

    def _learn_codes(self, images: Tensor) -> float:
        true = images[:, SLICES // 2 : SLICES // 2 + 1]
        made, quantised = self.network.codes(true)
        loss = (made - true).abs().mean() + _QUANTISED * quantised
        judged = self.share() > _JUDGED
        if judged:
            loss = loss - _BELIEVED * self.judge(made).mean()
        self._step(0, loss)
        if judged:
            self._judge(true, made.detach())
        return float(loss.detach())

    def _judge(self, true: Tensor, made: Tensor) -> None:
        steep = self.state.iteration % _STEEP_EVERY == 0
        true = true.detach().requires_grad_(steep)
        believed = self.judge(true)
        loss = 0.5 * (self.judge(made).mean() - believed.mean())
        if steep:
            (slope,) = torch.autograd.grad(believed.sum(), true, create_graph=True)
            loss = loss + _STEEP * slope.square().sum(dim=(1, 2, 3)).mean()
        self._step(1, loss)

    def _learn_indexer(self, images: Tensor) -> float:
        true = images[:, SLICES // 2 : SLICES // 2 + 1]
        codes = self.network.codes
        with torch.no_grad():
            numbers = codes.nearest(codes.encoder(true))
        loss = F.cross_entropy(self.network.indexer(F.avg_pool2d(true, self.factor)), numbers)
        self._step(0, loss)
        return float(loss.detach())

    def _learn_fusion(self, images: Tensor) -> float:
        low = F.avg_pool2d(images, self.factor)
        flows = torch.stack([flows_between(one) for one in low.cpu()]).to(self.device)
        made = self.network(low, flows)
        loss = (made - images[:, SLICES // 2 : SLICES // 2 + 1]).abs().mean()
        self._step(0, loss)
        return float(loss.detach())

    def _step(self, which: int, loss: Tensor) -> None:
        optimiser = self._optimisers[which]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimiser.param_groups:
            nn.utils.clip_grad_norm_(group["params"], _LARGEST_GRADIENT)
        optimiser.step()

    def save(self) -> None:
        """Write the last checkpoint."""
        self.folder.save(
            self.stage,
            "last",
            {
                "network": self.network.state_dict(),
                "judge": self.judge.state_dict(),
                "optimisers": [one.state_dict() for one in self._optimisers],
                "state": asdict(self.state),
            },
        )

    def _resume(self) -> None:
        saved = self.folder.restore(self.stage, "last")
        if saved is None:
            return
        self.network.load_state_dict(saved["network"])
        self.judge.load_state_dict(saved["judge"])
        self.state = _Progress(**saved["state"])
        if self.state.phase:
            self._begin(self.state.phase)
            for optimiser, stored in zip(self._optimisers, saved["optimisers"], strict=True):
                optimiser.load_state_dict(stored)


class _Crops:
    """Random squares of five consecutive slices, mean 0 and spread 1 in the middle one."""

    def __init__(self, specs: Sequence[DataSpec], side: int) -> None:
        self._side = side
        self._places: list[tuple[Slices, int]] = []
        reach = SLICES // 2
        for spec in specs:
            slices = Slices(spec)
            known = set(slices.numbers)
            for z in slices.numbers:
                if known.issuperset(range(z - reach, z + reach + 1)):
                    self._places.append((slices, z))
        if not self._places:
            raise InputError(
                f"There are no {SLICES} slices in a row to train on: give more slices."
            )

    def draw(self, rng: np.random.Generator) -> Tensor:
        """Return one, (1, 5, side, side)."""
        slices, z = self._places[int(rng.integers(len(self._places)))]
        reach = SLICES // 2
        numbers = list(range(z - reach, z + reach + 1))
        if rng.random() < 0.5:
            numbers.reverse()
        shape = slices[z].shape
        if min(shape) < self._side:
            raise InputError(
                f"A slice of {shape[0]} x {shape[1]} px is smaller than the crop of {self._side}: "
                "choose a smaller --crop."
            )
        top, left = (int(rng.integers(full - self._side + 1)) for full in shape)
        part = np.stack(
            [slices[k][top : top + self._side, left : left + self._side] for k in numbers]
        )
        turned: NDArray[np.float32] = np.rot90(part, int(rng.integers(4)), (1, 2))
        middle = turned[reach]
        unit = (turned - middle.mean()) / max(float(middle.std()), 1e-3)
        return torch.from_numpy(np.ascontiguousarray(unit))[None].float()
