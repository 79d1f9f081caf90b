"""``sff-napari analyse``."""

from __future__ import annotations

import io
from pathlib import Path

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
)

# Written out here so that --help need not load torch; a test compares them with the core's.
BLOCK, OVERLAP, RANGE = 71, 41, 84


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("--folds", "folds_path", type=PATH, required=True, help="Folds file (JSON).")
@slices_option("Slices to measure.  [default: all in the folds file]")
@click.option("-o", "--out", type=PATH, help="Folder for the table, the plot and the ranges.")
@click.option(
    "--reference",
    type=click.Choice(["neighbours", "interpolated"]),
    default="neighbours",
    help="What blocks are looked for in.",
)
@click.option("--block", default=BLOCK, help="Side of the blocks, px.")
@click.option("--overlap", default=OVERLAP, help="How much neighbouring blocks share, px.")
@click.option("--range", "reach", default=RANGE, help="Largest displacement looked for, px.")
@device_option
@json_option
def command(
    stack: Path,
    folds_path: Path,
    slices: str | None,
    out: Path | None,
    reference: str,
    block: int,
    overlap: int,
    reach: int,
    device: str,
    as_json: bool,
) -> None:
    """Measure what folds did to their slices, as section 3.1 of the paper does.

    Prints the width of each dark line, whether the tissue moved perpendicular
    to it, and how far at which distance.  With -o, writes analysis.json,
    analysis.txt, ranges.json, with which sff-napari-train, simulate and
    evaluate make folds like these, and, with matplotlib, analysis.png and
    analysis.svg.
    """
    from sff_napari.analysis import analyse
    from sff_napari.analysis.plot import is_possible, plot
    from sff_napari.analysis.report import report
    from sff_napari.devices import choose_device
    from sff_napari.io_atomic import explain, write_bytes, write_json
    from sff_napari.simulation import write_ranges
    from sff_napari.stacks import read_folds

    choose_device(device)
    file = read_folds(folds_path)
    with open_named(stack) as opened, progress_bar() as progress:
        file.check(opened.shape)
        found = analyse(
            opened,
            file.folds,
            slices=None if slices is None else opened.parse_slices(slices),
            reference=reference,  # type: ignore[arg-type]
            block=block,
            overlap=overlap,
            reach=reach,
            device=device,
            progress=progress,
        )
    record = {"stack": stack.name, **found.to_dict()}
    text = report(found)
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, out) from error
        write_json(out / "analysis.json", record)
        write_bytes(out / "analysis.txt", f"{text}\n".encode())
        if is_possible():
            figure = plot(found.folds)
            for suffix in ("png", "svg"):
                picture = io.BytesIO()
                figure.savefig(picture, format=suffix)
                write_bytes(out / f"analysis.{suffix}", picture.getvalue())
        measured = {
            "stack": stack.name,
            "folds": len(found.folds),
            "not_measured": list(found.usual),
            **found.settings,
        }
        write_ranges(out / "ranges.json", found.ranges, measured)
    if as_json:
        echo_json(record)
        return
    click.echo(text)
    if out is not None:
        click.echo(f"\nSee {out / 'analysis.txt'} and {out / 'ranges.json'}.")
        if not is_possible():
            click.echo('For plots install matplotlib: `pip install "sff-napari[plot]"`.', err=True)
