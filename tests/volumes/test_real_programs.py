"""Other programs read what a volume run has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import tensorstore as ts
import zarr
from click.testing import CliRunner
from numpy.typing import NDArray
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import open_ome_zarr
from packaging.version import Version
from tests.volumes.conftest import Folds, run, write_ome

from sff_napari.stacks import open_stack, write_folds, write_stack

Made = dict[int, tuple[Path, Path]]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, damaged: tuple[NDArray[np.uint8], Folds]
) -> Made:
    """Return the damaged and the restored volume in zarr format 2 and 3."""
    volume, folds = damaged
    found = {}
    for zarr_format in (2, 3):
        folder = tmp_path_factory.mktemp(f"format{zarr_format}")
        names = {} if zarr_format == 2 else {"dimension_names": ["z", "y", "x"]}
        source = write_ome(folder / "in.zarr", volume, zarr_format=zarr_format, **names)
        run(source, folds, folder / "out.zarr")
        found[zarr_format] = (source, folder / "out.zarr")
    return found


@pytest.fixture(params=[2, 3])
def pair(made: Made, request: pytest.FixtureRequest) -> tuple[int, Path, Path]:
    """Return a zarr format, the damaged volume and the restored one."""
    zarr_format = int(request.param)
    return zarr_format, *made[zarr_format]


def pixels(path: Path) -> NDArray[Any]:
    return np.stack(list(open_stack(path)))


def test_the_validator_accepts_it(pair: tuple[int, Path, Path]) -> None:
    zarr_format, _, out = pair
    group = zarr.open_group(out, mode="r")
    image = open_ome_zarr(group)
    assert image.ome_zarr_version == {2: "0.4", 3: "0.5"}[zarr_format]
    label = open_ome_zarr(group["labels/synthesised"])
    assert type(label).__name__ == "ImageLabel"
    assert type(open_ome_zarr(group["labels"])).__name__ == "Labels"


@pytest.mark.skipif(
    Version(dask.__version__) < Version("2025.1"),
    reason="ome-zarr cannot open zarr arrays with a dask before 2025",
)
def test_the_reference_library_reads_it(pair: tuple[int, Path, Path]) -> None:
    _, _, out = pair
    location = parse_url(str(out))
    assert location is not None
    nodes = list(Reader(location)())
    image = nodes[0]
    assert np.array_equal(np.asarray(image.data[0]), pixels(out))
    assert len(image.data) == 3
    (label,) = [node for node in nodes if "labels/synthesised" in str(node.zarr)][:1]
    found = np.asarray(label.data[0])
    assert set(np.unique(found)) == {0, 1}
    assert found[1].any()
    assert not found[0].any()


def test_napari_opens_it_with_its_reader(pair: tuple[int, Path, Path]) -> None:
    from napari.components import ViewerModel
    from npe2 import PluginManager

    PluginManager.instance().discover()
    _, _, out = pair
    viewer = ViewerModel()
    viewer.open(str(out), plugin="napari-ome-zarr")
    kinds = {layer.name: type(layer).__name__ for layer in viewer.layers}
    assert sorted(kinds.values()) == ["Image", "Labels"]
    (image,) = [layer for layer in viewer.layers if type(layer).__name__ == "Image"]
    assert image.multiscale
    assert np.array_equal(np.asarray(image.data[0]), pixels(out))
    assert list(image.scale) == pytest.approx([40, 4, 4])
    (labels,) = [layer for layer in viewer.layers if type(layer).__name__ == "Labels"]
    assert np.asarray(labels.data[0])[1].any()


def test_tensorstore_reads_it(pair: tuple[int, Path, Path]) -> None:
    zarr_format, source, out = pair
    driver = {2: "zarr", 3: "zarr3"}[zarr_format]

    def read(path: Path) -> NDArray[Any]:
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
        return np.asarray(ts.open(spec, read=True, open=True).result().read().result())

    before, after = read(source / "s0"), read(out / "s0")
    assert np.array_equal(after, pixels(out))
    assert np.array_equal(before[[0, 2, 4]], after[[0, 2, 4]])
    assert not np.array_equal(before[1], after[1])
    displacement = read(out / "displacement")
    assert displacement.shape == (5, 2, *after.shape[1:])
    assert not displacement[[0, 2, 4]].any()


def test_the_formats_stay_what_they_were(pair: tuple[int, Path, Path]) -> None:
    zarr_format, source, out = pair
    for level in range(3):
        before: Any = zarr.open_array(source / f"s{level}", zarr_format=zarr_format, mode="r")
        after: Any = zarr.open_array(out / f"s{level}", zarr_format=zarr_format, mode="r")
        assert before.metadata.to_dict() == after.metadata.to_dict()


def test_the_validator_accepts_what_single_slices_are_written_to(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (3, 700, 600), dtype=np.uint8)
    write_stack(tmp_path / "a.zarr", volume, voxel_size=(40, 4, 4))
    assert open_ome_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r")).ome_zarr_version == "0.5"


def test_precomputed_of_a_restored_volume(made: Made, tmp_path: Path) -> None:
    from sff_napari.commands import group

    _, out = made[3]
    done = CliRunner().invoke(
        group, ["export", str(out), "--to", "displacement", "-o", str(tmp_path / "field")]
    )
    assert done.exit_code == 0, done.output
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/field/"}
    store = ts.open(spec, read=True, open=True).result()
    stored: Any = zarr.open_group(out, mode="r")["displacement"]
    found = store.read().result().transpose(2, 3, 1, 0)[:, ::-1]
    assert np.array_equal(found, np.asarray(stored[:]), equal_nan=True)


def test_fold_lines_in_json_lines_open_in_the_viewer(tmp_path: Path, folds: Any) -> None:
    pytest.importorskip("qtpy.QtCore", reason="Qt is not installed", exc_type=ImportError)
    from sff_napari.napari_plugin.io.fold_lines_reader import read_fold_lines

    write_folds(tmp_path / "folds.jsonl", folds)
    write_folds(tmp_path / "folds.json", folds)
    (one,) = read_fold_lines(str(tmp_path / "folds.jsonl"))
    (two,) = read_fold_lines(str(tmp_path / "folds.json"))
    assert all(np.array_equal(a, b) for a, b in zip(one[0], two[0], strict=True))
    assert len(one[0]) == 3
