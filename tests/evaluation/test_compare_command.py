"""``sff-napari compare``: pictures of folds before and after."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sff_napari.commands.picture import difference_panels, mark_panel
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import write_folds, write_stack


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """Return a folder with a folded stack, its folds, and its slices as images."""
    folder = tmp_path_factory.mktemp("folded")
    stack = neuropil((3, 256, 256), seed=4)
    fold = Fold([(0, 90), (255, 150)], 6)
    stack[1] = simulate_fold(stack[1], fold, hidden_half_width=25, decay=0.05).damaged
    write_stack(folder / "stack.tif", stack)
    write_folds(folder / "folds.json", {1: [fold]})
    write_folds(folder / "one.json", {0: [fold]})
    for z in range(3):
        Image.fromarray(stack[z]).save(folder / f"{z}.png")
    return folder


def test_pictures_of_a_stack(command, folded, tmp_path):
    ended = command(
        "compare", folded / "stack.tif", "--folds", folded / "folds.json", "-o", tmp_path, "--json"
    )
    assert ended.code == 0, ended.err
    (record,) = ended.json()["slices"]
    assert record["slice"] == 1
    assert record["notes"] == []
    assert record["scores"]["near_after"] > record["scores"]["near_before"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "slice_1.png", "slice_1_fold_0.png",
    ]  # fmt: skip
    with Image.open(tmp_path / "slice_1.png") as picture:
        assert picture.width > 4 * 256


def test_pictures_of_one_image_and_its_neighbour(command, folded, tmp_path):
    ended = command(
        "compare", folded / "1.png", "--previous", folded / "0.png",
        "--folds", folded / "one.json", "-o", tmp_path,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.out.startswith("Slice 0, 1 fold: Near the fold")
    assert (tmp_path / "slice_0.png").exists()


def test_folds_are_detected(command, folded, tmp_path):
    ended = command("compare", folded / "stack.tif", "-o", tmp_path)
    assert ended.code == 0, ended.err
    assert "Slice 1, 1 fold" in ended.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1.png", "--folds", "one.json"], "no undamaged slice near it"),
        (["stack.tif", "--previous", "0.png"], "for a single image"),
        (["1.png", "--previous", "stack.tif"], "must be one image"),
        (["0.png", "--following", "2.png"], "no fold on these slices"),
    ],
)
def test_what_makes_no_sense(command, folded, tmp_path, arguments, says):
    named = [folded / part if "." in part else part for part in arguments]
    ended = command("compare", *named, "-o", tmp_path / "out")
    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_differences_share_one_scale():
    rng = np.random.default_rng(0)
    neighbour = rng.integers(60, 200, (64, 64)).astype(np.uint8)
    damaged = np.roll(neighbour, 9, axis=0)
    # Another exposure of the neighbour is no difference.
    darker = (20 + 0.7 * neighbour).astype(np.uint8)
    before, after = difference_panels([damaged, neighbour], darker)
    assert after.mean() < 0.1 * before.mean()
    share = np.zeros((64, 64))
    share[:, :32] = 1
    grey = np.full((64, 64, 3), 100, np.uint8)
    marked = mark_panel(grey, share)
    assert (marked[:, 32:] == 100).all()
    assert marked[0, 0, 0] > marked[0, 0, 2]
