"""``sff-napari verify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from sff_napari.commands.base import CONTEXT, PATH, echo_json, json_option, progress_bar

_SHOWN = 20


@click.command(context_settings=CONTEXT)
@click.argument("out", type=PATH)
@click.option("--source", help="Where the volume below an overlay lies, if not beside it.")
@json_option
@click.pass_context
def command(context: click.Context, out: Path, source: str | None, as_json: bool) -> None:
    """Check a restored volume against its record.

    OUT is what restore or scan wrote.  Every changed chunk is compared with its
    checksum, and so is what it was before.

    Exit code: 0 if all is as the record says, 3 if not or if slices failed.
    """
    from sff_napari.commands.restore import INCOMPLETE
    from sff_napari.volumes.scan_volume import read_record
    from sff_napari.volumes.verify.verify_volume import verify_volume

    if read_record(out) is not None:
        context.exit(0 if _verify_scans(out, as_json) else INCOMPLETE)
    with progress_bar() as progress:
        verdict = verify_volume(out, source=source, progress=progress)
    if as_json:
        echo_json({"out": str(out), "good": verdict.good, **asdict(verdict)})
    else:
        for note in verdict.notes:
            click.echo(note, err=True)
        for key, reason in sorted(verdict.wrong.items())[:_SHOWN]:
            click.echo(f"{key}: {reason}")
        if len(verdict.wrong) > _SHOWN:
            click.echo(f"... and {len(verdict.wrong) - _SHOWN} more.")
        slices = ", ".join(
            f"{len(found)} {name}"
            for name, found in (
                ("restored", verdict.restored),
                ("interpolated", verdict.interpolated),
                ("failed", verdict.failed),
                ("reverted", verdict.reverted),
            )
            if found
        )
        click.echo(
            f"{verdict.chunks} changed chunks checked, {len(verdict.wrong)} wrong; "
            f"slices: {slices or 'none'}."
        )
    context.exit(0 if verdict.good else INCOMPLETE)


def _verify_scans(out: Path, as_json: bool) -> bool:
    """Check what scan wrote; return whether all is as the record says."""
    from sff_napari.volumes.scan_volume import verify_scans

    with progress_bar() as progress:
        verdict = verify_scans(out, progress)
    if as_json:
        echo_json({"out": str(out), "good": verdict.good, **asdict(verdict)})
        return verdict.good
    for reason in verdict.wrong.values():
        click.echo(reason)
    count = len(verdict.restored) + len(verdict.reverted)
    click.echo(
        f"{count} slices checked, {len(verdict.wrong)} wrong; "
        f"{len(verdict.restored)} restored, {len(verdict.reverted)} reverted."
    )
    return verdict.good
