"""Write the model card of networks that restore scans."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import sff_napari
from sff_napari.io_atomic import write_bytes
from sff_napari.networks import weights
from sff_napari.training.scan_settings import ScanTraining

_MEANING = {
    "loss": "validation loss: squared error over the variance of the truth",
    "snr_tissue": "signal to noise of restored tissue, dB (variance of the truth over error)",
    "snr_tissue_raw": "the same of the scans",
    "snr_specimens": "signal to noise of restored synthetic specimens, dB",
    "snr_specimens_raw": "the same of the scans",
}


def write_scan_card(
    folder: Path,
    settings: ScanTraining,
    commands: Sequence[str],
    made: Mapping[str, Path],
) -> None:
    """Write ``CARD.md`` beside the weights of a run.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    train, validate = settings.labels
    lines = [
        "# Weights for scans",
        "",
        f"Networks: {', '.join(made)}. Width multiplier {settings.width:g}. Package version "
        f"{sff_napari.__version__}, torch {torch.__version__.split('+')[0]}.",
        "",
        "## Data",
        "",
        f"- Trained on: {train or 'no tissue'}; three of five pairs are synthetic specimens.",
        f"- Validated on: {validate or 'no tissue'}, and on other synthetic specimens.",
        f"- About the data: {settings.data_note or 'no note was given (--data-note).'}",
        f"- Licence of the data: {settings.licence or 'not stated (--licence).'}",
        "",
        "## Command" + "s, in order" * (len(commands) > 1),
        "",
        "```",
        *(command or "(started from Python)" for command in commands),
        "```",
        "",
        f"Seed {settings.seed}. Crop {settings.crop} px, batch {settings.batch}. The learning "
        "rate falls with time, so that a faster machine trains longer.",
        "",
        "## Scores",
        "",
    ]
    for kind, path in made.items():
        info = weights.info(kind, path)
        lines += [f"### {kind}", "", _length(folder / f"{kind}.log.csv"), ""]
        lines += ["| score | value |", "|---|---|"]
        lines += [f"| {_MEANING.get(n, n)} | {v:.4g} |" for n, v in info.scores.items()]
        lines += ["", f"SHA-256 of the tensors: `{info.sha256}`", ""]
    write_bytes(folder / "CARD.md", "\n".join(lines).encode("utf-8"))


def _length(log: Path) -> str:
    with log.open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return f"{last['iteration']} iterations in {float(last['minutes']):.0f} minutes."
