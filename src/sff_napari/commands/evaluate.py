"""``sff-napari evaluate``."""

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
    seed_option,
    slices_option,
    stack_argument,
)


@click.command(context_settings=CONTEXT)
@stack_argument
@slices_option("Clean slices to fold.  [default: all with two neighbours]")
@click.option("--folds", type=click.IntRange(min=1), default=30, help="Folds to simulate.")
@click.option(
    "--kind",
    type=click.Choice(["straight", "realistic"]),
    default="straight",
    help="Straight as in the paper, or as real folds look.",
)
@seed_option
@click.option("--methods", metavar="NAME,NAME", help="Methods to compare, by name.  [default: all]")
@click.option("--line-offset", default=0.0, help="Draw the line this many px off the true one.")
@click.option("--width-factor", default=1.0, help="Draw the line this much wider than it is.")
@click.option("--weights", type=PATH, help="Weights of the networks: a folder.")
@device_option
@json_option
def command(
    stack: Path,
    slices: str | None,
    folds: int,
    kind: str,
    seed: int,
    methods: str | None,
    line_offset: float,
    width_factor: float,
    weights: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Compare methods on folds simulated on clean slices of a stack.

    Prints PSNR and SSIM of the whole slice, inside and outside the corrupted
    region, the error of the flow, and seconds, for each method.
    """
    from sff_napari.evaluation import evaluate
    from sff_napari.stacks import open_stack

    with open_stack(stack) as opened, progress_bar() as progress:
        found = evaluate(
            opened,
            slices=None if slices is None else opened.parse_slices(slices),
            folds=folds,
            kind=kind,  # type: ignore[arg-type]
            seed=seed,
            methods=None if methods is None else [name.strip() for name in methods.split(",")],
            line_offset=line_offset,
            width_factor=width_factor,
            weights=weights,
            device=device,
            progress=progress,
        )
    if as_json:
        echo_json({"stack": stack.name, **found.to_dict()})
    else:
        click.echo(found.table())
