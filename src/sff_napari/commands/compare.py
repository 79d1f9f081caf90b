"""``sff-napari compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    device_option,
    echo_json,
    json_option,
    open_named,
    progress_bar,
    slices_option,
    stack_argument,
)

if TYPE_CHECKING:
    from sff_napari.folds import Fold
    from sff_napari.progress import Reporter
    from sff_napari.restoration import Restoration
    from sff_napari.stacks import Stack

_CLOSE = 400
"""Side of a close-up in pixels of the slice."""


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("--folds", "folds_path", type=PATH, help="Folds file.  [default: detected folds]")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for the pictures.")
@slices_option("Slices to show.  [default: all with folds]")
@click.option("--previous", type=PATH, help="Image of the slice before, where STACK is one image.")
@click.option("--following", type=PATH, help="Image of the slice after, where STACK is one image.")
@device_option
@json_option
def command(
    stack: Path,
    folds_path: Path | None,
    out: Path,
    slices: str | None,
    previous: Path | None,
    following: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Make pictures of folds before and after restoring.

    For each slice one picture of the whole slice and a close-up of each fold:
    before, after, what was synthesised, and the difference from the neighbour
    before and after, all with the same contrast.  Prints how much the slice
    resembles its neighbours.
    """
    from sff_napari.devices import choose_device
    from sff_napari.errors import InputError
    from sff_napari.evaluation.verdict import plain_verdict
    from sff_napari.evaluation.without_truth import score_without_truth
    from sff_napari.io_atomic import explain
    from sff_napari.progress import Reporter
    from sff_napari.restoration import restore

    choose_device(device)
    with open_named(stack) as file, progress_bar() as progress:
        opened, first = _with_neighbours(file, previous, following)
        reporter = Reporter(progress)
        wanted = [first + z for z in file.parse_slices(slices)]
        folds = _folds(opened, folds_path, wanted, first, device, reporter.part(0, 0.3))
        chosen = [z for z in wanted if z in folds]
        if not chosen:
            raise InputError(
                "There is no fold on these slices: name others, or draw one and give --folds."
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, out) from error
        records: list[dict[str, Any]] = []
        for number, z in enumerate(chosen):
            start, stop = (0.3 + 0.7 * (number + i) / len(chosen) for i in (0, 1))
            part = reporter.part(start, stop)
            previous_slice, following_slice = _neighbours(opened, z, folds)
            damaged = opened[z]
            result = restore(
                previous_slice, damaged, following_slice, folds[z], device=device, progress=part
            )
            beside = [one for one in (previous_slice, following_slice) if one is not None]
            scores = score_without_truth(
                damaged, result.restored, result.synthesised, result.flow, beside
            )
            pictures = _pictures(out, f"slice_{z - first}", damaged, result, beside, folds[z])
            records.append(
                {
                    "slice": z - first,
                    "folds": [fold.to_dict() for fold in folds[z]],
                    "scores": scores.to_dict(),
                    "verdict": plain_verdict(scores),
                    "notes": list(result.report["notes"]),
                    "pictures": [str(path) for path in pictures],
                }
            )
    if as_json:
        echo_json({"stack": stack.name, "slices": records})
        return
    for record in records:
        count = len(record["folds"])
        click.echo(
            f"Slice {record['slice']}, {count} fold{'s' * (count != 1)}: {record['verdict']}"
        )
        click.echo("".join(f"  {note}\n" for note in record["notes"]), nl=False)
        click.echo("".join(f"  {path}\n" for path in record["pictures"]), nl=False)


def _with_neighbours(
    file: Stack, previous: Path | None, following: Path | None
) -> tuple[Stack, int]:
    """Return the stack with the neighbours given by hand, and where its first slice now is."""
    import numpy as np

    from sff_napari.errors import InputError
    from sff_napari.stacks import Stack, open_stack

    if previous is None and following is None:
        return file, 0
    if len(file) != 1:
        raise InputError(
            "--previous and --following are for a single image: this stack has its own neighbours."
        )
    images = [file[0]]
    for path, place in ((previous, 0), (following, len(images) + 1)):
        if path is None:
            continue
        with open_stack(path) as other:
            if len(other) != 1 or other.shape[1:] != file.shape[1:] or other.dtype != file.dtype:
                raise InputError(
                    f"{path} must be one image of {file.shape[1]} x {file.shape[2]} pixels "
                    f"and dtype {file.dtype}, as {file.name} is."
                )
            images.insert(place, other[0])
    return Stack.from_array(np.stack(images), name=file.name), int(previous is not None)


def _folds(
    opened: Stack,
    path: Path | None,
    wanted: Sequence[int],
    first: int,
    device: str,
    reporter: Reporter,
) -> Mapping[int, Sequence[Fold]]:
    """Return the folds of each slice that has some: those of the file, or detected ones."""
    from sff_napari.detection import detect_folds
    from sff_napari.stacks import read_folds

    if path is not None:
        file = read_folds(path)
        if first == 0 and len(opened) > 1:
            file.check(opened.shape)
        return {z + first: folds for z, folds in file.folds.items()}
    found = {}
    for number, z in enumerate(wanted):
        reporter(number / len(wanted), f"detecting folds on slice {z}")
        found[z] = detect_folds(opened[z], device=device)
    return {z: folds for z, folds in found.items() if folds}


def _neighbours(opened: Stack, z: int, folds: Mapping[int, Any]) -> tuple[Any, Any]:
    """Return the nearest slices without folds before and after slice `z`; None where there is none.

    Raises
    ------
    InputError
        If there is none on either side.
    """
    from sff_napari.errors import InputError
    from sff_napari.sessions import choose_neighbours

    found = choose_neighbours(
        (z,), 0, len(opened), {(damaged,) for damaged in folds}, positions=opened.positions
    )
    if found.previous is None and found.following is None:
        raise InputError(
            f"Slice {z} has no undamaged slice near it to be restored from: for a single image "
            "give its neighbour with --previous or --following."
        )
    before, after = found.previous, found.following
    return (
        None if before is None else opened[before[0]],
        None if after is None else opened[after[0]],
    )


def _pictures(
    out: Path,
    name: str,
    damaged: Any,
    result: Restoration,
    beside: Sequence[Any],
    folds: Sequence[Fold],
) -> list[Path]:
    """Write the pictures of one slice and return their paths."""
    import torch

    from sff_napari.commands.picture import (
        difference_panels,
        grey_panel,
        mark_panel,
        side_by_side,
        write_png,
    )
    from sff_napari.folds import Curve

    restored = result.restored
    before, after = difference_panels([damaged, restored], beside[0])
    panels = [
        ("before", grey_panel(damaged)),
        ("after", grey_panel(restored, damaged)),
        ("coloured: synthesised", mark_panel(grey_panel(restored, damaged), result.synthesised)),
        ("difference from the neighbour, before", before),
        ("and after", after),
    ]
    written = [out / f"{name}.png"]
    write_png(written[0], side_by_side(panels))
    height, width = damaged.shape
    for number, fold in enumerate(folds):
        curve = Curve.of(fold)
        (y, x), _ = curve.at(torch.tensor(curve.length / 2))
        top = int(min(max(float(y) - _CLOSE / 2, 0), max(height - _CLOSE, 0)))
        left = int(min(max(float(x) - _CLOSE / 2, 0), max(width - _CLOSE, 0)))
        close = [
            (caption, panel[top : top + _CLOSE, left : left + _CLOSE]) for caption, panel in panels
        ]
        written.append(out / f"{name}_fold_{number}.png")
        write_png(written[-1], side_by_side(close))
    return written
