"""Every Python snippet of the documentation runs, page by page, in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sff_napari.folds import Fold
from sff_napari.low_magnification.resampling import reduce_area
from sff_napari.stacks import Stack, read_folds
from sff_napari.tilt_series import make_phantom, simulate_tilts

DAMAGED = 7
"""The folded slice that the pages speak of."""


@pytest.fixture
def names(tissue: Any) -> dict[str, Any]:
    """Return what the pages take for granted: their reader has these images."""
    tilts = simulate_tilts(make_phantom((16, 32, 32), seed=1), np.linspace(-60, 60, 9))
    return {
        "series": tilts.noisy,
        "tilts": tilts.tilts,
        "low": reduce_area(torch.from_numpy(tissue.clean[DAMAGED]).float()[None, None], 8)[0, 0]
        .round()
        .to(torch.uint8)
        .numpy(),
        "image": tissue.damaged[DAMAGED],
        "previous": tissue.damaged[DAMAGED - 1],
        "damaged": tissue.damaged[DAMAGED],
        "following": tissue.damaged[DAMAGED + 1],
        "stack": Stack.from_array(tissue.damaged),
        "array": tissue.damaged,
        "masks": tissue.damaged[:2, :128, :128] < 40,
        "fold": Fold([(0, 150), (319, 170)], 6),
    }


def test_snippets_run_in_order(
    snippet_page: Path,
    python_of: list[Any],
    names: dict[str, Any],
    folder: Path,
    tissue: Any,
    request: pytest.FixtureRequest,
) -> None:
    if "corrected.zarr" in snippet_page.read_text(encoding="utf-8"):
        request.getfixturevalue("corrected")

    for fence in python_of:
        code = compile("\n" * fence.line + fence.text, str(snippet_page), "exec")
        exec(code, names)

    if snippet_page.name == "README.md":  # and they do what the page says
        clean = tissue.clean[DAMAGED].astype(float)
        error = np.abs(names["result"].restored - clean).mean()
        assert error < 0.8 * np.abs(tissue.damaged[DAMAGED] - clean).mean()


def test_the_folds_file_of_the_page_is_read(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/folds-file.md"
    text = page.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0]
    (tmp_path / "page.json").write_text(text)

    file = read_folds(tmp_path / "page.json")

    written = json.loads(text)
    file.check(tuple(written["stack"]["shape"]))
    assert [list(map(list, fold.vertices)) for fold in file.folds[7]] == [
        written["folds"][0]["vertices"]
    ]
