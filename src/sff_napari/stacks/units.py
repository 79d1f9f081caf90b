"""Convert voxel sizes from the units that files use to nanometres."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sff_napari.stacks.description import VoxelSize

_NANOMETRES = {
    "angstrom": 0.1,
    "å": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometers": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometers": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}


def nanometres(value: float, unit: str | None) -> float | None:
    """Return a length in nm; None when the unit is unknown or the length makes no sense."""
    name = (unit or "").strip().encode().decode("unicode_escape", "ignore")
    for known in (unit or "", name):
        factor = _NANOMETRES.get(known.strip().lower())
        if factor is not None and math.isfinite(value) and value > 0:
            return value * factor
    return None


def voxel_size(values: Sequence[float | None], units: Sequence[str | None]) -> VoxelSize | None:
    """Return (z, y, x) in nm from three lengths and their units, None unless all are known."""
    sizes = [
        None if value is None else nanometres(float(value), unit)
        for value, unit in zip(values, units, strict=True)
    ]
    z, y, x = sizes
    return None if z is None or y is None or x is None else (z, y, x)
