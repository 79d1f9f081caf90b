"""``sff-napari demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    device_option,
    echo_json,
    json_option,
    progress_bar,
    seed_option,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from sff_napari.folds import Fold
    from sff_napari.restoration import Restoration
    from sff_napari.stacks import Stack

Scores = dict[str, dict[str, float]]
"""PSNR in dB and SSIM of each way to deal with the slice."""

_SYNTHETIC = (3, 768, 768)
"""Shape (Z, Y, X) of the tissue that is made up where no stack is given."""


@click.command(context_settings=CONTEXT)
@click.option("--stack", type=PATH, help="Stack to try it on.  [default: synthetic tissue]")
@click.option("--slice", "z", type=int, help="Clean slice to fold.  [default: the middle one]")
@click.option("-o", "--out", type=PATH, default=Path("demo"), help="Folder for the results.")
@click.option(
    "--kind",
    type=click.Choice(["straight", "realistic"]),
    default="realistic",
    help="Straight as in the paper, or as real folds look.",
)
@seed_option
@device_option
@json_option
def command(
    stack: Path | None,
    z: int | None,
    out: Path,
    kind: str,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Simulate a fold on a clean slice, detect it, and restore the slice.

    Prints scores against the clean slice and writes demo.png, which shows
    damaged, detected line, flow, restored and clean side by side.
    """
    from sff_napari.commands.picture import write_png
    from sff_napari.detection import detect_folds
    from sff_napari.devices import choose_device
    from sff_napari.errors import InputError
    from sff_napari.io_atomic import explain, write_json
    from sff_napari.progress import Reporter
    from sff_napari.restoration import restore
    from sff_napari.simulation import simulate_realistic, simulate_straight
    from sff_napari.stacks import stack_identity, write_folds

    choose_device(device)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, out) from error
    with progress_bar() as progress:
        report = Reporter(progress)
        report(0.0, "reading slices")
        with _opened(stack, seed) as opened:
            if len(opened) < 2:
                raise InputError("The demonstration needs a stack of at least two slices.")
            z = len(opened) // 2 if z is None else z
            if not 0 <= z < len(opened):
                raise InputError(f"There is no slice {z}: the stack has {len(opened)}.")
            clean = opened[z]
            previous = opened[z - 1] if z > 0 else None
            following = opened[z + 1] if z + 1 < len(opened) else None
            identity = stack_identity(opened)
            name = opened.name
        report(0.15, "simulating a fold")
        make = simulate_straight if kind == "straight" else simulate_realistic
        simulated = make(clean, _generator(clean.shape, kind, seed))
        start = time.perf_counter()
        folds = detect_folds(simulated.damaged, device=device, progress=report.part(0.25, 0.5))
        detecting = time.perf_counter() - start
        if not folds:
            raise InputError(
                "The fold was simulated but not found, so nothing was restored: "
                "try another --seed or --slice."
            )
        start = time.perf_counter()
        result = restore(
            previous,
            simulated.damaged,
            following,
            folds,
            device=device,
            progress=report.part(0.5, 0.9),
        )
        restoring = time.perf_counter() - start
        report(0.9, "scoring")
        neighbours = [image for image in (previous, following) if image is not None]
        scores = _scores(clean, simulated.damaged, neighbours, result.restored)
        picture = _picture(clean, simulated.damaged, folds, result, scores)
        report(1.0, "writing")
    write_png(out / "demo.png", picture)
    write_folds(out / "folds.json", {z: folds}, identity)
    facts = {
        "stack": name,
        "slice": z,
        "seed": seed,
        "kind": kind,
        "folds_detected": len(folds),
        "seconds_detecting": round(detecting, 3),
        "seconds_restoring": round(restoring, 3),
        "scores": scores,
    }
    write_json(out / "scores.json", facts)
    _tell(facts, out / "demo.png", as_json)


def _tell(facts: dict[str, Any], picture: Path, as_json: bool) -> None:
    """Print what was found, or JSON."""
    if as_json:
        echo_json({**facts, "picture": str(picture)})
        return
    rows = [
        [key, f"{score['psnr']:.2f}", f"{score['ssim']:.3f}"]
        for key, score in facts["scores"].items()
    ]
    click.echo(
        f"Slice {facts['slice']} of {facts['stack']} with one simulated {facts['kind']} fold; "
        f"{facts['folds_detected']} line detected."
    )
    click.echo(table(["", "PSNR (dB)", "SSIM"], rows))
    detecting, restoring = facts["seconds_detecting"], facts["seconds_restoring"]
    click.echo(f"Detected in {detecting:.1f} s, restored in {restoring:.1f} s.")
    click.echo(f"See {picture}.")


def _scores(
    clean: NDArray[Any],
    damaged: NDArray[Any],
    neighbours: list[NDArray[Any]],
    restored: NDArray[Any],
) -> Scores:
    """Return how close each way to deal with the slice comes to the truth."""
    import numpy as np

    from sff_napari.evaluation.metrics import psnr, ssim

    truth = _to_255(clean, clean)
    images = {
        "damaged": damaged,
        "copy": neighbours[0],
        "mean": np.mean([image.astype(np.float32) for image in neighbours], axis=0),
        "restored": restored,
    }
    graded = {key: _to_255(image, clean) for key, image in images.items()}
    return {
        key: {"psnr": psnr(image, truth), "ssim": ssim(image, truth)}
        for key, image in graded.items()
    }


def _picture(
    clean: NDArray[Any],
    damaged: NDArray[Any],
    folds: Sequence[Fold],
    result: Restoration,
    scores: Scores,
) -> Image:
    """Return damaged slice, detected lines, flow, restored and clean slice side by side."""
    from sff_napari.commands.picture import flow_panel, fold_panel, grey_panel, side_by_side

    flow, longest = flow_panel(result.flow)
    return side_by_side(
        [
            (_scored("damaged", scores), grey_panel(damaged, clean)),
            (f"detected line{'s' * (len(folds) > 1)}", fold_panel(damaged, folds)),
            (f"flow, up to {longest:.0f} px; grey: no source", flow),
            (_scored("restored", scores), grey_panel(result.restored, clean)),
            ("clean", grey_panel(clean)),
        ]
    )


def _generator(shape: tuple[int, ...], kind: str, seed: int) -> np.random.Generator:
    """Return a generator whose first fold crosses the middle of the slice, for all to see."""
    import numpy as np

    from sff_napari.simulation import random_realistic, random_straight

    draw = random_straight if kind == "straight" else random_realistic
    height, width = shape
    for attempt in range(100):
        fold = draw((height, width), np.random.default_rng([seed, attempt])).fold
        y, x = np.mean(fold.vertices, axis=0)
        if abs(y / height - 0.5) < 0.15 and abs(x / width - 0.5) < 0.15:
            break
    return np.random.default_rng([seed, attempt])


def _opened(path: Path | None, seed: int) -> Stack:
    from sff_napari.simulation import neuropil
    from sff_napari.stacks import Stack, open_stack

    if path is not None:
        return open_stack(path)
    return Stack.from_array(neuropil(_SYNTHETIC, seed), name="synthetic tissue")


def _scored(name: str, scores: Scores) -> str:
    return f"{name}, {scores[name]['psnr']:.1f} dB"


def _to_255(image: Any, like: Any) -> Any:
    """Return grey values on the scale of 8-bit data, as the scores expect them."""
    from sff_napari.arrays import GreyScale

    return GreyScale.of(like).to_unit(image) * 255
