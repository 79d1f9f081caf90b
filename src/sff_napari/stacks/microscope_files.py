"""Read formats of microscopes through rosettasciio, where it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sff_napari.errors import StackError
from sff_napari.stacks.stack import SUPPORTED, Stack

_FAST = ("fastaxis", "fastscanaxis", "fastscandirection", "fastscan")
_MEANS_X = ("x", "0", "horizontal", "row", "rows")
_MEANS_Y = ("y", "90", "vertical", "column", "columns")
_NM = {"nm": 1.0, "n_m": 1.0, "a": 0.1, "å": 0.1, "um": 1e3, "µm": 1e3, "m": 1e9}


def microscope_signal(path: Path) -> dict[str, Any] | None:
    """Return the first signal of a file as rosettasciio reads it: data, axes, metadata.

    None where rosettasciio is not installed or does not know the ending.

    Raises
    ------
    StackError
        If it cannot be read.
    """
    try:
        plugins = import_module("rsciio").IO_PLUGINS
    except ImportError:
        return None
    ending = path.suffix.lower().lstrip(".")
    for plugin in plugins:
        if ending in plugin["file_extensions"]:
            try:
                signal: dict[str, Any] = import_module(plugin["api"]).file_reader(str(path))[0]
                return {**signal, "data": np.asarray(signal["data"])}
            except Exception as error:  # readers of damaged files raise anything
                raise StackError(f"{path} could not be read by rosettasciio ({error}).") from error
    return None


def scale_in_nm(axis: Mapping[str, Any]) -> float | None:
    """Return the pixel size in nm that an axis says; None if it says none."""
    unit = str(axis.get("units", "")).strip("[]").lower()
    return float(axis["scale"]) * _NM[unit] if unit in _NM and "scale" in axis else None


def open_micrograph(path: Path) -> tuple[Stack, str | None] | None:
    """Return an image or a stack of a microscope's file, and the fast axis it tells.

    Signed and long integers become 32-bit floats.

    Parameters
    ----------
    path : Path
        DM3, DM4, SER, EMD and what else rosettasciio reads.

    Returns
    -------
    stack, fast_axis : Stack and {"x", "y"} or None
        None alone where rosettasciio is not installed or does not know the ending.

    Raises
    ------
    StackError
        If it cannot be read, or holds no images.
    """
    signal = microscope_signal(path)
    if signal is None:
        return None
    data, axes = signal["data"], list(signal.get("axes", ()))
    if data.ndim not in (2, 3) or data.dtype.kind not in "buif":
        raise StackError(f"{path} holds {data.ndim} axes of {data.dtype}: no image or stack.")
    if data.dtype.name not in SUPPORTED:
        data = data.astype(np.float32)
    size = scale_in_nm(axes[-1]) if axes else None
    about: dict[str, Any] = {"path": path, "name": path.name, "kind": "microscope"}
    if size:
        about["voxel_size"] = (size, scale_in_nm(axes[-2]) or size, size)
    return Stack.from_array(data, **about), told_fast_axis(
        {key: signal.get(key, {}) for key in ("metadata", "original_metadata")}
    )


def told_fast_axis(metadata: Mapping[str, Any]) -> str | None:
    """Return "x" or "y" if metadata name the axis along which the beam ran, else None.

    Examples
    --------
    >>> told_fast_axis({"Scan": {"Fast Axis": "Y"}})
    'y'
    """
    for key, value in _leaves(metadata):
        name = "".join(letter for letter in key.lower() if letter.isalpha())
        if name in _FAST:
            text = str(value).strip().lower()
            if text in _MEANS_X:
                return "x"
            if text in _MEANS_Y:
                return "y"
    return None


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, str(name))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _leaves(value, key)
    else:
        yield key, node
