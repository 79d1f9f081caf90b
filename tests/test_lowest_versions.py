"""The versions that continuous integration tests as the lowest are those that are declared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("formats", "remote", "cluster")


def test_constraints_are_the_declared_minima() -> None:
    if not (ROOT / "constraints-lowest.txt").exists():
        pytest.skip("needs a checkout")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"]]
    for extra in EXTRAS:
        declared += project["optional-dependencies"][extra]
    expected = {}
    for requirement in declared:
        found = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", requirement)
        assert found is not None, requirement
        expected[found[1]] = found[2]
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    # Of a minimum such as 1.26 the first release is meant, whatever its last number.
    assert set(pinned) == set(expected)
    for name, version in expected.items():
        assert pinned[name] == version or pinned[name].startswith(f"{version}."), name
