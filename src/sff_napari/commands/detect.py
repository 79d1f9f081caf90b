"""``sff-napari detect``."""

from __future__ import annotations

from pathlib import Path

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    device_option,
    echo_json,
    json_option,
    progress_bar,
    slices_option,
    stack_argument,
    table,
)


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("-o", "--out", type=PATH, help="Folds file to write (JSON).")
@slices_option("Slices to search.  [default: all]")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Darkness above which a pixel may be fold; see `sff-napari calibrate`.",
)
@click.option("--max-folds", default=8, help="Most folds a slice.")
@device_option
@json_option
def command(
    stack: Path,
    out: Path | None,
    slices: str | None,
    threshold: float | None,
    max_folds: int,
    device: str,
    as_json: bool,
) -> None:
    """Find the folds of a stack and write them to a folds file."""
    from sff_napari.detection import detect_folds
    from sff_napari.devices import choose_device
    from sff_napari.errors import InputError
    from sff_napari.folds import Fold
    from sff_napari.progress import Reporter
    from sff_napari.stacks import open_stack, stack_identity, write_folds
    from sff_napari.stacks.folds_file import as_document

    choose_device(device)
    found: dict[int, list[Fold]] = {}
    passed_over: list[str] = []
    with open_stack(stack) as opened, progress_bar() as progress:
        chosen = opened.parse_slices(slices)
        report = Reporter(progress)
        for number, z in enumerate(chosen):
            part = report.part(number / len(chosen), (number + 1) / len(chosen))
            part(0.0, f"slice {z}")
            image = opened[z]
            try:
                folds = detect_folds(image, threshold=threshold, device=device, max_folds=max_folds)
            except InputError as error:
                # One empty slice must not cost the search of all others.
                passed_over.append(f"Slice {z} was passed over: {error}")
                continue
            if folds:
                found[z] = folds
        identity = stack_identity(opened)
    if len(passed_over) == len(chosen):
        raise InputError(passed_over[0])
    for sentence in passed_over:
        click.echo(sentence, err=True)
    if out is not None:
        write_folds(out, found, identity)
    if as_json:
        echo_json(as_document(found, identity))
        return
    rows = [
        [f"{z}", f"{fold.score or 0:.2f}", f"{2 * fold.half_width:.0f}", f"{fold.length:.0f}"]
        for z in sorted(found)
        for fold in found[z]
    ]
    count = len(rows)
    if rows:
        click.echo(table(["slice", "score", "width (px)", "length (px)"], rows))
    folds_text = "No fold" if count == 0 else "1 fold" if count == 1 else f"{count} folds"
    slices_text = "1 slice" if len(chosen) == 1 else f"{len(chosen)} slices"
    click.echo(f"{folds_text} found in {slices_text}{f'; see {out}' if out else ''}.")
