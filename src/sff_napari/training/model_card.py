"""Write the model card: what weights were made from, how, and how good they are."""

from __future__ import annotations

import torch

import sff_napari
from sff_napari.io_atomic import write_bytes
from sff_napari.networks import weights
from sff_napari.training.records import RunFolder
from sff_napari.training.settings import STAGES, TrainingSettings

_MEANING = {
    "loss": "validation loss (L1; grey values in [0, 1], or px)",
    "flow_error_px": "mean end-point error of the flow where the tissue was seen, px",
    "flow_error_untouched_px": "the same for a flow of zero, px",
    "psnr": "PSNR of the network's output, dB",
    "psnr_mean_of_neighbours": "PSNR of the mean of the two neighbours, dB",
    "psnr_hidden": "PSNR of the network's output in the hidden region, dB",
    "psnr_interpolated": "PSNR of the interpolated slice, dB",
    "psnr_filled": "PSNR of what the filling network expects, in the hidden region, dB",
    "psnr_filled_textured": "the same with fine detail, dB",
    "psnr_mean_hidden": "PSNR of the mean of the moved neighbours in the hidden region, dB",
    "detail": "fine detail of the filled region, as a share of the true tissue's",
    "detail_textured": "the same with fine detail",
    "detail_mean": "the same of the mean of the moved neighbours",
    "psnr_damaged": "PSNR of the damaged slice, dB",
}


def write_card(folder: RunFolder, settings: TrainingSettings, processes: int) -> None:
    """Write ``CARD.md`` beside the weights of a run.

    Parameters
    ----------
    folder : RunFolder
        The run; stages that are not finished are left out.
    settings : TrainingSettings
        Its settings.
    processes : int
        How many processes trained.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    done = [s for s in STAGES if s in settings.stages and folder.weights(s).is_file()]
    commands = folder.commands()
    lines = [
        "# Weights for sff-napari",
        "",
        f"Networks: {', '.join(done)}. Width multiplier {settings.width:g} (1 is the paper's). "
        f"{_scale_text(settings, done)}"
        f"Network version {weights.ARCHITECTURE}, package version {sff_napari.__version__}, "
        f"torch {torch.__version__.split('+')[0]}.",
        "",
        "## Data",
        "",
        f"- Trained on: {_training_text(settings)}.",
        f"- Validated on: {_validation_text(settings)}.",
        f"- About the data: {settings.data_note or 'no note was given (--data-note).'}",
        f"- Licence of the data: {settings.licence or 'not stated (--licence).'}",
        "",
        "## Command" + "s, in order" * (len(commands) > 1),
        "",
        "```",
        *(command or "(started from Python)" for command in commands),
        "```",
        "",
        f"Seed {settings.seed}; {processes} process{'es' if processes > 1 else ''}. Folds: "
        f"{settings.folds}. Crop {settings.crop} px, batch {settings.batch}. Settings in full: "
        "`run.json`.",
        "",
        "## Scores",
        "",
        f"On {settings.val_samples} crops of the validation slices with simulated folds "
        f"({settings.folds}; none for interpolation), mean over the crops. They compare runs on "
        "the same data; they say nothing about other data.",
        "",
    ]
    for stage in done:
        lines += _stage_text(folder, stage)
    lines += [
        "## Limits",
        "",
        "Trained on simulated folds. On tissue, contrast or pixel sizes unlike the data above, "
        "check results before use: what lies in the hidden region is synthesised.",
        "",
    ]
    write_bytes(folder.path / "CARD.md", "\n".join(lines).encode("utf-8"))


def _scale_text(settings: TrainingSettings, done: list[str]) -> str:
    if "unfolding" not in done or settings.scale == 1:
        return ""
    return f"Unfolding works on slices reduced {settings.scale} times (1 is the paper's). "


def _training_text(settings: TrainingSettings) -> str:
    parts = [f"`{spec.label}`" for spec in settings.data]
    if settings.neuropil:
        parts.append(f"{settings.neuropil} slices of synthetic neuropil")
    return ", ".join(parts)


def _validation_text(settings: TrainingSettings) -> str:
    if settings.validate:
        return ", ".join(f"`{spec.label}`" for spec in settings.validate)
    if settings.data:
        return f"the last {settings.val_slices} slices of each stack, not trained on"
    return "synthetic neuropil from another seed"


def _stage_text(folder: RunFolder, stage: str) -> list[str]:
    info = weights.info(stage, folder.weights(stage))
    rows = folder.rows(stage)
    lines = [f"### {stage.capitalize()}", ""]
    if rows:
        last = rows[-1]
        chosen = [row for row in rows if row["best"] == "1"][-1:] or [last]
        lines += [
            f"{last['iteration']} iterations in {float(last['minutes']):.0f} minutes; "
            f"the best validation was after {chosen[0]['iteration']}.",
            "",
        ]
    lines += ["| score | value |", "|---|---|"]
    lines += [
        f"| {_MEANING.get(name, name)} | {value:.4g} |" for name, value in info.scores.items()
    ]
    return [*lines, "", f"SHA-256 of the tensors: `{info.sha256}`", ""]
