"""Train a network that restores single scans."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sff_napari.devices import autocast, choose_device
from sff_napari.errors import Cancelled, InputError
from sff_napari.networks import weights
from sff_napari.training.records import RunFolder
from sff_napari.training.scan_samples import ScanPairs, read_clean
from sff_napari.training.scan_settings import ScanTraining
from sff_napari.training.settings import DataSpec

_EMA = 0.998
_WARM_UP = 150
_FLOOR = 1e-4
"""Share of the truth's variance below which a squared error no longer counts."""
_SAVE_EVERY = 120.0
"""Seconds between checkpoints."""


def relative_error(restored: Tensor, truth: Tensor) -> Tensor:
    """Return the squared error of each image over the variance of its truth, (B,)."""
    error = (restored - truth).square().mean(dim=(1, 2, 3))
    return error / truth.var(dim=(1, 2, 3)).clamp_min(1e-6)


class ScanTrainer:
    """One training, from its start or from a checkpoint.

    Parameters
    ----------
    kind : str
        The network.
    settings : ScanTraining
        How it is trained.
    folder : RunFolder
        Where checkpoints and the log go.
    """

    def __init__(self, kind: str, settings: ScanTraining, folder: RunFolder) -> None:
        self.kind = kind
        self.settings = settings
        self.folder = folder
        self.device = choose_device(settings.device)
        torch.manual_seed(settings.seed)
        network = weights.new_network(kind, settings.width)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = network.to(self.device)
        self.mean = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.paper = kind == "scan_plain12"
        self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.rate, weight_decay=1e-4
        )
        self.second_part = False
        self.iteration = 0
        self.seconds = 0.0

    def run(
        self,
        progress: Callable[[float, str], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> dict[str, float]:
        """Train until the time is over; return the scores."""
        settings = self.settings
        tissue = read_clean([DataSpec.parse(text) for text in settings.data])
        # A resumed run goes on with other pairs than it began with.
        pairs = ScanPairs(tissue, settings.crop, settings.seed + 1000 * self.iteration)
        checks = self._validation_pairs()
        saved, shown, losses = time.monotonic(), time.monotonic(), []
        while self.seconds < 60 * settings.minutes:
            began = time.monotonic()
            loss = self._step(pairs)
            if not math.isfinite(loss):
                raise InputError(
                    f"The loss of the {self.kind} network is no longer finite at iteration "
                    f"{self.iteration}: start again in a new folder with a smaller --rate."
                )
            losses.append(loss)
            self.seconds += time.monotonic() - began
            if stop is not None and stop():
                self.save()
                raise Cancelled("Stopped; add --resume to go on from the last checkpoint.")
            if time.monotonic() - shown > 1 and progress is not None:
                shown = time.monotonic()
                share = self.seconds / (60 * settings.minutes)
                progress(share, f"iteration {self.iteration} loss {np.mean(losses[-50:]):.3f}")
            if time.monotonic() - saved > _SAVE_EVERY:
                self._log(float(np.mean(losses)), self._score(checks))
                losses = []
                self.save()
                saved = time.monotonic()
        scores = self._score(checks)
        self._log(float(np.mean(losses or [np.nan])), scores)
        self.save()
        return scores

    def _step(self, pairs: ScanPairs) -> float:
        distorted, truth = (
            torch.from_numpy(np.ascontiguousarray(part))[:, None].to(self.device)
            for part in pairs.batch(self.settings.batch)
        )
        share = self.seconds / (60 * self.settings.minutes)
        if self.paper and share > 0.7 and not self.second_part:
            # The paper's second part: plain stochastic gradient descent.
            self._use_sgd()
        warm = min(1.0, (self.iteration + 1) / _WARM_UP)
        rate = self.settings.rate * warm * (1 - share) ** 1.2
        if self.second_part:
            rate *= 10
        for group in self.optimiser.param_groups:
            group["lr"] = max(rate, 1e-7)
        with autocast(self.device):
            restored = self.network(distorted)
        if self.paper:
            loss = (restored - truth).square().mean()
        else:
            # The mean of logarithms: what a mean of PSNR judges.
            loss = torch.log(relative_error(restored, truth) + _FLOOR).mean()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.iteration += 1
        keep = min(_EMA, self.iteration / (self.iteration + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.mean[name].lerp_(value, 1 - keep)
        return float(loss.detach())

    def _use_sgd(self) -> None:
        self.optimiser = torch.optim.SGD(
            self.network.parameters(), lr=self.settings.rate, momentum=0.9
        )
        self.second_part = True

    def _validation_pairs(self) -> list[tuple[str, Tensor, Tensor]]:
        tissue = read_clean([DataSpec.parse(text) for text in self.settings.validate])
        found = []
        for name, images in (("tissue", tissue), ("specimens", [])):
            if name == "tissue" and not images:
                continue
            source = ScanPairs(images, self.settings.crop, 987_654_321, bank=32)
            source_share = 1.0 if images else 0.0
            for _ in range(32):
                distorted, truth = source.pair(own_share=source_share)
                found.append(
                    (
                        name,
                        torch.from_numpy(np.ascontiguousarray(distorted))[None, None],
                        torch.from_numpy(np.ascontiguousarray(truth))[None, None],
                    )
                )
        return found

    @torch.no_grad()
    def _score(self, checks: list[tuple[str, Tensor, Tensor]]) -> dict[str, float]:
        """Return the mean signal-to-noise ratio of each kind, dB (variance over squared error)."""
        before = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.mean)
        values: dict[str, list[float]] = {}
        for name, distorted, truth in checks:
            with autocast(self.device):
                restored = self.network(distorted.to(self.device)).cpu()
            error = relative_error(restored, truth) + _FLOOR
            values.setdefault(f"snr_{name}", []).append(float(-10 * torch.log10(error)))
            raw = relative_error(distorted, truth) + _FLOOR
            values.setdefault(f"snr_{name}_raw", []).append(float(-10 * torch.log10(raw)))
            values.setdefault("loss", []).append(float(error))
        self.network.load_state_dict(before)
        return {name: float(np.mean(found)) for name, found in values.items()}

    def _log(self, loss: float, scores: dict[str, float]) -> None:
        self.folder.add_row(
            {
                "stage": self.kind,
                "iteration": self.iteration,
                "minutes": f"{self.seconds / 60:.2f}",
                "learning_rate": f"{self.optimiser.param_groups[0]['lr']:.4g}",
                "train_loss": f"{loss:.6g}",
                "validation_loss": f"{scores['loss']:.6g}",
                "scores": " ".join(f"{k}={v:.5g}" for k, v in scores.items() if k != "loss"),
            }
        )

    def save(self) -> None:
        """Write a checkpoint to go on from, atomically."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "mean": self.mean,
            "optimiser": self.optimiser.state_dict(),
            "second_part": self.second_part,
            "iteration": self.iteration,
            "seconds": self.seconds,
        }
        self.folder.save(self.kind, "last", state)

    def restore(self) -> None:
        """Go on from the last checkpoint, if there is one.

        Raises
        ------
        InputError
            If it is damaged.
        """
        state = self.folder.restore(self.kind, "last")
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        if state["second_part"]:
            self._use_sgd()
        self.optimiser.load_state_dict(state["optimiser"])
        self.mean = {k: v.to(self.device) for k, v in state["mean"].items()}
        self.iteration, self.seconds = int(state["iteration"]), float(state["seconds"])
        self.folder.cut_rows(self.kind, self.iteration)
