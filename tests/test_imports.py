"""The core and its commands work without a viewer."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, requires
from importlib.resources import files

import pytest

VIEWER = {"napari", "npe2", "qtpy", "magicgui", "PyQt5", "PyQt6", "PySide6", "superqt", "vispy"}


def _loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_no_module_of_the_core_loads_the_viewer() -> None:
    loaded = _loaded_after(
        "import importlib, pkgutil, sff_napari\n"
        "for found in pkgutil.walk_packages(sff_napari.__path__, 'sff_napari.',\n"
        "        onerror=lambda name: sys.exit(name)):\n"
        "    if not found.name.startswith(('sff_napari.napari_plugin', 'sff_napari.__main__')):\n"
        "        importlib.import_module(found.name)\n"
        "assert 'sff_napari.folds.fold' in importlib.sys.modules"
    )
    assert "torch" in loaded
    assert not loaded & VIEWER


def test_importing_the_package_is_cheap() -> None:
    assert not _loaded_after("import sff_napari") & {"torch", "numpy", "zarr", *VIEWER}


def test_every_public_name_resolves() -> None:
    import sff_napari

    for name in sff_napari.__all__:
        assert getattr(sff_napari, name) is not None


@pytest.mark.parametrize("package", ["sff_napari.evaluation", "sff_napari.stacks"])
def test_names_that_are_loaded_late_are_there(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert not inspect.ismodule(getattr(module, name)), name
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError):
        module.no_such_name  # noqa: B018


def test_opening_the_panel_loads_no_library_that_takes_long() -> None:
    pytest.importorskip("napari", reason="the viewer is not installed")
    pytest.importorskip("qtpy.QtCore", reason="Qt is not installed", exc_type=ImportError)
    loaded = _loaded_after("import sff_napari.napari_plugin.widgets.panel")
    assert "napari" in loaded
    assert not loaded & {"torch", "zarr"}, "they would stall the window: load them in a worker"


def test_a_plain_installation_asks_for_neither_napari_nor_qt() -> None:
    plain = [line for line in requires("sff-napari") or [] if "extra ==" not in line]
    names = {re.split(r"[^\w.-]", line)[0].lower() for line in plain}
    assert {"numpy", "torch", "zarr", "click"} <= names
    assert not names & {name.lower() for name in VIEWER}


def test_what_the_package_carries() -> None:
    package = files("sff_napari")
    assert (package / "py.typed").is_file()
    assert (package / "napari.yaml").is_file()
    (manifest,) = entry_points(group="napari.manifest", name="sff-napari")
    assert manifest.value == "sff_napari:napari.yaml"
