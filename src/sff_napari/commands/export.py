"""``sff-napari export``."""

from __future__ import annotations

from pathlib import Path

import click

from sff_napari.commands.base import CONTEXT, PATH, chosen_axes, progress_bar, stack_argument

TARGETS = ("sofima", "feabas", "corgie", "displacement", "bigwarp")


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("--to", type=click.Choice(TARGETS), required=True, help="What it is for.")
@click.option("-o", "--out", type=PATH, required=True, help="Folder to write.")
@click.option("--folds", "folds_path", type=PATH, help="Folds file.  [default: those restored]")
@click.option(
    "--margin", type=click.FloatRange(0), default=0.0, help="Pixels that masks reach beyond a line."
)
@click.option(
    "--mip", type=click.IntRange(0, 12), default=0, help="FEABAS: reduce masks by 2**MIP."
)
@click.option("--mips", type=click.IntRange(1, 12), default=1, help="corgie: number of scales.")
@click.option("--voxel-size", metavar="Z,Y,X", help="In nm, where the volume does not say.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def command(
    stack: Path | str,
    to: str,
    out: Path,
    folds_path: Path | None,
    margin: float,
    mip: int,
    mips: int,
    voxel_size: str | None,
    overwrite: bool,
) -> None:
    """Write fold masks or displacements for tools that align volumes.

    STACK is a volume that `sff-napari restore` wrote, or any stack together
    with --folds.  Displacements and landmarks need a restored volume.
    """
    from sff_napari.volumes import exports
    from sff_napari.volumes.exports.source import open_source

    source = open_source(stack, folds_path, _voxel_size(voxel_size), chosen_axes())
    with progress_bar() as progress:
        if to == "displacement":
            exports.write_field(out, source, overwrite=overwrite, progress=progress)
        elif to == "bigwarp":
            exports.write_landmarks(out, source, overwrite=overwrite, progress=progress)
        else:
            masks = exports.FoldMasks(source.folds, source.shape, margin)
            if to == "sofima":
                exports.write_sofima(out, source, masks, overwrite=overwrite, progress=progress)
            elif to == "feabas":
                exports.write_feabas(
                    out, source, masks, mip=mip, overwrite=overwrite, progress=progress
                )
            else:
                size = source.need_voxel_size()
                exports.write_mask_layer(
                    out,
                    masks,
                    size,
                    mips=mips,
                    offset=source.offset,
                    overwrite=overwrite,
                    progress=progress,
                )
    count = len(source.folds)
    what = {"displacement": "Displacements", "bigwarp": "Landmarks"}.get(to, "Fold masks")
    click.echo(f"{what} of {count} slice{'s' * (count != 1)} written for {to}; see {out}.")


def _voxel_size(text: str | None) -> tuple[float, float, float] | None:
    from sff_napari.errors import InputError

    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"The voxel size {text!r} cannot be read: write three numbers such as 40,4,4."
        ) from error
    if not min(z, y, x) > 0 or max(z, y, x) > 1e9:
        raise InputError(f"The voxel size {text!r} makes no sense: its parts are nm above 0.")
    return z, y, x
