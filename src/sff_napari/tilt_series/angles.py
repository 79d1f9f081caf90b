"""Tilt angles from the files that microscopes and IMOD write."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.io_atomic import explain, write_bytes

ENDINGS = (".tlt", ".rawtlt", ".mdoc")
"""Looked for beside a series, in this order: refined angles before nominal ones."""

_ANGLE = re.compile(r"^\s*TiltAngle\s*=\s*(\S+)", re.MULTILINE)
_SECTION = re.compile(r"^\s*\[ZValue\s*=\s*(\d+)\s*\]", re.MULTILINE)


def read_tilts(path: Path) -> NDArray[np.float64]:
    """Return the angles in degrees of a .tlt, .rawtlt, .mdoc or text file, in file order.

    Parameters
    ----------
    path : Path
        One angle a line, or SerialEM's .mdoc, whose sections are put in the
        order of their images.

    Raises
    ------
    StackError
        If the file cannot be read.
    InputError
        If it holds no angles.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise explain(error, path, "read") from error
    angles = _mdoc_angles(text, path) if path.suffix.lower() == ".mdoc" else _listed(text, path)
    if not angles:
        raise InputError(f"{path} holds no tilt angles: give a file with one angle a line.")
    return np.array(angles)


def _listed(text: str, path: Path) -> list[float]:
    angles = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split("#")[0].split()
        if not words:
            continue
        try:
            angles.append(float(words[0]))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: {words[0]!r} is not a tilt angle: give one angle a line."
            ) from error
    return angles


def _mdoc_angles(text: str, path: Path) -> list[float]:
    starts = list(_SECTION.finditer(text))
    if not starts:
        raise InputError(f"{path} has no section [ZValue = 0] of an image: is it an .mdoc file?")
    ends = [match.start() for match in starts[1:]] + [len(text)]
    found = {}
    for start, end in zip(starts, ends, strict=True):
        match = _ANGLE.search(text, start.end(), end)
        if match is None:
            raise InputError(f"{path}: the section of image {start.group(1)} has no TiltAngle.")
        try:
            found[int(start.group(1))] = float(match.group(1))
        except ValueError as error:
            raise InputError(f"{path}: {match.group(1)!r} is not a tilt angle.") from error
    return [found[number] for number in sorted(found)]


def tilts_beside(series: Path) -> Path | None:
    """Return the file with the angles of a series that lies beside it, if there is one.

    For ``A.mrc`` these are ``A.tlt``, ``A.rawtlt``, ``A.mrc.mdoc`` and ``A.mdoc``.
    """
    for ending in ENDINGS:
        for name in (series.with_suffix(ending), series.with_name(series.name + ending)):
            if name.is_file():
                return name
    return None


def write_tilts(path: Path, tilts: NDArray[np.float64]) -> None:
    """Write angles in degrees, one a line.

    Raises
    ------
    StackError
        If the file cannot be written.
    """
    write_bytes(path, "".join(f"{tilt:.4f}\n" for tilt in tilts).encode())
