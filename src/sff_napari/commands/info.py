"""``sff-napari info``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sff_napari.commands.base import CONTEXT, PATH, echo_json, json_option

_PACKAGES = ("numpy", "scipy", "torch", "zarr", "tifffile", "scikit-image", "napari")


@click.command(context_settings=CONTEXT)
@click.argument("stack", type=PATH, required=False)
@json_option
def command(stack: Path | None, as_json: bool) -> None:
    """Say what a stack is; without STACK, what is installed here."""
    facts = _installation() if stack is None else _stack(stack)
    if as_json:
        echo_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {_text(value)}")


def _stack(path: Path) -> dict[str, Any]:
    import numpy as np

    from sff_napari.stacks import open_stack

    with open_stack(path) as stack:
        middle = len(stack) // 2
        image = stack[middle].astype(np.float64)
        finite = image[np.isfinite(image)]
        seen = f"slice {middle}"
        return {
            "stack": str(path),
            "kind": stack.kind,
            "shape (z, y, x)": list(stack.shape),
            "dtype": str(stack.dtype),
            "voxel size (z, y, x; nm)": None
            if stack.voxel_size is None
            else [round(size, 4) for size in stack.voxel_size],
            "axes": stack.axes,
            "chunks": None if stack.chunks is None else list(stack.chunks),
            "bytes": int(np.prod(stack.shape, dtype=np.int64)) * stack.dtype.itemsize,
            f"range in {seen}": [float(finite.min()), float(finite.max())] if finite.size else None,
            f"mean in {seen}": round(float(finite.mean()), 3) if finite.size else None,
            **stack.details,
        }


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
    for kind in ("interpolation", "unfolding", "fusion"):
        try:
            about = weights.info(kind)
        except WeightsError:
            facts[f"{kind} weights"] = None
        else:
            facts[f"{kind} weights"] = f"width {about.width:g}, sha256 {about.sha256[:12]}"
    return facts


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
