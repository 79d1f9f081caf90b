"""``sff-napari simulate-tilts``."""

from __future__ import annotations

from pathlib import Path

import click

from sff_napari.commands.base import CONTEXT, PATH, echo_json, json_option


@click.command(context_settings=CONTEXT)
@click.option("-o", "--out", type=PATH, required=True, help="OUT.mrc to write.")
@click.option(
    "--shape", nargs=3, type=click.IntRange(8), default=(48, 80, 80), help="Voxels along z, y, x."
)
@click.option(
    "--kind",
    type=click.Choice(["shells", "virions", "cells"]),
    default="shells",
    help="What is in the volume.",
)
@click.option("--tilts", type=click.IntRange(5), default=41, help="Number of tilts.")
@click.option("--largest", type=click.FloatRange(10, 85), default=60.0, help="Largest tilt.")
@click.option("--contrast", type=click.Choice(["bright", "dark"]), default="bright")
@click.option(
    "--psnr", type=click.FloatRange(3, 80), default=15.7, help="Of the noisy images, in dB."
)
@click.option("--clean", is_flag=True, help="Without noise.")
@click.option(
    "--defocus",
    type=click.FloatRange(0, 50),
    default=0.0,
    help="Blur at the edge of the most tilted image: standard deviation in pixels.",
)
@click.option("--seed", default=0, help="The same seed gives the same series.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@json_option
def command(
    out: Path,
    shape: tuple[int, int, int],
    kind: str,
    tilts: int,
    largest: float,
    contrast: str,
    psnr: float,
    clean: bool,
    defocus: float,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a noisy tilt series of a random volume, its angles, and the truth.

    Beside OUT.mrc lie OUT.rawtlt, OUT.truth.mrc (the volume) and OUT.clean.mrc (the
    images without noise or blur).  The tilt axis lies along x.
    """
    from typing import Any, cast

    import numpy as np

    from sff_napari.errors import InputError
    from sff_napari.tilt_series import make_phantom, simulate_tilts
    from sff_napari.tilt_series.angles import write_tilts
    from sff_napari.tilt_series.writing import check_tomogram_path, write_mrc

    if out.suffix.lower() != ".mrc":
        raise InputError(f"{out} cannot be written: name it with .mrc at the end.")
    check_tomogram_path(out, overwrite=overwrite)
    volume = make_phantom(shape, kind=cast(Any, kind), seed=seed)
    made = simulate_tilts(
        volume,
        np.linspace(-largest, largest, tilts),
        contrast=cast(Any, contrast),
        noise=None if clean else psnr,
        defocus=defocus,
        seed=seed,
    )
    write_tilts(out.with_suffix(".rawtlt"), made.tilts)
    write_mrc(out.with_suffix(".truth.mrc"), made.volume)
    write_mrc(out.with_suffix(".clean.mrc"), made.clean)
    write_mrc(out, made.noisy)
    if as_json:
        echo_json({"out": str(out), "shape": list(made.noisy.shape), "seed": seed})
        return
    click.echo(f"{tilts} tilts of a volume of {' x '.join(map(str, shape))} voxels; see {out}.")
