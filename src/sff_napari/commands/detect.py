"""``sff-napari detect``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    device_option,
    echo_json,
    json_option,
    open_named,
    progress_bar,
    slices_option,
    stack_argument,
    table,
)

if TYPE_CHECKING:
    from sff_napari.volumes.find.detect_volume import Detection
    from sff_napari.volumes.run.task import Pool

_MOST_ROWS = 100
"""Folds that are printed at most."""


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("-o", "--out", type=PATH, help="Folds file to write: .json, or .jsonl for many.")
@slices_option("Slices to search.  [default: all]")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Darkness above which a pixel may be fold; see `sff-napari calibrate`.",
)
@click.option("--max-folds", default=8, help="Most folds of a slice, or a window of 4096 px.")
@click.option(
    "--coarse",
    type=click.IntRange(1, 16),
    help="Reduction at which lines are looked for.  [default: 1 up to 4096 px, else 2]",
)
@click.option("--workers", type=click.IntRange(1), help="Processes to search in on this machine.")
@click.option("--scheduler", help="Address of a dask cluster to search on, tcp://...")
@click.option("--again", is_flag=True, help="Search slices again that OUT says were searched.")
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    stack: Path | str,
    out: Path | None,
    slices: str | None,
    threshold: float | None,
    max_folds: int,
    coarse: int | None,
    workers: int | None,
    scheduler: str | None,
    again: bool,
    device: str,
    as_json: bool,
) -> None:
    """Find the folds of a stack and write them to a folds file.

    With -o, a run that was ended early goes on where it was when it is given
    again.  Exits with 3 if slices could not be read; the others were searched.
    """
    from sff_napari.devices import choose_device
    from sff_napari.errors import InputError
    from sff_napari.stacks.folds_file import as_document
    from sff_napari.volumes.find.detect_volume import detect_volume
    from sff_napari.volumes.find.search import Search

    choose_device(device)
    search = Search(threshold, max_folds, coarse, device)
    with ExitStack() as held:
        opened = held.enter_context(open_named(stack))
        progress = held.enter_context(progress_bar())
        chosen = opened.parse_slices(slices)
        found = detect_volume(
            opened,
            chosen,
            search,
            out=out,
            again=again,
            pool=_pool(workers, scheduler, held),
            progress=progress,
        )
    if len(found.empty) == len(chosen):
        raise InputError(next(iter(found.empty.values())))
    for note in found.notes:
        click.echo(note, err=True)
    for z, count in sorted(found.absent.items()):
        click.echo(
            f"Slice {z}: {count} chunk{'s are' if count > 1 else ' is'} not stored; "
            "there is no data there.",
            err=True,
        )
    for z, why in sorted(found.empty.items()):
        click.echo(f"Slice {z} was passed over: {why}", err=True)
    for _, why in sorted(found.failed.items()):
        click.echo(f"Not searched: {why}", err=True)
    if as_json:
        echo_json(as_document(found.folds, found.identity, found.about))
    else:
        _tell(found, chosen, out)
    if found.failed:
        context.exit(3)


def _pool(workers: int | None, scheduler: str | None, held: ExitStack) -> Pool | None:
    if workers is None and scheduler is None:
        return None
    from sff_napari.volumes.run.executors import Cluster

    cluster = Cluster(workers, scheduler)
    held.callback(cluster.close)
    return cluster


def _tell(found: Detection, chosen: Sequence[int], out: Path | None) -> None:
    """Print the folds, one line each, and a sentence."""
    rows = [
        [f"{z}", f"{fold.score or 0:.2f}", f"{2 * fold.half_width:.0f}", f"{fold.length:.0f}"]
        for z in chosen
        for fold in found.folds.get(z, ())
    ]
    count = len(rows)
    if count > _MOST_ROWS:
        click.echo(f"The first {_MOST_ROWS} of {count} folds:")
    if rows:
        click.echo(table(["slice", "score", "width (px)", "length (px)"], rows[:_MOST_ROWS]))
    folds_text = "No fold" if count == 0 else "1 fold" if count == 1 else f"{count} folds"
    searched = len(chosen) - len(found.failed)
    slices_text = "1 slice" if searched == 1 else f"{searched} slices"
    before = f" ({len(found.before)} of them by an earlier run)" if found.before else ""
    failed = f"; {len(found.failed)} could not be read" if found.failed else ""
    see = f"; see {out}" if out else ""
    click.echo(f"{folds_text} found in {slices_text}{before}{failed}{see}.")
