"""``sff-napari enlarge``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    STACK,
    WEIGHTS,
    axes_options,
    device_option,
    echo_json,
    json_option,
    open_named,
    progress_bar,
    slices_option,
)

if TYPE_CHECKING:
    from sff_napari.alignment import Similarity
    from sff_napari.progress import ProgressCallback
    from sff_napari.stacks import Stack

# Written out here so that --help need not load torch; a test compares them with the core's.
METHODS = ("default", "bicubic", "back-projected", "aligned", "gpemsr")


@click.command(context_settings=CONTEXT)
@axes_options
@click.argument("stack", type=STACK)
@click.option("--low", type=PATH, help="The slice at low magnification: an image, or a stack.")
@click.option("--at", "z", type=int, metavar="Z", help="Slice of STACK that LOW is.")
@click.option("-o", "--out", type=PATH, required=True, help="OUT.zarr to write.")
@click.option(
    "--mode",
    type=click.Choice(["neighbours", "stack"]),
    default="neighbours",
    help="One low slice between full neighbours, or all slices of STACK low.",
)
@click.option("--factor", type=float, help="Pixels of STACK along a pixel of LOW.  [default: 8]")
@click.option("--low-voxel", type=float, metavar="NM", help="Pixel size of LOW, not the factor.")
@click.option("--method", type=click.Choice(METHODS), default="default", help="How to enlarge.")
@click.option(
    "--placement",
    metavar="DEG,SCALE,DY,DX",
    help="Where STACK's pixels lie in LOW enlarged: turn, scale, shift in px.  [default: found]",
)
@click.option(
    "--low-slice", type=int, default=0, metavar="N", help="Slice of LOW, if it is a stack."
)
@slices_option("Slices to enlarge, with --mode stack.  [default: all]")
@click.option("--weights", type=WEIGHTS, help="Weights of the network: a file or a folder.")
@click.option("--overlay", is_flag=True, help="Store only the chunks that change.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@device_option
@json_option
def command(**choices: Any) -> None:
    """Make slices at full resolution that exist only at low magnification.

    Slice Z of STACK becomes LOW enlarged, with the detail that the slices before
    and after it let expect; reduced by area it is LOW again.  Where LOW lies on the
    stack is found.  OUT.zarr also gets the synthesised pixels, a confidence and the
    record; sff-napari verify checks it, sff-napari revert takes it back.  With one
    neighbour that one counts alone; without, LOW is enlarged by what it shows.

    With --mode stack all of STACK is at low magnification, and OUT.zarr has its
    slices enlarged.
    """
    from sff_napari.devices import choose_device

    choose_device(choices["device"])
    with open_named(choices["stack"]) as stack, progress_bar() as progress:
        work = _one_slice if choices["mode"] == "neighbours" else _whole_stack
        found = work(stack, choices, progress)
    for sentence in found.pop("notes"):
        click.echo(sentence, err=True)
    text = found.pop("text")
    if choices["as_json"]:
        echo_json(found)
    else:
        click.echo(text)


def _one_slice(stack: Stack, choices: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    from sff_napari.errors import InputError
    from sff_napari.low_magnification import enlarge
    from sff_napari.low_magnification.frame import check_factor
    from sff_napari.progress import Reporter
    from sff_napari.stacks import check_output
    from sff_napari.volumes.enlarged_slice import EnlargedSlice, write_enlarged

    z, out = choices["z"], choices["out"]
    if choices["low"] is None or z is None:
        raise InputError(
            "Name the low-magnification slice with --low and its number with --at, or use "
            "--mode stack for a stack that is all low."
        )
    if choices["slices"] is not None:
        raise InputError("--slices is for --mode stack: name the slice with --at.")
    if not 0 <= z < len(stack):
        raise InputError(f"--at {z}: {stack.name} has slices 0 to {len(stack) - 1}.")
    check_output(out, overwrite=choices["overwrite"])
    low, low_name, low_voxel = _low_slice(choices["low"], choices["low_slice"])
    factor = _factor(choices, stack, low_voxel)
    numbers = [n if 0 <= n < len(stack) else None for n in (z - 1, z + 1)]
    images = [None if n is None else stack[n] for n in numbers]
    reporter = Reporter(progress)
    made = enlarge(
        low,
        images[0],
        images[1],
        factor=check_factor(low.shape, factor, None),
        placement=_placement(choices["placement"], (stack.shape[1], stack.shape[2])),
        method=choices["method"],
        weights=choices["weights"],
        device=choices["device"],
        progress=_share(reporter, 0.0, 0.7),
    )
    made = made.on_stack(stack.shape[1:], stack.dtype)
    previous, following = (
        n if name in made.report["used"] else None
        for name, n in zip(("previous", "following"), numbers, strict=True)
    )
    source = {"name": low_name, "sha256": hashlib.sha256(low.tobytes()).hexdigest()}
    one = EnlargedSlice(z, made, previous, following, source)
    done = write_enlarged(
        choices["stack"],
        stack,
        one,
        out,
        overlay=choices["overlay"],
        overwrite=choices["overwrite"],
        progress=_share(reporter, 0.7, 1.0),
    )
    return {
        "out": str(out),
        "slice": z,
        "name": one.name,
        **made.report,
        "notes": [*done.outcome.notes],
        "text": f"Slice {z} enlarged {factor:g} times in {made.report['seconds']:.1f} s, "
        f"{100 * made.report['synthesised']:.0f} % of its energy synthesised; see {out}.",
    }


def _whole_stack(
    stack: Stack, choices: dict[str, Any], progress: ProgressCallback
) -> dict[str, Any]:
    from sff_napari.errors import InputError
    from sff_napari.stacks import check_output
    from sff_napari.volumes.enlarged_stack import write_enlarged_stack

    for name in ("low", "z", "placement"):
        if choices[name] is not None:
            raise InputError("--low, --at and --placement are for one slice: leave --mode out.")
    if choices["overlay"]:
        raise InputError("--overlay is for one slice: an enlarged stack is a new one.")
    if choices["low_voxel"] is not None:
        raise InputError("--low-voxel is for one slice: give --factor.")
    check_output(choices["out"], overwrite=choices["overwrite"])
    numbers = None if choices["slices"] is None else stack.parse_slices(choices["slices"])
    record = write_enlarged_stack(
        choices["out"],
        stack,
        factor=8 if choices["factor"] is None else choices["factor"],
        slices=numbers,
        method=choices["method"],
        weights=choices["weights"],
        device=choices["device"],
        overwrite=choices["overwrite"],
        progress=progress,
    )
    count = len(record["slices"])
    return {
        "out": str(choices["out"]),
        **record,
        "notes": [],
        "text": f"{count} slice{'s' * (count > 1)} enlarged {record['factor']} times in "
        f"{record['seconds']:.1f} s; see {choices['out']}.",
    }


def _low_slice(path: Path, number: int) -> tuple[Any, str, float | None]:
    """Return the low slice, its name, and its pixel size in nm if the file says it."""
    import numpy as np

    from sff_napari.errors import InputError
    from sff_napari.stacks import open_stack

    with open_stack(path) as low:
        if not 0 <= number < len(low):
            raise InputError(f"--low-slice {number}: {low.name} has slices 0 to {len(low) - 1}.")
        size = None if low.voxel_size is None else float(low.voxel_size[2])
        return np.asarray(low[number]), path.name, size


def _factor(choices: dict[str, Any], stack: Stack, low_voxel: float | None) -> float:
    """Return by how much the low slice is enlarged, from what was given."""
    from sff_napari.errors import InputError

    if choices["low_voxel"] is None:
        return 8.0 if choices["factor"] is None else float(choices["factor"])
    if choices["factor"] is not None:
        raise InputError("Give --factor or --low-voxel, not both.")
    if stack.voxel_size is None:
        raise InputError(
            f"{stack.name} does not say its pixel size: give --factor instead of --low-voxel."
        )
    ratio = float(choices["low_voxel"]) / float(stack.voxel_size[2])
    if abs(ratio - round(ratio)) > 0.02 * ratio:
        raise InputError(
            f"--low-voxel {choices['low_voxel']:g} is {ratio:.2f} times the stack's "
            f"{stack.voxel_size[2]:g} nm: only whole multiples can be enlarged, resample it first."
        )
    return float(round(ratio))


def _placement(text: str | None, shape: tuple[int, int]) -> Similarity | None:
    from sff_napari.alignment import Similarity
    from sff_napari.errors import InputError

    if text is None:
        return None
    try:
        degrees, scale, dy, dx = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--placement {text!r} is not four numbers: turn in degrees, scale, shift in y and x."
        ) from error
    if not 0.5 <= scale <= 2:
        raise InputError(f"--placement {text!r}: the scale lies between 0.5 and 2.")
    return Similarity(degrees, scale, (dy, dx), float("nan"), shape)


def _share(reporter: Any, start: float, stop: float) -> Callable[[float, str], None]:
    part = reporter.part(start, stop)

    def progress(share: float, text: str) -> None:
        part(share, text)

    return progress
