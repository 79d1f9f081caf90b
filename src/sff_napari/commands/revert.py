"""``sff-napari revert``."""

from __future__ import annotations

from pathlib import Path

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    WEIGHTS,
    device_option,
    echo_json,
    json_option,
    progress_bar,
    slices_option,
)


@click.command(context_settings=CONTEXT)
@click.argument("out", type=PATH)
@click.option(
    "--fold",
    "folds",
    multiple=True,
    metavar="ID",
    help="Fold to take back, as the record names it, e.g. z12-0; may be given several times.",
)
@click.option("--all", "everything", is_flag=True, help="Take back all folds, or all slices.")
@slices_option("Slices to take back of what scan wrote.")
@click.option("--source", help="Where the volume below an overlay lies, if not beside it.")
@click.option(
    "--weights",
    type=WEIGHTS,
    help="Weights of the networks, if not the bundled; free: those of synthetic tissue.",
)
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    out: Path,
    folds: tuple[str, ...],
    everything: bool,
    slices: str | None,
    source: str | None,
    weights: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Take folds of a restored volume back.

    OUT is what restore or scan wrote.  A slice whose folds are all taken back gets its
    original bytes; one that keeps some is restored anew with those alone.  A
    run that ended early is finished by the next.  Of what scan wrote slices are
    taken back, with --slices or --all.
    """
    from sff_napari.volumes.scan_volume import read_record

    if read_record(out) is not None:
        _revert_scans(out, slices, everything, bool(folds), as_json)
        return
    from sff_napari.commands.restore import INCOMPLETE
    from sff_napari.errors import InputError
    from sff_napari.volumes.revert import revert_folds
    from sff_napari.volumes.run.folder import Folder
    from sff_napari.volumes.run.restored_volume import read_plan
    from sff_napari.volumes.verify.records import PENDING, read_slices

    read_plan(out)
    if slices is not None:
        raise InputError(f"{out} holds restored folds: name them with --fold instead of --slices.")
    folder = Folder(out)
    if everything:
        records = read_slices(folder).values()
        folds = tuple(
            name
            for record in records
            if record["status"] != "failed"
            for name in (*(fold["id"] for fold in record["folds"]), record.get("filled"))
            if name
        )
    elif not folds and not folder.has(PENDING):
        raise InputError("Name the folds to take back with --fold, or take back --all.")
    with progress_bar() as progress:
        outcome = revert_folds(
            out, folds, source=source, weights=weights, device=device, progress=progress
        )
    left = {str(z): reason for z, reason in sorted({**outcome.failed}.items())}
    if as_json:
        echo_json({"out": str(out), "reverted": sorted(folds), "failed": left})
    else:
        for reason in left.values():
            click.echo(reason, err=True)
        count = "1 fold" if len(folds) == 1 else f"{len(folds)} folds"
        click.echo(f"{count} taken back; see {out}.")
    context.exit(0 if outcome.complete else INCOMPLETE)


def _revert_scans(
    out: Path, slices: str | None, everything: bool, folds: bool, as_json: bool
) -> None:
    from sff_napari.errors import InputError
    from sff_napari.stacks import open_stack
    from sff_napari.volumes.scan_volume import revert_scans

    if folds or (slices is None) != everything:
        raise InputError(f"{out} holds restored scans: take back --slices, or --all.")
    wanted = None if slices is None else open_stack(out).parse_slices(slices)
    with progress_bar() as progress:
        done = revert_scans(out, wanted, progress)
    if as_json:
        echo_json({"out": str(out), "reverted": done})
        return
    count = "1 slice" if len(done) == 1 else f"{len(done)} slices"
    click.echo(f"{count} taken back; see {out}.")
