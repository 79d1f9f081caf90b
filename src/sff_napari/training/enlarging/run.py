"""Train the enlarging networks, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sff_napari.devices import choose_device
from sff_napari.low_magnification.detail import images_for
from sff_napari.low_magnification.resampling import back_project
from sff_napari.networks import EnlargingNetwork, weights
from sff_napari.progress import ProgressCallback
from sff_napari.training.enlarging.card import write_card
from sff_napari.training.enlarging.gpemsr import GpemsrTrainer
from sff_napari.training.enlarging.samples import Samples, Target, as_aligned, targets_of
from sff_napari.training.enlarging.settings import REACH, EnlargingSettings
from sff_napari.training.enlarging.timed_trainer import TimedTrainer
from sff_napari.training.records import RunFolder
from sff_napari.training.stages import precision_context

MAY_CHANGE = ("validate", "device", "threads", "max_minutes", "data_note", "licence")
_DOUBT = 0.02
"""Weight of the likelihood of the error beside the error itself."""
_WARM_UP = 50
_QUICK = 10
_LOG_EVERY = 200
_LARGEST_GRADIENT = 1.0
_VALIDATED = 512
"""Side of the middle of a slice that is validated on, px."""


@dataclass
class Progress:
    """Where the training of one network stands.

    Parameters
    ----------
    iteration : int
        Iterations done; the samples depend on it alone.
    minutes : float
        Training time.
    loss_sum : float
        Of the squared error since the last line of the log.
    loss_count : int
        Number of iterations since then.
    """

    iteration: int = 0
    minutes: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0


def train(
    settings: EnlargingSettings,
    out: str | Path,
    *,
    resume: bool = False,
    command: str = "",
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Path]:
    """Train networks and write their weights and a model card.

    Parameters
    ----------
    settings : EnlargingSettings
        What to train on, and how.
    out : str or Path
        Folder for everything the run writes.
    resume : bool
        Go on with the run in `out`.
    command : str
        The command that started the run, for the card.
    progress : callable, optional
        Called as ``progress(share, text)``; the share starts again with every network.
    stop : callable, optional
        True saves a checkpoint and stops.

    Returns
    -------
    dict of str to Path
        The weights file of each network.

    Raises
    ------
    InputError
        If settings or data cannot be used.
    StackError
        If a stack cannot be read or a file not written.
    Cancelled
        If `stop` returned True; everything needed to resume is then on the disk.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder = RunFolder(out)
    if resume:
        folder.check_same(EnlargingSettings.from_dict(folder.record()), settings, MAY_CHANGE)
        folder.store(settings, command)
    else:
        folder.begin(settings, command)
    made = {}
    for stage in settings.stages:
        trainer: EnlargingTrainer | GpemsrTrainer
        if stage == GpemsrTrainer.stage:
            trainer = GpemsrTrainer(settings, folder)
        else:
            trainer = EnlargingTrainer(stage, settings, folder)
        trainer.train(progress or (lambda share, text: None), stop or (lambda: False))
        made[stage] = trainer.finish()
        write_card(folder, settings)
    return made


class EnlargingTrainer(TimedTrainer):
    """Trains one network, from the start or from its last checkpoint.

    Parameters
    ----------
    stage : str
        Which network.
    settings : EnlargingSettings
        How.
    folder : RunFolder
        Where checkpoints, log and weights go.
    """

    def __init__(self, stage: str, settings: EnlargingSettings, folder: RunFolder) -> None:
        self.stage, self.settings, self.folder = stage, settings, folder
        self.device = choose_device(settings.device)
        torch.manual_seed(settings.seed)
        self.network = _new_network(stage, settings.width).to(self.device)
        self.kept = _new_network(stage, settings.width).to(self.device)
        self.kept.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=settings.rate, betas=(0.9, 0.99)
        )
        self.context = precision_context(settings.precision, self.device)
        self.state: Progress = Progress()
        self._resume()

    def prepare(self, progress: ProgressCallback) -> None:
        """Align the neighbours of all slices that are trained on."""
        settings = self.settings
        progress(0.0, f"{self.stage}: aligning neighbours")
        given = list(targets_of(settings.data, REACH[self.stage], settings.factors))
        self._samples = Samples(
            given, settings.factors, settings.crop, settings.varied, settings.degraded
        )

    def learnt(self, loss: float) -> str:
        """Log the mean loss now and then."""
        state = self.state
        state.loss_sum, state.loss_count = state.loss_sum + loss, state.loss_count + 1
        mean = state.loss_sum / state.loss_count
        if state.iteration % _LOG_EVERY == 0:
            self._log(mean)
        return super().learnt(mean)

    def finish(self) -> Path:
        """Write the weights, with their scores on the slices to validate on."""
        settings = self.settings
        # What is scored is what users get: the rounded weights of the file.
        path = self.folder.weights(self.stage)
        data = ", ".join(spec.label for spec in settings.data)
        info = weights.WeightsInfo(self.stage, settings.width, data, settings.seed)
        weights.save_weights(path, self.kept, info)
        scores = self._scores(weights.load(self.stage, path, self.device))
        info = weights.WeightsInfo(self.stage, settings.width, data, settings.seed, scores)
        weights.save_weights(path, self.kept, info)
        return path

    def _rate(self) -> float:
        settings, share = self.settings, min(self.share(), 1.0)
        rise = min(1.0, (self.state.iteration + 1) / _WARM_UP)
        fall = 0.5 * (1 + math.cos(math.pi * share))
        return rise * (settings.final_rate + (settings.rate - settings.final_rate) * fall)

    def learn(self, rng: np.random.Generator) -> float:
        """Do one iteration; return its squared error."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        given, true = self._samples.batch(rng, self.settings.batch)
        images = torch.cat([images_for(one, self.network) for one in given])
        base = torch.cat([one.base for one in given]).to(self.device)
        low = torch.cat([one.low for one in given]).to(self.device)
        factor = given[0].factor
        made, doubt = self._output(self.network, images, base, low, factor)
        error = (made - true.to(self.device)).square()
        # The likelihood of the error must not change what is expected.
        likelihood = 0.5 * (error.detach() * (-doubt).exp() + doubt)
        loss = error.mean() + _DOUBT * likelihood.mean()
        value = float(error.detach().mean())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self.optimiser.step()
        # At the start the average follows quickly: what it began with is no use.
        step = max(1 - self.settings.averaging, _QUICK / (self.state.iteration + _QUICK))
        with torch.no_grad():
            for kept, now in zip(self.kept.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(now, step)
        return value

    def _output(
        self, network: EnlargingNetwork, images: Tensor, base: Tensor, low: Tensor, factor: int
    ) -> tuple[Tensor, Tensor]:
        """Return slices with detail that reduce to `low`, and the log variance of their error."""
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        with self.context():
            found = network(images, factor)
        detail, doubt = found.float().split(1, dim=1)
        return back_project(base + detail, low, factor), doubt

    @torch.no_grad()
    def _scores(self, network: nn.Module) -> dict[str, float]:
        """Return the mean PSNR of each factor, on the middle of each slice to validate on."""
        assert isinstance(network, EnlargingNetwork)
        found: dict[str, list[float]] = {}
        specs = self.settings.validate
        for one in targets_of(
            specs,
            REACH[self.stage],
            self.settings.factors,
            outer=True,
            without=self.settings.data,
        ):
            images = torch.from_numpy(_middle(one).astype(np.float32))
            true = images[:1]
            low = nn.functional.avg_pool2d(true, one.factor)
            given = as_aligned(images, low, one.factor)
            made, _ = self._output(
                network,
                images_for(given, network),
                given.base.to(self.device),
                given.low.to(self.device),
                one.factor,
            )
            for name, image in (("psnr", made.cpu()), ("back_projected", given.base)):
                error = float((one.spread * (image - true)).square().mean())
                psnr = 10 * math.log10(255**2 / max(error, 1e-9))
                found.setdefault(f"{name}_{one.factor}", []).append(psnr)
        return {name: round(float(np.mean(values)), 3) for name, values in found.items()}

    def _log(self, loss: float) -> None:
        row = {"stage": self.stage, "iteration": self.state.iteration}
        self.folder.add_row(
            row | {"minutes": f"{self.state.minutes:.3f}", "learning_rate": f"{self._rate():.4g}",
                   "train_loss": f"{loss:.6g}"}
        )  # fmt: skip
        self.state.loss_sum, self.state.loss_count = 0.0, 0

    def save(self) -> None:
        """Write the last checkpoint."""
        record: dict[str, Any] = {
            "network": self.network.state_dict(),
            "kept": self.kept.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "state": asdict(self.state),
        }
        self.folder.save(self.stage, "last", record)

    def _resume(self) -> None:
        saved = self.folder.restore(self.stage, "last")
        if saved is None:
            return
        self.network.load_state_dict(saved["network"])
        self.kept.load_state_dict(saved["kept"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.state = Progress(**saved["state"])
        self.folder.cut_rows(self.stage, self.state.iteration)


def _new_network(stage: str, width: float) -> EnlargingNetwork:
    network = weights.new_network(stage, width)
    assert isinstance(network, EnlargingNetwork)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _middle(one: Target) -> np.ndarray[Any, Any]:
    """Return the middle of a target's images, cut to what the network and the factor ask for."""
    step = math.lcm(16, one.factor)
    sides = [min(_VALIDATED, side) // step * step for side in one.images.shape[1:]]
    tops = [(full - side) // 2 for full, side in zip(one.images.shape[1:], sides, strict=True)]
    return one.images[:, tops[0] : tops[0] + sides[0], tops[1] : tops[1] + sides[1]]
