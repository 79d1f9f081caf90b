"""``sff-napari evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

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
    seed_option,
    slices_option,
    stack_argument,
)
from sff_napari.errors import InputError

_USUAL = "usual"


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
@click.option("--ranges", type=PATH, help="Draw realistic folds from the ranges in this file.")
@seed_option
@click.option("--methods", metavar="NAME,NAME", help="Methods to compare, by name.  [default: all]")
@click.option("--line-offset", default=0.0, help="Draw the line this many px off the true one.")
@click.option("--width-factor", default=1.0, help="Draw the line this much wider than it is.")
@click.option(
    "--inject-drift",
    metavar="RMS",
    default=0.0,
    help="Move the slice by a known smooth drift of so many px before it is folded.",
)
@click.option(
    "--shift-neighbours",
    metavar="DY DX",
    nargs=2,
    type=float,
    default=(0.0, 0.0),
    help="Move the previous slice by so many px, the following one the other way.",
)
@click.option("--segmentation", is_flag=True, help="Also segment the results and compare.")
@click.option("--instances", type=PATH, help="True instances to compare segmentations with.")
@click.option("--fid", is_flag=True, help="Also the distance of Inception features: an extra.")
@click.option(
    "--perturb",
    metavar="NAME=VALUE,...",
    multiple=True,
    help="Print what mistakes cost instead: line-offset=3, width=+20%, brightness=-20%, blur=1, "
    "shift=3/-4.5; parts with commas go wrong together; may be repeated; 'usual' tries eight.",
)
@click.option(
    "--leave-one-out", is_flag=True, help="Judge each slice of a stack of your own instead."
)
@click.option("--damaged", metavar="3,7-9", help="Slices with real folds, for --leave-one-out.")
@click.option(
    "--weights",
    type=WEIGHTS,
    help="Weights of the networks: a folder; free: those of synthetic tissue.",
)
@click.option("--save", type=PATH, help="Also write everything to this JSON file.")
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    stack: Path,
    slices: str | None,
    methods: str | None,
    ranges: Path | None,
    instances: Path | None,
    segmentation: bool,
    fid: bool,
    line_offset: float,
    width_factor: float,
    inject_drift: float,
    shift_neighbours: tuple[float, float],
    folds: int,
    perturb: tuple[str, ...],
    leave_one_out: bool,
    damaged: str | None,
    save: Path | None,
    as_json: bool,
    **common: Any,
) -> None:
    """Compare methods on folds simulated on clean slices of a stack.

    Prints PSNR and SSIM of the whole slice, inside and outside the corrupted
    region, the error of the flow, and seconds, for each method; with
    --segmentation or --instances also what the folds cost a segmentation.

    With --perturb: what mistakes in the line or in the neighbours cost, against
    the same folds without them.  With --leave-one-out: each slice made up from
    its neighbours, and folded and restored; which slices stand out.
    """
    _check_modes(context, bool(perturb), leave_one_out)

    from sff_napari.evaluation import Perturbation, Trials, evaluate, robustness
    from sff_napari.evaluation.left_out_slices import leave_one_out as leave_out
    from sff_napari.io_atomic import write_json
    from sff_napari.simulation import read_ranges
    from sff_napari.stacks import open_stack

    names = None if methods is None else [name.strip() for name in methods.split(",")]
    found: Any
    with ExitStack() as files:
        opened = files.enter_context(open_named(stack))
        common |= {
            "slices": None if slices is None else opened.parse_slices(slices),
            "ranges": None if ranges is None else read_ranges(ranges),
        }
        truth = None if instances is None else files.enter_context(open_stack(instances))
        progress = files.enter_context(progress_bar())
        if leave_one_out:
            common["damaged"] = () if damaged is None else opened.parse_slices(damaged)
            found = leave_out(opened, progress=progress, **common)
        else:
            given = Perturbation(line_offset, width_factor, shift=shift_neighbours)
            trials = Trials(folds=folds, inject_drift=inject_drift, given=given, **common)
            if perturb:
                wrong = _perturbations(perturb)
                found = robustness(
                    opened, wrong, trials, methods=names or ["ours"], progress=progress
                )
            else:
                found = evaluate(
                    opened,
                    trials,
                    methods=names,
                    segmentation=segmentation,
                    instances=truth,
                    fid=fid,
                    progress=progress,
                )
    record = {"stack": stack.name, **found.to_dict()}
    if save is not None:
        write_json(save, record)
    if as_json:
        echo_json(record)
    else:
        click.echo(found.table())


def _check_modes(context: click.Context, perturb: bool, leave_one_out: bool) -> None:
    """Refuse options that would have no effect."""
    other_options = (
        "segmentation",
        "instances",
        "fid",
        "line_offset",
        "width_factor",
        "shift_neighbours",
    )
    useless: Sequence[str] = ("damaged",)
    mode = "without --leave-one-out"
    if leave_one_out:
        useless = (*other_options, "folds", "methods", "perturb", "inject_drift")
        mode = "with --leave-one-out"
    elif perturb:
        useless, mode = (*other_options, "damaged"), "with --perturb"
    for name in useless:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise InputError(f"--{name.replace('_', '-')} has no effect {mode}: leave it out.")


def _perturbations(texts: Sequence[str]) -> list[Any]:
    from sff_napari.evaluation.perturbed_inputs import USUAL, parse_perturbation

    spread = [one for text in texts for one in (USUAL if text == _USUAL else (text,))]
    return [parse_perturbation(text) for text in spread]
