"""The examples of public functions run, and what they refer to is there."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import sff_napari

ROOT = Path(__file__).parents[2]
MORE = (
    "sff_napari.simulation.neuropil",
    "sff_napari.stacks.Stack",
    "sff_napari.stacks.open_stack",
    "sff_napari.stacks.parse_slices",
    "sff_napari.stacks.read_folds",
    "sff_napari.stacks.stack_identity",
    "sff_napari.stacks.write_folds",
    "sff_napari.stacks.write_stack",
    "sff_napari.volumes.find.detect_volume.detect_volume",
    "sff_napari.volumes.restore_volume.restore_volume",
    "sff_napari.volumes.revert.revert_folds",
    "sff_napari.volumes.verify.verify_volume.verify_volume",
)
"""What people call besides the names of the package itself."""
NAMES = [
    *(f"sff_napari.{name}" for name in sff_napari.__all__ if name != "__version__"),
    *MORE,
]


def _load(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str, folder: Path, corrected: Path) -> None:
    found = doctest.DocTestFinder(recurse=False).find(_load(name), name, globs={})
    assert found
    assert found[0].examples, f"{name} has no Examples"
    told: list[str] = []

    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found[0], out=told.append)

    assert outcome.failed == 0, "".join(told)


@pytest.mark.parametrize("name", NAMES)
def test_see_also_names_what_exists(name: str) -> None:
    text = _load(name).__doc__
    assert re.search(r"^ *See Also\n *-+$", text, re.MULTILINE), f"{name} has no See Also"
    section = re.split(r"^ *See Also\n *-+\n", text, flags=re.MULTILINE)[1].split("\n\n")[0]
    named = re.findall(r"^ *([\w.]+) : ", section, re.MULTILINE)
    assert named
    module = import_module(_load(name).__module__)
    for other in named:
        assert "." in other or hasattr(module, other) or hasattr(sff_napari, other), other
        if "." in other:
            _load(other)


def test_the_reference_lists_the_public_names() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    listed = set()
    for module, entries in re.findall(
        r"currentmodule:: (\S+)\n\n.. autosummary::\n   :toctree: generated\n\n((?:   \S+\n)+)",
        page,
    ):
        listed |= {f"{module}.{entry}" for entry in entries.split()}

    assert set(NAMES) <= listed
    for name in listed:
        _load(name)
