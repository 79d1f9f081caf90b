"""Small stacks under the names that the documentation uses, and what its pages hold."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from sff_napari.commands import main
from sff_napari.simulation import Simulation, neuropil, random_realistic, simulate_realistic
from sff_napari.stacks import open_stack, stack_identity, write_folds, write_stack

ROOT = Path(__file__).parents[2]
PROGRAMS = frozenset(
    [
        "sff-napari",
        "sff-napari-train",
        "python",
        "pip",
        "napari",
        "make",
        "tox",
        "torchrun",
        "cp",
        "du",
        "cmp",
        "head",
        "git",
        "pre-commit",
        "xvfb-run",
    ]
)
"""First words of the lines that are commands, in fences where no ``$`` marks them."""
SIDE = 320
DEPTH = 14
FOLDED = (2, 7, 12)


@dataclass(frozen=True)
class Fence:
    """One fenced block of a page.

    Parameters
    ----------
    language : str
        What stands behind the fence; empty for commands and what they print.
    line : int
        Where it begins in the page, from 1.
    text : str
        What is in it.
    """

    language: str
    line: int
    text: str


def pages() -> list[Path]:
    """Return the README and all pages of the documentation that are written by hand."""
    made = {"gallery", "generated", "examples"}
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    found += [
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not made & set(path.relative_to(ROOT).parts)
    ]
    return [path for path in found if path.is_file()]


def fences(page: Path) -> list[Fence]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Fence(match[1], text.count("\n", 0, match.start()) + 1, match[2])
        for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def shell_commands(page: Path) -> list[tuple[int, str]]:
    """Return the shell commands of a page, each with its line; not what they print."""
    found = []
    for fence in fences(page):
        if fence.language not in ("", "sh", "bash", "console"):
            continue
        transcript = re.search(r"^\$ ", fence.text, re.MULTILINE) is not None
        text = re.sub(r"\\\n\s*", "", fence.text)
        for line in text.splitlines():
            if transcript and not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ").strip()
            if line.split(" ")[0] in PROGRAMS or line.startswith("srun "):
                found.append((fence.line, line))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each page to the tests of snippets and of commands."""
    for name, kept in (
        ("snippet_page", lambda page: any(one.language == "python" for one in fences(page))),
        ("command_page", shell_commands),
        ("any_page", lambda page: True),
    ):
        if name in metafunc.fixturenames:
            wanted = [page for page in pages() if kept(page)]
            names = [page.relative_to(ROOT).as_posix() for page in wanted]
            metafunc.parametrize(name, wanted, ids=names)


@pytest.fixture
def python_of(snippet_page: Path) -> list[Fence]:
    """Return the Python snippets of a page."""
    return [fence for fence in fences(snippet_page) if fence.language == "python"]


@pytest.fixture
def shell_of(command_page: Path) -> list[tuple[int, str]]:
    """Return the shell commands of a page."""
    return shell_commands(command_page)


@pytest.fixture
def commands_of() -> Callable[[Path], list[tuple[int, str]]]:
    """Return what gives the shell commands of a page."""
    return shell_commands


@dataclass(frozen=True)
class Tissue:
    """A synthetic stack (Z, Y, X) with folds on some slices, and the truth."""

    clean: NDArray[np.uint8]
    damaged: NDArray[np.uint8]
    folds: dict[int, Simulation]


def _folded(clean: NDArray[np.uint8]) -> Simulation:
    """Return the slice with a fold through its middle that the detection cannot miss."""
    for seed in range(100):
        fold = random_realistic((SIDE, SIDE), np.random.default_rng(seed)).fold
        y, x = np.mean(fold.vertices, axis=0)
        if max(abs(y - SIDE / 2), abs(x - SIDE / 2)) < SIDE / 8 and fold.length > SIDE * 0.9:
            return simulate_realistic(clean, np.random.default_rng(seed))
    raise AssertionError("no seed gives a fold through the middle")


@pytest.fixture(scope="session")
def tissue() -> Tissue:
    """Return the tissue of all pages."""
    clean = neuropil((DEPTH, SIDE, SIDE), seed=3)
    folds = {z: _folded(clean[z]) for z in FOLDED}
    damaged = clean.copy()
    for z, simulated in folds.items():
        damaged[z] = simulated.damaged
    return Tissue(clean, damaged, folds)


@pytest.fixture(scope="session")
def files(tissue: Tissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the stacks, folds and weights that pages name."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("cells.zarr", "volume.zarr", "my_stack.tif"):
        write_stack(folder / name, tissue.damaged, voxel_size=(40, 4, 4))
    write_stack(folder / "clean.tif", tissue.clean[:5])
    slices = folder / "my_slices"
    slices.mkdir()
    for z, image in enumerate(tissue.damaged[:4]):
        tifffile.imwrite(slices / f"slice_{z:03d}.tif", image)
    with open_stack(folder / "cells.zarr") as stack:
        found = {z: simulated.folds for z, simulated in tissue.folds.items()}
        write_folds(folder / "folds.json", found, stack_identity(stack))
    with open_stack(folder / "my_slices") as stack:
        write_folds(folder / "folds_of_slices.json", {2: found[2]}, stack_identity(stack))
    import sff_napari

    bundled = Path(sff_napari.__file__).parent / "weights"
    (folder / "runs/mine").mkdir(parents=True)
    for file in bundled.glob("*.safetensors"):
        shutil.copy(file, folder / "runs/mine")
    return folder


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of those files, which is the working directory, too."""
    place = tmp_path / "work"
    shutil.copytree(files, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def restored(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the restored volume that pages name ``corrected.zarr``."""
    out = tmp_path_factory.mktemp("restored") / "corrected.zarr"
    folds = files / "folds_of_slices.json"
    with pytest.raises(SystemExit) as ended:
        main(["restore", str(files / "my_slices"), "--folds", str(folds), "-o", str(out)])
    assert not ended.value.code
    return out


@pytest.fixture
def corrected(folder: Path, restored: Path) -> Path:
    """Return a copy of it in the working directory."""
    return shutil.copytree(restored, folder / "corrected.zarr")
