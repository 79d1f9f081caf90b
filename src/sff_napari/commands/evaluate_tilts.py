"""``sff-napari evaluate-tilts``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import click

from sff_napari.commands.base import CONTEXT, echo_json, json_option, table


@click.command(context_settings=CONTEXT)
@click.option("--seeds", default="1,2,3", help="One random volume for each.")
@click.option("--methods", default="wbp,sirt,grid", help="Methods to compare.")
@click.option(
    "--kind",
    type=click.Choice(["shells", "virions", "cells"]),
    default="shells",
    help="What is in the volumes.",
)
@click.option(
    "--shape", nargs=3, type=click.IntRange(8), default=(48, 80, 80), help="Voxels along z, y, x."
)
@click.option(
    "--defocus",
    type=click.FloatRange(0, 50),
    default=0.0,
    help="Blur the images by this; methods run without and with knowing it.",
)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="For each method.")
@json_option
def command(
    seeds: str,
    methods: str,
    kind: str,
    shape: tuple[int, int, int],
    defocus: float,
    minutes: float | None,
    as_json: bool,
) -> None:
    """Compare methods on random volumes: 41 noisy tilts from -60 to 60 degrees.

    PSNR in dB after the best gain and offset, of the volume and of its projections.
    "best" marks filters and numbers of steps that were chosen against the truth.
    """
    from sff_napari.errors import InputError
    from sff_napari.tilt_series import METHODS
    from sff_napari.tilt_series.evaluation import evaluate_phantoms

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise InputError(f"{seeds!r} are no seeds: write numbers such as 1,2,3.") from error
    chosen = [name.strip() for name in methods.split(",")]
    for name in chosen:
        if name not in METHODS:
            raise InputError(f"There is no method {name!r}: use one of {', '.join(METHODS)}.")
    scores = list(
        evaluate_phantoms(
            numbers,
            cast(Any, chosen),
            shape=shape,
            kind=cast(Any, kind),
            defocus=defocus,
            minutes=minutes,
        )
    )
    if as_json:
        echo_json([asdict(score) for score in scores])
        return
    names = list(dict.fromkeys(score.method for score in scores))
    rows = []
    for name in names:
        own = [score for score in scores if score.method == name]
        volumes = [score.volume_psnr for score in own]
        rows.append(
            [
                name,
                *[f"{psnr:.2f}" for psnr in volumes],
                f"{sum(volumes) / len(volumes):.2f}",
                f"{sum(score.projection_psnr for score in own) / len(own):.2f}",
                f"{sum(score.seconds for score in own) / len(own):.1f}",
            ]
        )
    head = ["method", *[f"seed {seed}" for seed in numbers], "volume", "projections", "seconds"]
    click.echo(table(head, rows))
