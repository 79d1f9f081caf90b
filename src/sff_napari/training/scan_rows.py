"""Train the network that measures the displacement of the rows of a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sff_napari.devices import choose_device
from sff_napari.errors import Cancelled
from sff_napari.networks import weights
from sff_napari.networks.weights import Network
from sff_napari.progress import ProgressCallback, Reporter
from sff_napari.scan_distortion.displacement import without_slow
from sff_napari.scan_distortion.inference import run_network
from sff_napari.scan_distortion.row_curves import row_curves
from sff_napari.training.scan_log import add_row
from sff_napari.training.scan_samples import Image, ScanPairs, read_clean
from sff_napari.training.scan_settings import ScanTraining
from sff_napari.training.settings import DataSpec

SIDE = 192
_SCANS = 1600
_CHECKS = 150
_ITERATIONS = 4000
_BATCH = 16
_STILL = 0.1
"""Jitter, px, below which an error counts no more than at this one."""


class RowsTrainer:
    """The training of the rows' network; it is short, and starts anew if interrupted.

    Parameters
    ----------
    settings : ScanTraining
        How it is trained.
    out : Path
        Folder of the run, whose restoring network is used, else the bundled one.
    """

    def __init__(self, settings: ScanTraining, out: Path) -> None:
        self.settings = settings
        self.out = out
        self.device = choose_device(settings.device)
        torch.manual_seed(settings.seed)
        self.network = weights.new_network("scan_rows", settings.width)
        self.mean: dict[str, Tensor] = self.network.state_dict()

    def restore(self) -> None:
        """Do nothing: there is no checkpoint to go on from."""

    def run(
        self,
        progress: ProgressCallback | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> dict[str, float]:
        """Train; return the scores."""
        own = self.out / "scan.safetensors"
        restoring = weights.load("scan", own if own.exists() else None, self.device)
        reporter = Reporter(progress, stop)
        settings = self.settings
        sets = []
        for specs, count, seed, part in (
            (settings.data, _SCANS, settings.seed + 7, (0.0, 0.6)),
            (settings.validate, _CHECKS, settings.seed + 99_991, (0.6, 0.65)),
        ):
            pairs = ScanPairs(_tissue(specs), SIDE, seed, bank=64)
            sets.append(self._scans(pairs, count, restoring, reporter.part(*part)))
        self._fit(*sets[0], reporter.part(0.65, 1.0))
        scores = self._score(*sets[1])
        add_row(self.out / "scan_rows.log.csv", {"iteration": _ITERATIONS, "minutes": 0, **scores})
        return scores

    def _scans(
        self, pairs: ScanPairs, count: int, restoring: Network, reporter: Reporter
    ) -> tuple[Tensor, Tensor]:
        """Return the curves (N, 297, Y) of simulated scans, half precision, and the truth."""
        curves, truth = [], []
        for number in range(count):
            reporter(number / count, f"rows: scan {number}")
            if number % 4 == 0:
                pairs.renew()
            distorted, shifts = pairs.rows()
            restored, _ = run_network(restoring, distorted, self.device, Reporter())
            curves.append(torch.from_numpy(row_curves(distorted, restored)).half())
            truth.append(torch.from_numpy(without_slow(shifts).astype(np.float32)))
        return torch.stack(curves), torch.stack(truth)

    def _fit(self, curves: Tensor, truth: Tensor, reporter: Reporter) -> None:
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=2e-3, weight_decay=1e-2)
        rng = np.random.default_rng(self.settings.seed)
        kernel = _slow_kernel(truth.shape[1])
        for iteration in range(_ITERATIONS):
            try:
                reporter(iteration / _ITERATIONS, f"rows: iteration {iteration}")
            except Cancelled:
                raise Cancelled("Stopped; add --resume to go on.") from None
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * (1 - iteration / _ITERATIONS) * min(1.0, iteration / 100)
            chosen = torch.from_numpy(rng.integers(len(curves), size=_BATCH))
            given, wanted = _varied(curves[chosen].float(), truth[chosen], rng)
            loss = _loss(self.network(given), wanted, kernel).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimiser.step()
        self.mean = self.network.state_dict()

    @torch.no_grad()
    def _score(self, curves: Tensor, truth: Tensor) -> dict[str, float]:
        kernel = _slow_kernel(truth.shape[1])
        loss = _loss(self.network(curves.float()), truth, kernel)
        found = self.network(curves.float())
        error = (found - found @ kernel - truth).std(dim=1)
        jitter = truth.std(dim=1)
        strong = jitter > 0.5
        return {
            "loss": float(loss.mean()),
            "row_error": float((error / jitter)[strong].mean()),
        }


def _tissue(specs: Sequence[str]) -> list[Image]:
    return read_clean([DataSpec.parse(text) for text in specs])


def _slow_kernel(rows: int) -> Tensor:
    """Return the matrix (Y, Y) that takes the slow part of displacements."""
    fast = without_slow(np.eye(rows))
    return torch.from_numpy((np.eye(rows) - fast).T.astype(np.float32))


def _loss(found: Tensor, truth: Tensor, kernel: Tensor) -> Tensor:
    """Return squared errors, slow part removed, over the jitter's square, (B,)."""
    error = found - found @ kernel - truth
    return error.square().mean(dim=1) / (truth.square().mean(dim=1) + _STILL**2)


def _varied(curves: Tensor, truth: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return scans as they are or turned upside down."""
    if rng.random() < 0.5:
        return curves, truth
    count, _, rows = curves.shape
    apart = curves.reshape(count, 9, -1, rows).flip(3)
    # What was the row above is the one below.
    apart = apart[:, [4, 3, 2, 1, 0, 8, 7, 6, 5]]
    return apart.reshape(count, -1, rows), truth.flip(1)
