"""Run a training of the networks that restore scans: weights, log and card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sff_napari.errors import InputError
from sff_napari.networks import weights
from sff_napari.progress import ProgressCallback
from sff_napari.training.scan_card import write_scan_card
from sff_napari.training.scan_settings import (
    ScanTraining,
    read_run,
    settings_from_options,
    write_run,
)
from sff_napari.training.scan_trainer import ScanTrainer

__all__ = ["ScanTraining", "settings_from_options", "train_scan"]


def train_scan(
    settings: ScanTraining,
    out: str | Path,
    *,
    resume: bool = False,
    command: str = "",
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Path]:
    """Train networks on simulated scans, and write their weights and a model card.

    Parameters
    ----------
    settings : ScanTraining
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
        Asked at every iteration; True saves a checkpoint and stops.

    Returns
    -------
    dict of str to Path
        The weights of each network.

    Raises
    ------
    InputError
        If settings or data cannot be used.
    StackError
        If a stack cannot be read or a file not written.
    Cancelled
        If `stop` returned True.
    """
    folder = Path(out)
    commands: list[str] = []
    if resume:
        commands = read_run(folder)[1]
    elif (folder / "run.json").exists():
        raise InputError(
            f"{folder} already holds a training run: add --resume to go on with it, or choose "
            "another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_run(folder, settings, [*commands, command])
    if settings.threads:
        torch.set_num_threads(settings.threads)
    made: dict[str, Path] = {}
    for kind in settings.stages:
        path = folder / f"{kind}.safetensors"
        trainer = ScanTrainer(kind, settings, folder)
        if (folder / f"{kind}.checkpoint.pt").exists():
            trainer.restore()
        scores = trainer.run(progress, stop)
        network = weights.new_network(kind, settings.width)
        network.load_state_dict(trainer.mean)
        labels = settings.labels[0]
        about = f"{labels} and synthetic specimens" if labels else "synthetic specimens"
        weights.save_weights(
            path,
            network,
            weights.WeightsInfo(kind, settings.width, about, settings.seed, scores),
        )
        made[kind] = path
    write_scan_card(folder, settings, [*commands, command], made)
    return made
