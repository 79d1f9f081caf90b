"""Write the model card of enlarging networks."""

from __future__ import annotations

import torch

import sff_napari
from sff_napari.io_atomic import write_bytes
from sff_napari.networks import weights
from sff_napari.training.enlarging.settings import EnlargingSettings
from sff_napari.training.records import RunFolder

_WHAT = {
    "enlarging": "one slice at low magnification between full-resolution neighbours",
    "enlarging_stack": "a slice of a stack that is all at low magnification",
    "gpemsr": "the method of Shou et al., its three stages",
}


def write_card(folder: RunFolder, settings: EnlargingSettings) -> None:
    """Write ``CARD.md`` beside the weights of a run; networks not finished are left out.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    done = [stage for stage in settings.stages if folder.weights(stage).is_file()]
    validated = ", ".join(f"`{spec.label}`" for spec in settings.validate) or "nothing"
    lines = [
        "# Weights for slices at low magnification",
        "",
        f"Package version {sff_napari.__version__}, network version {weights.ARCHITECTURE}, "
        f"torch {torch.__version__.split('+')[0]}.",
        "",
        f"- Trained on: {', '.join(f'`{spec.label}`' for spec in settings.data)}.",
        f"- Validated on: {validated}.",
        f"- About the data: {settings.data_note or 'no note was given (--data-note).'}",
        f"- Licence of the data: {settings.licence or 'not stated (--licence).'}",
        f"- Reduced by {', '.join(map(str, sorted(set(settings.factors))))}; seed "
        f"{settings.seed}; crop {settings.crop} px, batch {settings.batch}. Settings in full: "
        "`run.json`.",
        "",
        "```",
        *(command or "(started from Python)" for command in folder.commands()),
        "```",
        "",
    ]
    for stage in done:
        lines += _stage_lines(folder, stage)
    lines += [
        "What these networks add is synthesised: it is likely, not seen. On tissue, contrast or "
        "pixel sizes unlike the data above, check results before use.",
        "",
    ]
    write_bytes(folder.path / "CARD.md", "\n".join(lines).encode("utf-8"))


def _stage_lines(folder: RunFolder, stage: str) -> list[str]:
    info = weights.info(stage, folder.weights(stage))
    rows = folder.rows(stage)
    lines = [f"## `{stage}`: {_WHAT[stage]}", "", f"Width {info.width:g}."]
    if rows:
        last = rows[-1]
        lines[-1] += f" {last['iteration']} iterations in {float(last['minutes']):.0f} minutes."
    if stage == "gpemsr":
        lines[-1] += f" Enlarges {info.scale} times; last loss {info.scores['loss']:.4f} (L1)."
        return [*lines, "", f"SHA-256 of the tensors: `{info.sha256}`", ""]
    lines += ["", "| reduced | back-projected cubic, dB | network, dB |", "|---|---|---|"]
    factors = sorted(int(name.removeprefix("psnr_")) for name in info.scores if "psnr_" in name)
    lines += [
        f"| {factor} times | {info.scores[f'back_projected_{factor}']:.2f} "
        f"| {info.scores[f'psnr_{factor}']:.2f} |"
        for factor in factors
    ]
    return [*lines, "", f"SHA-256 of the tensors: `{info.sha256}`", ""]
