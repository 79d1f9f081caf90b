"""What all tests share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

# Before any Qt binding is loaded: without a display and without Xvfb, Qt draws into memory.
if (
    sys.platform.startswith("linux")
    and not os.environ.get("DISPLAY")
    and not os.environ.get("WAYLAND_DISPLAY")
    and shutil.which("Xvfb") is None
):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

# Slices in tests are small: threads that wait for each other on a busy machine cost more than
# they give.  Set before torch is loaded, and inherited by commands run as processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Errors that tests provoke do not belong in the user's log of last errors.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="sff-napari-tests-")

import hypothesis
import pytest

hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


INTEGRATION = ("commands", "docs", "napari_plugin", "volumes")
"""Folders of tests that go through a whole program: commands, the viewer, runs over volumes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test as `unit` or `integration`, by its folder."""
    tests = Path(__file__).resolve().parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0]
        whole = folder in INTEGRATION or item.path.stem.endswith("_command")
        item.add_marker("integration" if whole else "unit")


def find_data_folder() -> Path | None:
    """Return the folder with real EM stacks, or None."""
    root = Path(__file__).resolve().parent.parent
    named = os.environ.get("SFF_NAPARI_DATA")
    for place in [Path(named)] if named else [root.parent / "shared" / "data"]:
        if place.is_dir():
            return place
    return None


@pytest.fixture(scope="session")
def needle(data_folder: Path) -> Path:
    """Return a real tilt series in MRC with its angles beside it; skip where there is none."""
    place = data_folder / "tilt_series" / "HAADF.mrc"
    if not place.exists():
        pytest.skip("needs the HAADF series of etspy in SFF_NAPARI_DATA/tilt_series")
    return place


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder with real EM stacks; skip where there is none."""
    folder = find_data_folder()
    if folder is None:
        pytest.skip("needs real EM stacks: name their folder in SFF_NAPARI_DATA")
    return folder
