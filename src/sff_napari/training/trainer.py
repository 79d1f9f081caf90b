"""Train one stage."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, default_collate, get_worker_info

from sff_napari.errors import Cancelled, InputError
from sff_napari.progress import ProgressCallback
from sff_napari.training.data import TripleSet
from sff_napari.training.discriminator import BEGIN, Judge
from sff_napari.training.parallel import Ranks
from sff_napari.training.records import RunFolder
from sff_napari.training.samples import VALIDATION, Sample, SampleSet
from sff_napari.training.settings import SHARES, TrainingSettings
from sff_napari.training.stages import Scores, Stage

PICTURES = 4
"""Validation samples shown in a picture."""
_VALIDATION_BATCH = 8


@dataclass
class State:
    """Where a stage stands; with the tensors of network and optimiser all there is to resume.

    Parameters
    ----------
    iteration : int
        Iterations done.  The samples depend on it alone.
    best : float
        Best validation loss so far.
    stale : int
        Validations since then.
    loss_sum : float
        Of the training loss over the iterations since the last validation.
    loss_count : int
        Number of these iterations.
    validated : int
        Iteration of the last validation; -1 before the first.
    minutes : float
        Training time of this stage.
    minutes_before : float
        Of the stages before it.
    done : bool
        Whether the stage has ended.
    """

    iteration: int = 0
    best: float = float("inf")
    stale: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    validated: int = -1
    minutes: float = 0.0
    minutes_before: float = 0.0
    done: bool = False


class StageTrainer:
    """Trains the network of one stage, from the start or from its last checkpoint.

    Parameters
    ----------
    stage : Stage
        What is learned.
    settings : TrainingSettings
        How.
    ranks : Ranks
        This process among those of the run.
    folder : RunFolder
        Where checkpoints, log and pictures go.
    triples : TripleSet
        What is trained on.
    validation : TripleSet
        What is validated on.
    minutes_before : float
        Time that the stages before have taken.
    progress : callable, optional
        Called as ``progress(share, text)``.
    stop : callable
        True once the run is to save and stop.
    """

    def __init__(
        self,
        stage: Stage,
        settings: TrainingSettings,
        ranks: Ranks,
        folder: RunFolder,
        triples: TripleSet,
        validation: TripleSet,
        minutes_before: float,
        progress: ProgressCallback | None,
        stop: Callable[[], bool],
    ) -> None:
        self.stage, self.settings, self.ranks, self.folder = stage, settings, ranks, folder
        self._progress, self._stop = progress, stop
        self.state = State(minutes_before=minutes_before)
        network = stage.new_network(settings.width, settings.seed)
        # Faster with the channels of a pixel side by side, nearly twice on a CPU.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.to(ranks.device)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=settings.rates[0], betas=(0.9, 0.999)
        )
        half = settings.precision == "float16"
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=half)
        self.judge: Judge | None = None
        if stage.name == "filling":
            self.judge = Judge(settings.texture, settings.seed, settings.rates[0], ranks)
        self.samples = SampleSet(triples, settings, stage.index, stage.what, stage.step)
        self.validation = SampleSet(validation, settings, VALIDATION, stage.what, stage.step)
        self._validation_batches: list[Sample] = []
        self._resume()
        self._model: nn.Module = self.network
        if ranks.count > 1:
            if ranks.device.type == "cuda":
                self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
            self._model = DistributedDataParallel(self.network)

    def train(self) -> None:
        """Train until the iterations, the time or the patience is used up.

        Raises
        ------
        Cancelled
            If the run was asked to stop; the last checkpoint is then saved.
        InputError
            If the loss is no longer finite.
        """
        state, settings = self.state, self.settings
        if state.done and (self._is_spent() or self._is_followed()):
            return
        state.done = False
        batches = self._batches()
        started = time.monotonic() - 60 * state.minutes
        while True:
            state.minutes = (time.monotonic() - started) / 60
            share, over = self.ranks.agree(self._share(), float(state.stale >= settings.patience))
            if self.ranks.any(self._stop()):
                self._save("last")
                raise Cancelled(
                    "Interrupted; the last checkpoint is saved: --resume goes on with it."
                )
            if over or share >= 1:
                break
            rate = settings.rate_at(self.stage.name, share, state.iteration)
            self._step(next(batches), rate)
            due = state.iteration % settings.validate_every == 0
            if due:
                self._validate(rate)
            if due or state.iteration % settings.save_every == 0:
                self._save("last")
        if state.validated != state.iteration:
            self._validate(settings.rate_at(self.stage.name, 1.0, state.iteration))
        state.done = True
        self._save("last")
        self.ranks.wait()

    def _is_spent(self) -> bool:
        """Whether iterations, time or patience are used up."""
        spent = self._share() >= 1 or self.state.stale >= self.settings.patience
        return self.ranks.any(spent)

    def _is_followed(self) -> bool:
        """Whether a later stage was begun, on what this one has learned."""
        stages = self.settings.stages
        later = stages[stages.index(self.stage.name) + 1 :]
        return self.ranks.any(any(self.folder.is_begun(name) for name in later))

    def _share(self) -> float:
        """Return the share of the stage that is done: of its iterations or of its time."""
        share = self.state.iteration / self.settings.iterations
        if self.settings.max_minutes is None:
            return share
        stages = self.settings.stages
        mine, rest = SHARES[self.stage.name], stages[stages.index(self.stage.name) :]
        left = max(self.settings.max_minutes - self.state.minutes_before, 1e-3)
        minutes = left * mine / sum(SHARES[name] for name in rest)
        return max(share, self.state.minutes / minutes)

    def _step(self, batch: Sample, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self._model.train()
        batch = self._to_device(batch)
        inputs = self.stage.inputs(batch, training=True)
        self.optimiser.zero_grad(set_to_none=True)
        out = self.stage.output(self._model, inputs)
        loss = self.stage.learned(out, batch)
        value = float(loss.detach())
        if self.ranks.any(not math.isfinite(value)):
            raise InputError(
                f"The loss of the {self.stage.name} network is no longer finite at iteration "
                f"{self.state.iteration}: start again in a new folder with a smaller --rate."
            )
        heard = self.judge if self.judge is not None and self._share() >= BEGIN else None
        if heard is not None:
            with self.stage.context():
                loss = loss + heard.verdict(out, batch)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        if heard is not None:
            self._learn_to_judge(heard, out, batch, rate)
        self.scaler.update()
        state = self.state
        state.iteration += 1
        state.loss_sum += value
        state.loss_count += 1
        if self._progress is not None:
            mean = state.loss_sum / state.loss_count
            text = f"{self.stage.name} {state.iteration}, loss {mean:.4g}"
            self._progress(min(self._share(), 1.0), text)

    def _learn_to_judge(self, judge: Judge, out: Tensor, batch: Sample, rate: float) -> None:
        for group in judge.optimiser.param_groups:
            group["lr"] = rate
        judge.optimiser.zero_grad(set_to_none=True)
        with self.stage.context():
            loss = judge.loss(out, batch)
        self.scaler.scale(loss).backward()
        self.scaler.step(judge.optimiser)

    def _batches(self) -> Iterator[Sample]:
        """Yield batches from where the stage stands."""
        workers = self.settings.workers
        context = None
        if workers and sys.platform == "linux":
            context = multiprocessing.get_context("fork")
        loader: DataLoader[Sample] = DataLoader(
            self.samples,
            batch_sampler=_Indices(
                self.state.iteration * self.settings.batch,
                self.settings.batch,
                self.ranks.rank,
                self.ranks.count,
            ),
            num_workers=workers,
            pin_memory=self.ranks.device.type == "cuda",
            multiprocessing_context=context,
            worker_init_fn=_quiet_worker if workers else None,
        )
        return iter(loader)

    def _validate(self, rate: float) -> None:
        state = self.state
        if self.ranks.is_first:
            scores, images = self._scores()
            better = scores["loss"] < state.best
            state.best = min(state.best, scores["loss"])
            state.stale = 0 if better else state.stale + 1
            if better:
                self._save("best", scores)
            train = state.loss_sum / state.loss_count if state.loss_count else float("nan")
            self.folder.add_row(
                {
                    "stage": self.stage.name,
                    "iteration": state.iteration,
                    "minutes": f"{state.minutes:.3f}",
                    "learning_rate": f"{rate:.4g}",
                    "train_loss": f"{train:.6g}",
                    "validation_loss": f"{scores['loss']:.6g}",
                    "best": int(better),
                    "scores": " ".join(f"{k}={v:.5g}" for k, v in scores.items() if k != "loss"),
                }
            )
            self.folder.add_picture(self.stage.name, state.iteration, images)
        state.best, stale = self.ranks.agree(state.best, state.stale)
        state.stale = int(stale)
        state.loss_sum, state.loss_count, state.validated = 0.0, 0, state.iteration

    @torch.no_grad()
    def _scores(self) -> tuple[Scores, list[list[Tensor]]]:
        """Return the mean scores over the validation samples, and pictures of a few."""
        if not self._validation_batches:
            count = self.settings.val_samples
            for start in range(0, count, _VALIDATION_BATCH):
                stop = min(start + _VALIDATION_BATCH, count)
                self._validation_batches.append(
                    default_collate([self.validation[i] for i in range(start, stop)])
                )
        self.network.eval()
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        images: list[list[Tensor]] = []
        for held in self._validation_batches:
            batch = self._to_device(held)
            inputs = self.stage.inputs(batch)
            out = self.stage.output(self.network, inputs)
            size = len(batch["clean"])
            for name, value in self.stage.scores(out, inputs, batch).items():
                if not math.isnan(value):
                    sums[name] = sums.get(name, 0.0) + value * size
                    counts[name] = counts.get(name, 0) + size
            for k in range(min(size, PICTURES - len(images))):
                one = {name: value[k : k + 1] for name, value in batch.items()}
                given = tuple(image[k : k + 1] for image in inputs)
                images.append(self.stage.picture(out[k : k + 1], given, one))
        return {name: total / counts[name] for name, total in sums.items()}, images

    def _to_device(self, batch: Sample) -> Sample:
        return {k: v.to(self.ranks.device, non_blocking=True) for k, v in batch.items()}

    def _save(self, which: str, scores: Scores | None = None) -> None:
        if not self.ranks.is_first:
            return
        record: dict[str, Any] = {"network": self.network.state_dict()}
        if which == "best":
            record |= {"scores": scores or {}, "iteration": self.state.iteration}
        else:
            record |= {
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "state": dict(vars(self.state)),
                "rng": torch.get_rng_state(),
            }
            if self.judge is not None:
                record["judge"] = self.judge.state()
        self.folder.save(self.stage.name, which, record)

    def _resume(self) -> None:
        saved = self.folder.restore(self.stage.name, "last")
        if saved is None:
            if self.ranks.is_first:
                self.folder.cut_rows(self.stage.name, -1)
            return
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        torch.set_rng_state(saved["rng"])
        if self.judge is not None and "judge" in saved:
            self.judge.restore(saved["judge"])
        self.state = State(**saved["state"])
        if self.ranks.is_first:
            self.folder.cut_rows(self.stage.name, self.state.iteration)


class _Indices:
    """Endless batches of sample numbers of one process, from some sample on."""

    def __init__(self, first: int, batch: int, rank: int, count: int) -> None:
        self._first, self._batch, self._rank, self._count = first, batch, rank, count

    def __iter__(self) -> Iterator[list[int]]:
        start = self._first
        while True:
            yield list(range(start + self._rank, start + self._batch, self._count))
            start += self._batch


def _quiet_worker(_: int) -> None:
    """Leave requests to stop to the main process, which saves first; open files anew."""
    for request in (signal.SIGINT, signal.SIGTERM):
        signal.signal(request, signal.SIG_IGN)
    torch.set_num_threads(1)
    worker = get_worker_info()
    if worker is not None and isinstance(worker.dataset, SampleSet):
        worker.dataset.triples.close()
