"""``sff-napari tomogram``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    device_option,
    echo_json,
    json_option,
    progress_bar,
)

_METHODS = (
    "wbp", "sirt", "grid", "implicit", "implicit-flow", "implicit-full", "implicit-flow-full"
)  # fmt: skip


@click.command(context_settings=CONTEXT)
@click.argument("series", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, help="OUT.zarr or OUT.mrc to write.")
@click.option(
    "--tilts", type=PATH, help="Angles: .tlt, .rawtlt, .mdoc.  [default: in or beside SERIES]"
)
@click.option(
    "--axis",
    type=click.Choice(["x", "y"]),
    default="x",
    help="Image axis along which the tilt axis lies; x is along rows.",
)
@click.option(
    "--contrast",
    type=click.Choice(["bright", "dark"]),
    default="bright",
    help="Bright field, or dark field such as HAADF.",
)
@click.option(
    "--thickness", type=click.IntRange(1), help="Slices of the volume.  [default: estimated]"
)
@click.option("--method", type=click.Choice(_METHODS), default="grid", help="How to reconstruct.")
@click.option(
    "--defocus",
    type=click.FloatRange(0, 50),
    help="Known blur at the edge of the most tilted image: standard deviation in pixels.",
)
@click.option("--bin", "factor", type=click.IntRange(1), default=1, help="Average N x N pixels.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Time it may take.")
@click.option(
    "--align",
    type=click.Choice(["none", "shifts", "axis", "all"]),
    default="none",
    help="Find shifts between the images, the tilt axis, or both.",
)
@click.option("--alignment", type=PATH, help="Use the alignment in this file.")
@click.option("--save-alignment", type=PATH, help="Write the alignment, to be corrected by hand.")
@click.option("--leave-out", metavar="3,7-9", help="Images of SERIES not to use, from 0.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@device_option
@json_option
def command(**choices: Any) -> None:
    """Reconstruct a volume from a tilt series.

    SERIES is an MRC file (.mrc, .st, .ali), a TIFF stack, a folder of images, a zarr,
    an HDF5, HyperSpy or Berkeley EMD file.  OUT holds the volume with the projections
    it foretells, the residuals, and a record.  Ctrl-C writes the best volume so far
    and ends with code 130; the same command with --overwrite then goes on from there.
    """
    import numpy as np

    import sff_napari
    from sff_napari.tilt_series.reading import read_series
    from sff_napari.tilt_series.reconstruct import Options, reconstruct_series
    from sff_napari.tilt_series.series import check_series
    from sff_napari.tilt_series.thickness import binned
    from sff_napari.tilt_series.writing import (
        FileCheckpoint,
        check_tomogram_path,
        series_digest,
        write_tomogram,
    )

    out, as_json = choices["out"], choices["as_json"]
    options = Options(
        contrast=choices["contrast"],
        thickness=choices["thickness"],
        method=choices["method"],
        defocus=choices["defocus"],
        minutes=choices["minutes"],
        device=choices["device"],
    )
    check_tomogram_path(out, overwrite=choices["overwrite"])
    stored = read_series(choices["series"], choices["tilts"])
    used = _used(len(stored.images), choices["leave_out"])
    series = check_series(stored.images[used], stored.tilts[used], choices["axis"])
    series = binned(series, choices["factor"])
    with _stopping() as stopped, progress_bar() as progress:
        from sff_napari.progress import Reporter

        reporter = Reporter(progress, stopped)
        alignment = _alignment(series, choices, reporter.part(0.0, 0.2))
        series = alignment.apply(series)
        identity = {
            "series": series_digest(series.images),
            "tilts": [float(t) for t in series.tilts],
            **{k: v for k, v in vars(options).items() if k not in ("minutes", "device")},
        }
        checkpoint = FileCheckpoint(out, identity)
        made = reconstruct_series(series, options, reporter.part(0.2, 1.0), stopped, checkpoint)
    size = None if stored.pixel_size is None else stored.pixel_size * choices["factor"]
    record = {
        "program": "sff-napari tomogram",
        "version": sff_napari.__version__,
        "series": stored.path.name,
        "series_sha256": series_digest(stored.images),
        "tilts_from": stored.tilts_from,
        "left_out": np.setdiff1d(np.arange(len(stored.images)), used).tolist(),
        "bin": choices["factor"],
        "alignment": alignment.to_dict(series),
        "resumed": checkpoint.resumed,
        **made.report,
    }
    write_tomogram(out, made, record, pixel_size=size, overwrite=choices["overwrite"])
    if not made.report["stopped"]:
        checkpoint.remove()
    _tell(out, made, record, as_json)
    if made.report["stopped"]:
        click.get_current_context().exit(130)


def _tell(out: Path, made: Any, record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json({"out": str(out), "shape": list(made.volume.shape), **record})
        return
    z, y, x = made.volume.shape
    judged = "" if made.held_out is None else f"; tilts kept out foretold at {made.held_out:.2f} dB"
    began = "Stopped: the best so far" if made.report["stopped"] else "A volume"
    click.echo(
        f"{began} of {z} x {y} x {x} voxels by {record['method']} in "
        f"{record['seconds']:.0f} s{judged}; see {out}."
    )


def _used(count: int, left_out: str | None) -> Any:
    import numpy as np

    from sff_napari.stacks import parse_slices

    if not (left_out or "").strip():
        return np.arange(count)
    return np.setdiff1d(np.arange(count), parse_slices(left_out, count, thing="image"))


def _alignment(series: Any, choices: dict[str, Any], reporter: Any) -> Any:
    """Return the alignment that is chosen, and write it where asked."""
    from sff_napari.errors import InputError, StackError
    from sff_napari.io_atomic import explain, write_json
    from sff_napari.tilt_series.tilt_alignment import TiltAlignment, align_tilts

    if choices["alignment"] is not None:
        import json

        if choices["align"] != "none":
            raise InputError("Use --align or --alignment, not both.")
        try:
            stored = json.loads(choices["alignment"].read_text(encoding="utf-8"))
        except OSError as error:
            raise explain(error, choices["alignment"], "read") from error
        except ValueError as error:
            raise StackError(f"{choices['alignment']} is not a JSON file.") from error
        return TiltAlignment.from_dict(stored)
    if choices["align"] == "none":
        found = TiltAlignment.none(len(series.tilts))
    else:
        shifts, axis = choices["align"] != "axis", choices["align"] != "shifts"
        found = align_tilts(
            series,
            choices["contrast"],
            correlate=shifts,
            axis_position=axis,
            axis_angle=axis,
            refine=shifts,
            reporter=reporter,
        )
    if choices["save_alignment"] is not None:
        write_json(choices["save_alignment"], found.to_dict(series))
    return found


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C ask for an end with the best so far; a second one ends at once."""
    import signal

    asked: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
