"""``sff-napari calibrate``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from sff_napari.commands.base import (
    CONTEXT,
    device_option,
    echo_json,
    json_option,
    open_named,
    progress_bar,
    seed_option,
    slices_option,
    stack_argument,
    table,
)

_MOST = 8


@click.command(context_settings=CONTEXT)
@stack_argument
@slices_option(f"Slices without folds.  [default: {_MOST}, evenly spread]")
@click.option(
    "--thresholds", metavar="0.4,0.5,...", help="Thresholds to try, between 0 and 1.", default=None
)
@click.option("--folds", "folds_per_slice", default=2, help="Folds simulated on each slice.")
@click.option(
    "--kind",
    type=click.Choice(["straight", "realistic", "both"]),
    default="both",
    help="Folds to simulate.",
)
@seed_option
@device_option
@json_option
def command(
    stack: Path,
    slices: str | None,
    thresholds: str | None,
    folds_per_slice: int,
    kind: str,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Choose the detection threshold on folds simulated on clean slices.

    Prints precision, recall and F1 of each threshold, and the best one, for
    `sff-napari detect --threshold`; and how strongly these slices drift
    against their neighbours, which tells how well any slice of the stack can
    be placed.
    """
    from sff_napari.alignment.stack_drift import measure_drift
    from sff_napari.detection import calibrate
    from sff_napari.errors import InputError
    from sff_napari.progress import Reporter

    try:
        levels = None if thresholds is None else [float(part) for part in thresholds.split(",")]
    except ValueError as error:
        raise InputError(
            f"The thresholds {thresholds!r} cannot be read: write numbers such as 0.4,0.5."
        ) from error
    with open_named(stack) as opened, progress_bar() as progress:
        report = Reporter(progress)
        chosen = opened.parse_slices(slices)
        if slices is None and len(chosen) > _MOST:
            chosen = [chosen[i * len(chosen) // _MOST] for i in range(_MOST)]
        result = calibrate(
            [opened[z] for z in chosen],
            levels,
            folds_per_slice=folds_per_slice,
            kind=kind,  # type: ignore[arg-type]
            seed=seed,
            device=device,
            progress=report.part(0.0, 0.8),
        )
        inner = [z for z in chosen if 0 < z < len(opened) - 1]
        drift = None
        with suppress(InputError):  # no slice has two neighbours
            drift = measure_drift(opened, inner, progress=report.part(0.8, 1.0)) if inner else None
    if as_json:
        measured = None if drift is None else drift.to_dict()
        echo_json({"slices_used": chosen, **asdict(result), "drift": measured})
        return
    rows = [
        [
            f"{row.threshold:g}",
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            f"{row.f1:.3f}",
            f"{row.false_per_clean_slice:.2f}",
        ]
        for row in result.rows
    ]
    click.echo(table(["threshold", "precision", "recall", "F1", "false/clean slice"], rows))
    click.echo(
        f"Best: {result.best:g}, on {result.folds} folds simulated on {result.slices} slices."
    )
    if drift is not None:
        click.echo(
            f"Drift, on {len(drift.slices)} of these slices: as a whole "
            f"{drift.offset_variance**0.5:.2f} px rms, its smooth part {drift.level:.2f} times "
            "what is usual."
        )
