"""``sff-napari restore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    WEIGHTS,
    device_option,
    echo_json,
    json_option,
    open_named,
    progress_bar,
    slices_option,
    stack_argument,
)

if TYPE_CHECKING:
    from sff_napari.progress import ProgressCallback
    from sff_napari.stacks import FoldsFile, Stack
    from sff_napari.volumes.plan.request import VolumeRequest
    from sff_napari.volumes.restore_volume import Summary

# Written out here so that --help need not load torch; a test compares them with the core's.
INTERPOLATIONS = ("motion", "mean", "network", "previous", "following")
UNFOLDINGS = ("law", "network", "none")
FUSIONS = ("learned", "expected", "seamless", "stitch", "network", "network-everywhere")
COVER = 2.0
TILE = 2048
INCOMPLETE = 3
"""Exit code of a run that finished, but could not do everything."""


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("--folds", "folds_path", type=PATH, required=True, help="Folds file.")
@click.option("-o", "--out", type=PATH, required=True, help="OUT.zarr or OUT.tif to write.")
@slices_option("Slices to restore.  [default: all in the folds file]")
@click.option(
    "--overlay",
    is_flag=True,
    help="Store only the chunks that change; the rest is read from STACK, wherever it lies.",
)
@click.option(
    "--fill-missing",
    is_flag=True,
    help="Also make slices that hold no image from those around them, up to three in a row.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Worker processes on this machine, one for each GPU where there are several.  "
    "[default: threads of one process]",
)
@click.option("--scheduler", metavar="ADDRESS", help="A dask cluster, e.g. tcp://10.0.0.1:8786.")
@click.option(
    "--interpolation",
    type=click.Choice(INTERPOLATIONS),
    default="motion",
    help="How the slice is guessed from its neighbours.",
)
@click.option(
    "--unfolding",
    type=click.Choice(UNFOLDINGS),
    default="law",
    help="How the displacement of the fold is undone.",
)
@click.option(
    "--fusion",
    type=click.Choice(FUSIONS),
    default="learned",
    help="How the hidden region is filled and joined.",
)
@click.option(
    "--weights",
    type=WEIGHTS,
    help="Weights of the networks: a file or a folder; free: those of synthetic tissue.",
)
@click.option(
    "--cover",
    type=click.FloatRange(0, 100),
    default=COVER,
    metavar="PX",
    help="Pixels by which the dark line is widened.",
)
@click.option(
    "--tile",
    type=click.IntRange(min=64),
    default=TILE,
    metavar="PX",
    help="Larger slices are restored in pieces of this side, along their folds.",
)
@device_option
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    stack: str,
    folds_path: Path,
    out: Path,
    slices: str | None,
    overlay: bool,
    fill_missing: bool,
    workers: int | None,
    scheduler: str | None,
    interpolation: str,
    unfolding: str,
    fusion: str,
    weights: Path | None,
    cover: float,
    tile: int,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the stack with the slices that have folds restored.

    OUT.zarr keeps chunks, codecs and metadata of a STACK that is a zarr; what
    is not touched is copied as it is.  It also gets the synthesised pixels
    (labels/synthesised), the displacement, and in OUT.zarr/sff_napari the
    record of what was done.  It is made in OUT.zarr.part: the same command
    goes on with a run that ended early, and over a complete OUT.zarr it does
    what is missing.  OUT.tif is written in one go, slice by slice.

    Exit code: 0 if all was done, 3 if some slices or chunks could not be done
    (they stay as they were, and are named), 2 after an error, 130 after
    Ctrl-C.
    """
    from sff_napari.devices import choose_device
    from sff_napari.errors import InputError
    from sff_napari.stacks import check_output, read_folds
    from sff_napari.stacks.folds_file import other_pixels

    choose_device(device)
    volume = out.suffix.lower() == ".zarr"
    if not volume and (overlay or fill_missing or workers is not None or scheduler is not None):
        raise InputError(
            f"{out} is no zarr: --overlay, --fill-missing, --workers and --scheduler need it."
        )
    if workers is not None and scheduler is not None:
        raise InputError("--workers starts a cluster and --scheduler names one: give only one.")
    check_output(out, overwrite=overwrite or volume)
    file = read_folds(folds_path)
    with open_named(stack) as opened, progress_bar() as progress:
        file.check(opened.shape)
        if note := other_pixels(file, opened):
            click.echo(note, err=True)
        wanted = _wanted(opened, file, folds_path, slices, fill_missing)
        choices = {"interpolation": interpolation, "unfolding": unfolding, "fusion": fusion}
        if not volume:
            options = {"device": device, "weights": weights, "cover": cover, "tile": tile}
            run_report = _write_tiff(
                out, opened, file, wanted, choices, options, overwrite, progress
            )
        else:
            from sff_napari.volumes.plan.request import VolumeRequest
            from sff_napari.volumes.plan.settings import VolumeSettings

            request = VolumeRequest(
                stack,
                opened,
                file.folds,
                out,
                slices=wanted,
                settings=VolumeSettings(
                    **choices, cover=cover, tile=tile, weights=weights, device=device
                ),
                fill_missing=fill_missing,
                overlay=overlay,
                overwrite=overwrite,
            )
            run_report = _run_report(_restore_volume(request, workers, scheduler, progress))
    for sentence in run_report["notes"]:
        click.echo(sentence, err=True)
    if as_json:
        echo_json(run_report["json"])
    else:
        click.echo(run_report["text"])
    context.exit(run_report["code"])


def _wanted(stack: Stack, file: FoldsFile, path: Path, slices: str | None, fill: bool) -> list[int]:
    from sff_napari.errors import InputError

    wanted = file.slices if slices is None else stack.parse_slices(slices)
    without = [z for z in wanted if z not in file.folds]
    if without:
        raise InputError(
            f"The folds file has no fold on slice {without[0]}: choose among the slices it "
            "names, or draw or detect one there."
        )
    if not wanted and not fill:
        raise InputError(f"The folds file {path} names no fold: there is nothing to do.")
    return wanted


def _write_tiff(
    out: Path,
    stack: Stack,
    file: FoldsFile,
    wanted: list[int],
    choices: dict[str, str],
    options: dict[str, Any],
    overwrite: bool,
    progress: Any,
) -> dict[str, Any]:
    from sff_napari.commands.stack_restoration import StackRestoration
    from sff_napari.stacks import write_restored

    work = StackRestoration(stack, file.folds, choices, **options)
    written = write_restored(
        out,
        stack,
        wanted,
        work.restore,
        manifest={**work.manifest(), **_earlier(stack)},
        overwrite=overwrite,
        progress=progress,
    )
    return {
        "code": 0,
        "notes": work.notes,
        "json": {"out": str(written), **work.manifest(), "slices": work.records},
        "text": f"{_count(len(wanted))} restored in {work.seconds:.1f} s; see {written}.",
    }


def _earlier(stack: Stack) -> dict[str, Any]:
    """Return the records of earlier passes that lie beside a TIFF, the first one first."""
    import json

    from sff_napari.stacks import tiff
    from sff_napari.stacks.writing import beside

    path = stack.path
    if path is None or path.suffix.lower() not in tiff.SUFFIXES:
        return {}
    try:
        record = json.loads(beside(path, "restoration.json").read_text(encoding="utf-8"))
        passes = record.pop("earlier", [])
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return {"earlier": [*passes, record]} if isinstance(passes, list) else {}


def _restore_volume(
    request: VolumeRequest, workers: int | None, scheduler: str | None, progress: ProgressCallback
) -> Summary:
    """Restore a volume in threads of this process, in worker processes, or on a cluster."""
    from sff_napari.errors import Cancelled
    from sff_napari.volumes.restore_volume import restore_volume
    from sff_napari.volumes.run.executors import Cluster, Threads
    from sff_napari.volumes.run.task import Pool

    pool: Pool = Threads() if workers is None and scheduler is None else Cluster(workers, scheduler)
    try:
        return restore_volume(request, pool, progress)
    except KeyboardInterrupt:
        raise Cancelled(
            "Interrupted; run the same command again to go on, or remove "
            f"{request.target.with_name(request.target.name + '.part')}."
        ) from None
    finally:
        pool.close()


def _run_report(summary: Summary) -> dict[str, Any]:
    """Return what is printed about a run over a volume."""
    from sff_napari.volumes.run.folder import Folder
    from sff_napari.volumes.run.restored_volume import read_plan
    from sff_napari.volumes.verify.records import read_slices

    done = summary.outcome
    notes = [
        *done.notes,
        *(
            reason if f"lice {z} " in reason else f"Slice {z}: {reason}"
            for z, reason in sorted(done.failed.items())
        ),
        *(f"{key}: {reason}" for key, reason in sorted({**done.lost, **done.unmade}.items())),
    ]
    if summary.complete and not done.restored and not done.filled:
        text = f"Nothing was missing; {summary.out} is as it was."
    else:
        text = f"{_count(len(done.restored))} restored in {summary.seconds:.1f} s; "
        if done.filled:
            text += f"{_count(len(done.filled))} interpolated; "
        text += f"see {summary.out}."
        if done.failed:
            text += f"  {_count(len(done.failed))} could not be restored; run again to retry."
    slices = read_slices(Folder(summary.out))
    return {
        "code": 0 if summary.complete else INCOMPLETE,
        "notes": notes,
        "text": text,
        "json": {
            "out": str(summary.out),
            "seconds": round(summary.seconds, 3),
            "restored": done.restored,
            "interpolated": done.filled,
            "present": summary.present,
            "failed": {str(z): reason for z, reason in sorted(done.failed.items())},
            "lost": {**done.lost, **done.unmade},
            **read_plan(summary.out),
            "slices": [slices[z] for z in sorted(slices)],
        },
    }


def _count(number: int) -> str:
    return "1 slice" if number == 1 else f"{number} slices"
