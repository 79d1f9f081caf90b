"""Train until the iterations or the time are used up; stop, save, go on."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import numpy as np

from sff_napari.errors import Cancelled, InputError
from sff_napari.progress import ProgressCallback
from sff_napari.training.enlarging.settings import EnlargingSettings


class State(Protocol):
    """Where a training stands."""

    iteration: int
    minutes: float


class TimedTrainer(ABC):
    """The loop of a training that goes on from its last checkpoint.

    What is learnt depends on the number of the iteration alone: a resumed run sees the same
    samples as one that was never stopped.
    """

    stage: str
    settings: EnlargingSettings
    state: State

    @abstractmethod
    def prepare(self, progress: ProgressCallback) -> None:
        """Read what is trained on."""

    @abstractmethod
    def learn(self, rng: np.random.Generator) -> float:
        """Do one iteration; return its loss."""

    @abstractmethod
    def save(self) -> None:
        """Write the last checkpoint."""

    def learnt(self, loss: float) -> str:
        """Take note of an iteration that was done; return what it was, in a few words."""
        return f"{self.stage} {self.state.iteration}, loss {loss:.4f}"

    def train(self, progress: ProgressCallback, stop: Callable[[], bool]) -> None:
        """Train until the iterations or the time are used up.

        Raises
        ------
        Cancelled
            If `stop` returned True; the last checkpoint is then saved.
        InputError
            If the loss is no longer finite, or there is nothing to train on.
        """
        if self.share() >= 1:
            return
        self.prepare(progress)
        started = time.monotonic() - 60 * self.state.minutes
        while self.share() < 1:
            if stop():
                self.save()
                raise Cancelled(
                    "Interrupted; the last checkpoint is saved: --resume goes on with it."
                )
            loss = self.learn(np.random.default_rng([self.settings.seed, self.state.iteration]))
            if not math.isfinite(loss):
                raise InputError(
                    f"The loss of the {self.stage} network is no longer finite at iteration "
                    f"{self.state.iteration}: start again in a new folder with a smaller --rate."
                )
            self.state.iteration += 1
            self.state.minutes = (time.monotonic() - started) / 60
            progress(min(self.share(), 1.0), self.learnt(loss))
            if self.state.iteration % self.settings.save_every == 0:
                self.save()
        self.save()

    def share(self) -> float:
        """Return how much of the training is done; 1 or more at its end."""
        share = self.state.iteration / self.settings.iterations
        minutes = self.settings.minutes_of(self.stage)
        return share if minutes is None else max(share, self.state.minutes / minutes)
