"""Run a training of the networks that restore scans: weights, log and card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sff_napari.networks import weights
from sff_napari.progress import ProgressCallback
from sff_napari.training.records import RunFolder
from sff_napari.training.scan_card import write_scan_card
from sff_napari.training.scan_settings import MAY_CHANGE, ScanTraining, settings_from_options
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
        Go on with the run in `out`, which must have the same settings but for
        those in `MAY_CHANGE`.
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
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder = RunFolder(out)
    if resume:
        folder.check_same(ScanTraining.from_dict(folder.record()), settings, MAY_CHANGE)
        folder.store(settings, command)
    else:
        folder.begin(settings, command)
    made: dict[str, Path] = {}
    for kind in settings.stages:
        trainer = ScanTrainer(kind, settings, folder)
        trainer.restore()
        scores = trainer.run(progress, stop)
        network = weights.new_network(kind, settings.width)
        network.load_state_dict(trainer.mean)
        labels = settings.labels[0]
        about = f"{labels} and synthetic specimens" if labels else "synthetic specimens"
        info = weights.WeightsInfo(kind, settings.width, about, settings.seed, scores)
        made[kind] = folder.weights(kind)
        weights.save_weights(made[kind], network, info)
    write_scan_card(folder, settings)
    return made
