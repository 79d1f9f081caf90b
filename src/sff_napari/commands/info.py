"""``sff-napari info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    STACK,
    axes_options,
    chosen_axes,
    echo_json,
    json_option,
    open_named,
    progress_bar,
)

if TYPE_CHECKING:
    from sff_napari.stacks import Stack

_PACKAGES = ("numpy", "scipy", "torch", "zarr", "tifffile", "scikit-image", "napari")
_OTHER_PACKAGES = (
    "dask",
    "distributed",
    "fsspec",
    "h5py",
    "imagecodecs",
    "npe2",
    "opencv-python-headless",
    "opencv-python",
    "pyqt6",
    "pyside6",
    "tensorstore",
    "vispy",
)
"""Packages of a report besides those."""
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "PYTORCH_CUDA_ALLOC_CONF",
    "QT_API",
    "QT_QPA_PLATFORM",
    "XDG_SESSION_TYPE",
)
"""Environment variables that change how things run and say nothing of whose machine it is."""

_SAMPLE = 512
"""Half the side of the part whose grey values are given, px."""
_MOST_SHOWN = 20
"""Slices that are named at most; --json names all."""
_MOST_FILES = 200_000
"""Files that are counted at most: more take minutes."""


@click.command(context_settings=CONTEXT)
@axes_options
@click.argument("stack", type=STACK, required=False)
@click.option("--missing", is_flag=True, help="Also look for slices that hold no image.")
@click.option("--source", help="Where the volume below an overlay lies, if not beside it.")
@click.option("--report", is_flag=True, help="Print a text about this installation to paste.")
@json_option
def command(
    stack: Path | str | None, missing: bool, source: str | None, report: bool, as_json: bool
) -> None:
    """Say what a stack is; without STACK, what is installed here.

    With --report, print a text about the installation for the report of a
    problem: versions, platform, memory, devices, weights and their terms, and
    the last errors of the commands, without the folders of their paths.

    Only the description of the stack and a small part of its middle slice are
    read, of each slice a little more with --missing.  Of a volume that restore
    wrote it also says what it was made from and which slices were restored.
    """
    if report:
        if stack is not None or missing or source is not None or as_json:
            raise click.UsageError("--report is about the installation: give it alone.")
        click.echo(_report())
        return
    facts = _installation() if stack is None else _stack(stack, missing, source)
    if as_json:
        echo_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {_text(value, name)}")


def _opened(place: Path | str, source: str | None) -> Stack:
    from sff_napari.errors import InputError
    from sff_napari.stacks.overlay import open_overlay

    if source is None:
        return open_named(place)
    found = open_overlay(place, chosen_axes(), source) if isinstance(place, Path) else None
    if found is None:
        raise InputError(f"{place} is no overlay: leave out --source.")
    return found


def _made(place: Path | str) -> dict[str, Any]:
    """Return what the record of a restored volume says; nothing of other stacks."""
    from sff_napari.errors import StackError
    from sff_napari.stacks.uris import shown
    from sff_napari.volumes.run.restored_volume import PLAN, read_plan
    from sff_napari.volumes.verify.provenance import all_slices

    if not isinstance(place, Path) or not (place / PLAN).is_file():
        return {}
    try:
        made, slices = read_plan(place), all_slices(place)
    except StackError as error:
        return {"record": str(error)}
    facts: dict[str, Any] = {
        "restored from": shown(str(made["source"]["place"])),
        "kind of source": made["source"].get("kind_of_stack"),
        "restored by": made.get("program"),
        "only changes are stored": made["overlay"],
    }
    for status in ("restored", "interpolated", "failed", "reverted"):
        found = sorted(z for z, record in slices.items() if record["status"] == status)
        if found or status == "restored":
            facts[f"slices {status}"] = found
    return facts


def _stack(place: Path | str, missing: bool, source: str | None) -> dict[str, Any]:
    import numpy as np

    from sff_napari.stacks.uris import shown
    from sff_napari.volumes.find.missing import find_missing

    with _opened(place, source) as stack:
        depth, height, width = stack.shape
        z = depth // 2
        rows, columns = (slice(max(0, n // 2 - _SAMPLE), n // 2 + _SAMPLE) for n in (height, width))
        image = stack.read(z, rows, columns).astype(np.float64)
        finite = image[np.isfinite(image)]
        seen = f"the middle of slice {z}"
        facts = {
            "stack": shown(place),
            "kind": stack.kind,
            "shape (z, y, x)": list(stack.shape),
            "dtype": str(stack.dtype),
            "voxel size (z, y, x; nm)": None
            if stack.voxel_size is None
            else [round(size, 4) for size in stack.voxel_size],
            **({"first voxel (z, y, x)": list(stack.offset)} if any(stack.offset) else {}),
            "axes": stack.axes,
            "chunks": None if stack.chunks is None else list(stack.chunks),
            **stack.details,
            **_made(place),
            "megapixels": round(depth * height * width / 1e6, 3),
            "bytes uncompressed": depth * height * width * stack.dtype.itemsize,
            "bytes on disk": None if stack.path is None else bytes_on_disk(stack.path),
            f"range in {seen}": [float(finite.min()), float(finite.max())] if finite.size else None,
            f"mean in {seen}": round(float(finite.mean()), 3) if finite.size else None,
        }
        if stack.levels:
            facts["levels"] = [list(stack.shape), *(list(lv.stack.shape) for lv in stack.levels)]
        absent = stack.absent_parts(z)
        if absent:
            facts[f"chunks of slice {z} not stored"] = len(absent)
        if missing:
            with progress_bar() as progress:
                facts["slices without image"] = find_missing(stack, progress=progress)
            facts["slices with chunks not stored"] = [
                z for z in range(len(stack)) if stack.absent_parts(z)
            ]
    return facts


def bytes_on_disk(path: Path) -> int | None:
    """Return how much a file or folder takes, None for a folder of very many files.

    Parameters
    ----------
    path : Path
        Links are not followed.
    """
    if path.is_file():
        return path.stat().st_size
    total = 0
    for number, file in enumerate(path.rglob("*")):
        if number >= _MOST_FILES:
            return None
        if file.is_file() and not file.is_symlink():
            total += file.stat().st_size
    return total


def _installation() -> dict[str, Any]:
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import sff_napari
    from sff_napari.devices import available_devices, choose_device, describe_device
    from sff_napari.errors import WeightsError
    from sff_napari.networks import weights

    facts: dict[str, Any] = {
        "sff-napari": sff_napari.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }
    for name in _PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = None
    facts["devices"] = [describe_device(choose_device(name)) for name in available_devices()]
    for kind in weights.NETWORKS:
        if kind in weights.NOT_BUNDLED:
            continue
        try:
            about = weights.info(kind)
        except WeightsError:
            facts[f"{kind} weights"] = None
        else:
            facts[f"{kind} weights"] = f"width {about.width:g}, sha256 {about.sha256[:12]}"
    facts["terms of the weights"] = weights.TERMS
    return facts


def _report() -> str:
    """Return what is installed here as text, in the fences of Markdown."""
    import os
    import platform
    from importlib.metadata import distributions

    import psutil

    from sff_napari.commands.error_log import last_errors, without_folders

    facts = {**_installation(), "platform": platform.platform()}
    facts["memory"] = _size(psutil.virtual_memory().total)
    installed = {str(one.name).lower(): one.version for one in distributions() if one.name}
    facts |= {name: installed.get(name) for name in _OTHER_PACKAGES}
    facts |= {name: os.environ.get(name) for name in _VARIABLES}
    width = max(map(len, facts))
    lines = [f"{name.ljust(width)}  {_text(value)}" for name, value in facts.items()]
    errors = [line for one in last_errors() for line in without_folders(one).splitlines()]
    return "\n".join(
        ["```", *lines, "", "last errors of the commands:", *(errors or ["none"]), "```"]
    )


def _text(value: Any, name: str = "") -> str:
    if value is None:
        return "-"
    if name.startswith("bytes"):
        return _size(value)
    if name.startswith("slices") and isinstance(value, list):
        shown = [*map(str, value[:_MOST_SHOWN]), *(["..."] if len(value) > _MOST_SHOWN else [])]
        count = f"{len(value)}: " if len(value) > _MOST_SHOWN else ""
        return count + (", ".join(shown) or "none")
    if isinstance(value, list):
        return ", ".join(map(_item, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, float) else str(value)


def _item(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _size(count: int) -> str:
    """Return a number of bytes as people read it."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.3g} {unit}"
