"""``sff-napari simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    echo_json,
    json_option,
    open_named,
    progress_bar,
    seed_option,
    slices_option,
    stack_argument,
)


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("-o", "--out", type=PATH, required=True, help="OUT.zarr or OUT.tif to write.")
@slices_option("Slices to fold.  [default: every third]")
@click.option(
    "--kind",
    type=click.Choice(["straight", "realistic"]),
    default="realistic",
    help="Straight as in the paper, or as real folds look.",
)
@click.option("--ranges", type=PATH, help="Draw realistic folds from the ranges in this file.")
@click.option("--count", type=click.IntRange(1, 8), default=1, help="Folds a slice (realistic).")
@seed_option
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@json_option
def command(
    stack: Path,
    out: Path,
    slices: str | None,
    kind: str,
    ranges: Path | None,
    count: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a copy of a stack with simulated folds, and the truth.

    Beside OUT lies a folds file with the true lines, OUT.folds.json.  OUT
    itself also holds the true flow of the unfolding and which pixels are
    hidden, in the arrays `flow` and `hidden`.
    """
    import numpy as np

    from sff_napari.errors import InputError
    from sff_napari.folds import Fold
    from sff_napari.progress import Reporter
    from sff_napari.simulation import (
        ranges_to_dict,
        read_ranges,
        simulate_realistic,
        simulate_straight,
    )
    from sff_napari.stacks import (
        RestoredSlice,
        check_output,
        stack_identity,
        write_folds,
        write_restored,
    )

    check_output(out, overwrite=overwrite)
    folds_path = out.with_name(f"{out.stem}.folds.json")
    if folds_path.exists() and not overwrite:
        raise InputError(f"{folds_path} exists already: choose another name for OUT.")
    if kind == "straight" and count > 1:
        raise InputError("Straight folds come one a slice: leave --count out, or use realistic.")
    if kind == "straight" and ranges is not None:
        raise InputError("Ranges are those of realistic folds: use them with --kind realistic.")
    drawn_from = None if ranges is None else read_ranges(ranges)
    manifest: dict[str, Any] = {"program": "sff-napari simulate", "kind": kind, "seed": seed}
    if drawn_from is not None:
        manifest["ranges"] = ranges_to_dict(drawn_from)
    lines: dict[int, tuple[Fold, ...]] = {}
    with open_named(stack) as opened, progress_bar() as progress:
        chosen = list(range(1, len(opened), 3)) if slices is None else opened.parse_slices(slices)
        if not chosen:
            chosen = [0]

        def fold(z: int, reporter: Reporter) -> RestoredSlice:
            # A generator for each slice: the folds of one do not depend on the choice of others.
            rng = np.random.default_rng([seed, z])
            image = opened[z]
            if kind == "straight":
                made = simulate_straight(image, rng)
            else:
                made = simulate_realistic(image, rng, count=count, ranges=drawn_from)
            lines[z] = made.folds
            return RestoredSlice(
                made.damaged,
                made.corrupted.astype(np.float32),
                made.flow,
                {"folds": [line.to_dict() for line in made.folds]},
            )

        write_restored(
            out,
            opened,
            chosen,
            fold,
            manifest=manifest,
            mask="hidden",
            overwrite=overwrite,
            progress=progress,
        )
        identity = {**stack_identity(opened), "name": out.name}
    write_folds(folds_path, lines, identity)
    total = sum(map(len, lines.values()))
    facts = {"out": str(out), "folds": str(folds_path), "slices": chosen, "count": total}
    _tell(facts, as_json)


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    """Print what was made, or JSON."""
    if as_json:
        echo_json(facts)
        return
    total, slices = facts["count"], len(facts["slices"])
    click.echo(
        f"{total} fold{'s' * (total != 1)} simulated on {slices} slice{'s' * (slices != 1)}; "
        f"see {facts['out']} and {facts['folds']}."
    )
