"""Files of microscopes through rosettasciio, here in the place of the real one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sff_napari.errors import StackError
from sff_napari.stacks.microscope_files import open_micrograph, told_fast_axis


def install(monkeypatch: pytest.MonkeyPatch, signal: dict[str, Any] | Exception) -> None:
    """Put a rosettasciio in place that reads one ending."""
    package, reader = ModuleType("rsciio"), ModuleType("rsciio.fake")
    package.IO_PLUGINS = [{"file_extensions": ["dm3"], "api": "rsciio.fake"}]  # type: ignore[attr-defined]

    def file_reader(path: str) -> list[dict[str, Any]]:
        if isinstance(signal, Exception):
            raise signal
        return [signal]

    reader.file_reader = file_reader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rsciio", package)
    monkeypatch.setitem(sys.modules, "rsciio.fake", reader)


def test_an_image_with_its_pixel_size_and_fast_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.arange(48 * 40, dtype=np.int32).reshape(48, 40)
    axis = {"scale": 2.0, "units": "Å"}
    install(
        monkeypatch,
        {"data": image, "axes": [axis, axis], "original_metadata": {"Scan": {"Fast axis": "Y"}}},
    )
    found = open_micrograph(Path("a.dm3"))
    assert found is not None
    stack, fast = found
    assert fast == "y"
    np.testing.assert_array_equal(stack[0], image)
    assert stack.voxel_size == pytest.approx((0.2, 0.2, 0.2))


def test_damaged_and_unknown_files(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ValueError("cut off"))
    with pytest.raises(StackError, match="cut off"):
        open_micrograph(Path("a.dm3"))
    assert open_micrograph(Path("a.xyz")) is None
    install(monkeypatch, {"data": np.zeros((2, 2, 2, 2)), "axes": []})
    with pytest.raises(StackError, match="no image or stack"):
        open_micrograph(Path("a.dm3"))


def test_without_rosettasciio_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rsciio", None)
    assert open_micrograph(Path("a.dm3")) is None


@pytest.mark.parametrize(
    ("value", "axis"), [("X", "x"), (90, "y"), ("vertical", "y"), ("diagonal", None)]
)
def test_the_fast_axis_that_metadata_tell(value: object, axis: str | None) -> None:
    assert told_fast_axis({"a": [{"fast_scan_axis": value}], "b": 3}) == axis
