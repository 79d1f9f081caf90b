"""Run a whole training: the stages one after another, their weights and the card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sff_napari.errors import InputError
from sff_napari.networks import UnfoldingNetwork, weights
from sff_napari.progress import ProgressCallback
from sff_napari.training.data import open_sets
from sff_napari.training.model_card import write_card
from sff_napari.training.pairs import paired
from sff_napari.training.parallel import Ranks, ranks
from sff_napari.training.records import RunFolder
from sff_napari.training.settings import NEEDS, TrainingSettings
from sff_napari.training.stages import Stage, precision_context
from sff_napari.training.trainer import StageTrainer

MAY_CHANGE = ("device", "workers", "threads", "max_minutes", "data_note", "licence")
"""Settings a resumed run may have other than the run it goes on with."""


def train(
    settings: TrainingSettings,
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
    settings : TrainingSettings
        What to train on, and how.
    out : str or Path
        Folder for everything the run writes.
    resume : bool
        Go on with the run in `out`, which must have the same settings but for
        those in `MAY_CHANGE`.
    command : str
        The command that started the run, for the card.
    progress : callable, optional
        Called as ``progress(share, text)``; the share starts again with every stage.
    stop : callable, optional
        Asked at every iteration; True saves the last checkpoint and stops.

    Returns
    -------
    dict of str to Path
        The weights file of each stage.

    Raises
    ------
    InputError
        If settings or data cannot be used.
    StackError
        If a stack cannot be read or a file not written.
    WeightsError
        If the weights of a stage before the first cannot be used.
    Cancelled
        If `stop` returned True; everything needed to resume is then on the disk.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with ranks(settings.device) as ranks_here:
        return _train(settings, RunFolder(out), ranks_here, resume, command, progress, stop)


def _train(
    settings: TrainingSettings,
    folder: RunFolder,
    ranks_here: Ranks,
    resume: bool,
    command: str,
    progress: ProgressCallback | None,
    stop: Callable[[], bool] | None,
) -> dict[str, Path]:
    ranks_here.share_of(settings.batch)
    triples, validation = open_sets(settings)
    triples.check(settings.crop)
    validation.check(settings.crop)
    if ranks_here.is_first:
        if resume:
            folder.check_same(folder.settings(), settings, MAY_CHANGE)
            folder.store(settings, command)
        else:
            folder.begin(settings, command)
    ranks_here.wait()
    context = precision_context(settings.precision, ranks_here.device)
    before: dict[str, nn.Module] = {}
    on_progress = progress if ranks_here.is_first else None
    minutes = 0.0
    for name in settings.stages:
        for earlier in NEEDS[name]:
            if earlier not in before:
                before[earlier] = _earlier(earlier, settings, ranks_here.device)
        scale = settings.scale if name == "unfolding" else _scale(before.get("unfolding"))
        stage = Stage(
            name, dict(before), context, settings.true_flow_share, settings.texture, scale
        )
        sets = (triples, validation)
        if stage.is_paired:
            sets = (
                paired(
                    triples,
                    before["interpolation"],
                    stage.step,
                    ranks_here.device,
                    context,
                    on_progress,
                ),
                paired(
                    validation,
                    before["interpolation"],
                    stage.step,
                    ranks_here.device,
                    context,
                    on_progress,
                ),
            )
        trainer = StageTrainer(
            stage,
            settings,
            ranks_here,
            folder,
            *sets,
            minutes,
            on_progress,
            stop or (lambda: False),
        )
        trainer.train()
        minutes += trainer.state.minutes
        if ranks_here.is_first:
            _finish(stage, settings, folder)
            write_card(folder, settings, ranks_here.count)
        ranks_here.wait()
        # What the next stage sees is what users get: the rounded weights of the file.
        before[name] = weights.load(name, folder.weights(name), ranks_here.device)
    return {name: folder.weights(name) for name in settings.stages}


def _earlier(kind: str, settings: TrainingSettings, device: torch.device) -> nn.Module:
    """Return the network of a stage that this run does not train."""
    path = settings.before or None
    return weights.load(kind, path, device)


def _scale(unfolding: nn.Module | None) -> int:
    """Return the scale of the unfolding network, 1 where there is none."""
    return unfolding.scale if isinstance(unfolding, UnfoldingNetwork) else 1


def _finish(stage: Stage, settings: TrainingSettings, folder: RunFolder) -> None:
    """Write the weights with the best validation score."""
    best = folder.restore(stage.name, "best")
    if best is None:
        raise InputError(
            f"The {stage.name} network never reached a finite validation score: "
            "train longer or with a smaller --rate."
        )
    network = stage.new_network(settings.width, settings.seed)
    network.load_state_dict(best["network"])
    data = ", ".join(spec.label for spec in settings.data)
    if settings.neuropil:
        data = f"{data}, " * bool(data) + f"{settings.neuropil} slices of synthetic neuropil"
    record = weights.WeightsInfo(
        stage.name, settings.width, data, settings.seed, best["scores"], scale=stage.step
    )
    weights.save_weights(folder.weights(stage.name), network, record)
