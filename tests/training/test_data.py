"""Clean triples from stacks."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sff_napari.errors import InputError, StackError
from sff_napari.training import DataSpec, TrainingSettings
from sff_napari.training.data import open_sets


def numbered(path: Path, depth: int, dtype: str = "uint8") -> Path:
    """Write a stack in which every pixel is its slice's number."""
    values = np.arange(depth, dtype=dtype)[:, None, None]
    tifffile.imwrite(
        path, np.broadcast_to(values, (depth, 70, 80)).copy(), photometric="minisblack"
    )
    return path


def drawn(triples, crop: int = 64) -> set[tuple[int, ...]]:
    """Return the slice numbers seen in many draws."""
    seen = set()
    for i in range(200):
        triple = triples.draw(np.random.default_rng(i), crop, crop)
        assert triple.shape == (3, crop, crop)
        assert triple.dtype == np.float32
        seen.add(tuple(round(float(v) * 255) for v in triple[:, 0, 0]))
    return seen


def test_triples_stay_in_their_range(tmp_path: Path, settings: TrainingSettings) -> None:
    path = str(numbered(tmp_path / "n.tif", 12))
    spec = DataSpec(path, ((0, 3), (5, 7)))
    held = (DataSpec(path, ((10, 11),)),)
    train, validate = open_sets(replace(settings, data=(spec,), validate=held))
    assert drawn(train) == {(0, 1, 2), (1, 2, 3), (5, 6, 7)}
    # Slice 11 has no slice after it; the neighbours of 10 lie partly outside the range.
    assert drawn(validate) == {(9, 10, 11)}


def test_the_last_slices_are_held_out(tmp_path: Path, settings: TrainingSettings) -> None:
    spec = DataSpec(str(numbered(tmp_path / "n.tif", 8)))
    train, validate = open_sets(replace(settings, data=(spec,), validate=(), val_slices=3))
    assert drawn(train) == {(0, 1, 2), (1, 2, 3), (2, 3, 4)}
    assert drawn(validate) == {(4, 5, 6), (5, 6, 7)}


def test_tiff_and_zarr_are_mixed(settings: TrainingSettings) -> None:
    train, validate = open_sets(settings)
    assert [Path(source.name).name for source in train.sources] == ["a.tif:0-4", "b.zarr"]
    assert (train.count, validate.count) == (3 + 4, 1)


def test_float_stacks_share_one_scale(tmp_path: Path, settings: TrainingSettings) -> None:
    values = np.linspace(-100, 900, 5 * 70 * 80, dtype=np.float32).reshape(5, 70, 80)
    tifffile.imwrite(tmp_path / "f.tif", values)
    spec = DataSpec(str(tmp_path / "f.tif"))
    train, _ = open_sets(replace(settings, data=(spec,)))
    triple = train.draw(np.random.default_rng(0), 64, 64)
    assert 0 <= triple.min() < triple.max() <= 1


def test_sources_travel_to_other_processes(settings: TrainingSettings) -> None:
    train, _ = open_sets(settings)
    first = train.draw(np.random.default_rng(5), 64, 64)
    copy = pickle.loads(pickle.dumps(train))
    assert np.array_equal(copy.draw(np.random.default_rng(5), 64, 64), first)
    train.close()
    assert np.array_equal(train.draw(np.random.default_rng(5), 64, 64), first)


def test_synthetic_neuropil_alone(settings: TrainingSettings) -> None:
    train, validate = open_sets(replace(settings, data=(), validate=(), neuropil=3))
    assert train.count == 1
    assert validate.count == 3
    triple = train.draw(np.random.default_rng(0), 64, 64)
    assert triple.std() > 0.05


def test_what_cannot_be_used(tmp_path: Path, settings: TrainingSettings) -> None:
    path = str(numbered(tmp_path / "n.tif", 4))
    with pytest.raises(InputError, match="slices 0 to 3"):
        open_sets(replace(settings, data=(DataSpec(path, ((0, 9),)),)))
    with pytest.raises(InputError, match="no three slices in a row"):
        open_sets(replace(settings, data=(DataSpec(path, ((0, 1), (3, 3))),)))
    with pytest.raises(InputError, match="no three slices in a row"):
        open_sets(replace(settings, data=(DataSpec(path),), validate=(), val_slices=3))
    with pytest.raises(InputError, match="nothing to validate on"):
        open_sets(replace(settings, validate=(DataSpec(path, ((3, 3),)),)))
    with pytest.raises(StackError):
        open_sets(replace(settings, data=(DataSpec(str(tmp_path / "none.tif")),)))
    train, _ = open_sets(replace(settings, data=(DataSpec(path),)))
    with pytest.raises(InputError, match="70 x 80 pixels, smaller than the crop of 72"):
        train.check(72)
