"""Write the model card of networks that restore scans."""

from __future__ import annotations

import torch

import sff_napari
from sff_napari.io_atomic import write_bytes
from sff_napari.networks import weights
from sff_napari.training.records import RunFolder
from sff_napari.training.scan_settings import ScanTraining

_MEANING = {
    "loss": "validation loss: squared error over the variance of the truth",
    "snr_tissue": "signal to noise of restored tissue, dB (variance of the truth over error)",
    "snr_tissue_raw": "the same of the scans",
    "snr_specimens": "signal to noise of restored synthetic specimens, dB",
    "snr_specimens_raw": "the same of the scans",
}


def write_scan_card(folder: RunFolder, settings: ScanTraining) -> None:
    """Write ``CARD.md`` beside the weights of a run; networks not finished are left out.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    made = [kind for kind in settings.stages if folder.weights(kind).is_file()]
    train, validate = settings.labels
    commands = folder.commands()
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
    for kind in made:
        info = weights.info(kind, folder.weights(kind))
        last = folder.rows(kind)[-1]
        length = f"{last['iteration']} iterations in {float(last['minutes']):.0f} minutes."
        lines += [f"### {kind}", "", length, ""]
        lines += ["| score | value |", "|---|---|"]
        lines += [f"| {_MEANING.get(n, n)} | {v:.4g} |" for n, v in info.scores.items()]
        lines += ["", f"SHA-256 of the tensors: `{info.sha256}`", ""]
    write_bytes(folder.path / "CARD.md", "\n".join(lines).encode("utf-8"))
