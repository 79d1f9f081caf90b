"""Runs that are killed at any moment lose nothing and end as undisturbed ones.

SFF_NAPARI_KILLS says how many kills there are in all.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.volumes.conftest import Folds, damaged_volume, tree, write_ome

from sff_napari.stacks import write_folds
from sff_napari.volumes.verify.verify_volume import verify_volume

KILLS = int(os.environ.get("SFF_NAPARI_KILLS", "12"))
SCENES = ("copy", "overlay", "import", "over", "extend", "revert")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Return a function that has a run done in a process of its own."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_server.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready"

        def call(**request: Any) -> dict[str, Any]:
            print(json.dumps(request), file=server.stdin, flush=True)
            answer: dict[str, Any] = json.loads(server.stdout.readline())
            assert answer["killed"] or answer["status"] == 0
            return answer

        yield call
        server.stdin.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a source and its folds."""
    folder = tmp_path_factory.mktemp("kills")
    volume, folds = damaged_volume((5, 96, 128))
    write_ome(folder / "in.zarr", volume, chunks=(2, 48, 48), levels=2)
    plain: Folds = folds
    write_folds(folder / "folds.json", plain)
    from sff_napari.stacks import write_stack

    write_stack(folder / "in.tif", volume)
    return folder


@pytest.mark.parametrize("scene", SCENES)
def test_kills_lose_nothing(ask: Ask, place: Path, scene: str) -> None:
    rng = random.Random(f"{scene}-{KILLS}")
    undisturbed = place / f"{scene}-calm.zarr"
    common: dict[str, Any] = {
        "what": "revert" if scene == "revert" else "restore",
        "source": str(place / ("in.tif" if scene in ("import", "over") else "in.zarr")),
        "folds": ["z1-0", "z3-1"] if scene == "revert" else str(place / "folds.json"),
        "overlay": scene in ("overlay", "over"),
    }
    begun: Path | None = None
    if scene in ("extend", "revert"):
        begun = place / f"{scene}-begun.zarr"
        first = {**common, "what": "restore", "folds": str(place / "folds.json")}
        ask(**first, out=str(begun), slices=[1] if scene == "extend" else None)
        shutil.copytree(begun, undisturbed)
    assert not ask(**common, out=str(undisturbed))["killed"]
    assert verify_volume(undisturbed).good
    expected = tree(undisturbed)
    kills, rounds = 0, 0
    while kills < -(-KILLS // len(SCENES)):
        rounds += 1
        out = place / f"{scene}-{rounds}.zarr"
        if begun is not None:
            shutil.copytree(begun, out)
        # Kills at a write that is counted, just before or after it, or at any time at all.
        while True:
            how = rng.choice(["before", "after", "delay"])
            when = rng.uniform(0.0, 0.6) if how == "delay" else rng.randint(1, 25)
            if not ask(**common, out=str(out), **{how: when})["killed"]:
                break
            kills += 1
        assert tree(out) == expected
        assert not out.with_name(out.name + ".part").exists()
        shutil.rmtree(out)
