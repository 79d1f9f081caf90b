"""Reading series and angles, and the commands, on real files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from sff_napari.errors import InputError, StackError
from sff_napari.tilt_series import make_phantom, simulate_tilts
from sff_napari.tilt_series.angles import read_tilts, write_tilts
from sff_napari.tilt_series.reading import read_series
from sff_napari.tilt_series.writing import FileCheckpoint, check_tomogram_path

IMAGES = np.random.default_rng(0).random((7, 12, 16)).astype(np.float32)
ANGLES = np.linspace(-45, 45, 7)


def write_mrc(path: Path, images: np.ndarray) -> None:
    with mrcfile.new(path) as file:
        file.set_data(images)
        file.voxel_size = 33.6


def test_mrc_with_rawtlt(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.st", IMAGES)
    write_tilts(tmp_path / "a.rawtlt", ANGLES)
    found = read_series(tmp_path / "a.st")
    np.testing.assert_array_equal(found.images, IMAGES)
    np.testing.assert_allclose(found.tilts, ANGLES)
    assert found.tilts_from == "a.rawtlt"
    assert found.pixel_size == pytest.approx(3.36)


def test_refined_angles_come_before_nominal_ones(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.ali", IMAGES)
    write_tilts(tmp_path / "a.rawtlt", ANGLES)
    write_tilts(tmp_path / "a.tlt", ANGLES + 0.25)
    found = read_series(tmp_path / "a.ali")
    np.testing.assert_allclose(found.tilts, ANGLES + 0.25)
    assert found.tilts_from == "a.tlt"


def test_mdoc_sections_in_the_order_of_the_images(tmp_path: Path) -> None:
    text = "PixelSpacing = 3.4\n" + "".join(
        f"[ZValue = {z}]\nTiltAngle = {ANGLES[z]}\nDefocus = -3\n" for z in (2, 0, 1)
    )
    (tmp_path / "a.mdoc").write_text(text)
    np.testing.assert_allclose(read_tilts(tmp_path / "a.mdoc"), ANGLES[:3])


def test_tiff_stack_and_folder(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGES)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(IMAGES):
        tifffile.imwrite(folder / f"i{number}.tif", image)
    write_tilts(tmp_path / "t.txt", ANGLES)
    for path in (tmp_path / "a.tif", folder):
        found = read_series(path, tmp_path / "t.txt")
        np.testing.assert_array_equal(found.images, IMAGES)


def test_hyperspy(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        group = file.create_group("Experiments/needle")
        group["data"] = IMAGES
        for number, (name, scale, units) in enumerate(
            [("Tilt", 15.0, "degrees"), ("y", 3.36, "nm"), ("x", 3.36, "nm")]
        ):
            axis = group.create_group(f"axis-{number}")
            axis.attrs.update({"name": name, "scale": scale, "offset": 0.0, "units": units})
        group["axis-0"].attrs["offset"] = -45.0
    found = read_series(tmp_path / "a.hspy")
    np.testing.assert_allclose(found.tilts, ANGLES)
    assert found.pixel_size == pytest.approx(3.36)


def test_berkeley_emd(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.emd", "w") as file:
        group = file.create_group("data/tomography")
        group["data"] = IMAGES
        group["dim1"] = np.radians(ANGLES)
        group["dim1"].attrs["units"] = "[rad]"
    np.testing.assert_allclose(read_series(tmp_path / "a.emd").tilts, ANGLES)


@pytest.mark.parametrize("text", ["", "ten\n", "[ZValue = 0]\n"])
def test_files_without_angles(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.mdoc").write_text(text)
    (tmp_path / "a.tlt").write_text(text)
    for name in ("a.mdoc", "a.tlt"):
        with pytest.raises(InputError):
            read_tilts(tmp_path / name)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="does not exist"):
        read_series(tmp_path / "none.mrc")
    write_mrc(tmp_path / "a.mrc", IMAGES)
    with pytest.raises(InputError, match="--tilts"):
        read_series(tmp_path / "a.mrc")
    write_tilts(tmp_path / "a.tlt", ANGLES[:3])
    with pytest.raises(InputError, match="3 angles, but a.mrc 7 images"):
        read_series(tmp_path / "a.mrc")


def test_a_checkpoint_is_taken_up_by_the_same_work_only(tmp_path: Path) -> None:
    target = tmp_path / "out.zarr"
    one = FileCheckpoint(target, {"method": "grid"})
    assert one.load() is None
    one.save({"volume": IMAGES})
    again = FileCheckpoint(target, {"method": "grid"})
    kept = again.load()
    assert kept is not None
    np.testing.assert_array_equal(kept["volume"], IMAGES)
    assert again.resumed
    assert FileCheckpoint(target, {"method": "sirt"}).load() is None
    one.path.write_bytes(b"broken")
    assert again.load() is None
    again.remove()
    assert not list(tmp_path.iterdir())


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sff_napari", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_commands_from_simulation_to_volume(tmp_path: Path) -> None:
    made = run("simulate-tilts", "-o", "a.mrc", "--shape", 12, 24, 16, "--seed", 3, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    before = (tmp_path / "a.mrc").read_bytes()
    done = run(
        "tomogram", "a.mrc", "-o", "v.zarr", "--thickness", 12, "--leave-out", "0,5-6",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["shape"] == [12, 24, 16]
    assert record["left_out"] == [0, 5, 6]
    group = zarr.open_group(tmp_path / "v.zarr", mode="r")
    assert group["0"].shape == (12, 24, 16)
    assert group["projections"].shape == group["residuals"].shape == (38, 24, 16)
    assert group.attrs["sff_napari"]["series"] == "a.mrc"
    assert (tmp_path / "a.mrc").read_bytes() == before
    again = run("tomogram", "a.mrc", "-o", "v.zarr", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    mrc = run(
        "tomogram", "a.mrc", "-o", "v.mrc", "--method", "wbp", "--thickness", 12, cwd=tmp_path
    )
    assert mrc.returncode == 0, mrc.stderr
    with mrcfile.open(tmp_path / "v.mrc") as file:
        assert file.data.shape == (12, 24, 16)
    assert json.loads((tmp_path / "v.record.json").read_text())["method"] == "wbp"


def test_bad_calls_end_with_one_sentence(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[2] = np.nan
    write_mrc(tmp_path / "a.mrc", images)
    write_tilts(tmp_path / "a.tlt", ANGLES)
    for words, sentence in (
        (("tomogram", "none.mrc", "-o", "v.zarr"), "does not exist"),
        (("tomogram", "a.mrc", "-o", "v.png"), ".zarr or .mrc"),
        (("tomogram", "a.mrc", "-o", "v.zarr"), "NaN"),
    ):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "v.zarr").exists()


def test_evaluation_prints_a_table(tmp_path: Path) -> None:
    done = run(
        "evaluate-tilts", "--seeds", "4", "--methods", "wbp", "--shape", 10, 20, 12, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[2:]] == [
        "wbp, best", "sirt, best", "wbp"
    ]  # fmt: skip
    assert run("evaluate-tilts", "--methods", "magic", cwd=tmp_path).returncode == 2


def test_real_needle_is_read(needle: Path) -> None:
    found = read_series(needle)
    assert found.images.shape == (77, 256, 256)
    assert found.tilts[0] == -76
    assert found.tilts[-1] == 76


def test_simulation_repeats_itself() -> None:
    volume = make_phantom((10, 20, 12), seed=1)
    one, two = (simulate_tilts(volume, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one.noisy, two.noisy)
    assert not np.array_equal(one.noisy, simulate_tilts(volume, seed=2).noisy)


def test_what_lies_beside_an_mrc_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "v.residuals.mrc").write_bytes(b"mine")
    with pytest.raises(StackError, match=r"v\.residuals\.mrc exists already"):
        check_tomogram_path(tmp_path / "v.mrc")
    check_tomogram_path(tmp_path / "v.mrc", overwrite=True)
    check_tomogram_path(tmp_path / "v.zarr")


def test_damaged_unfinished_work_is_not_gone_on_with(tmp_path: Path) -> None:
    kept = FileCheckpoint(tmp_path / "v.zarr", {"method": "grid"})
    kept.save({"volume": np.zeros((2, 3, 4), np.float32)})
    assert kept.load() is not None
    for damage in (b"", b"PK\x03\x04 no archive", kept.path.read_bytes()[:100]):
        kept.path.write_bytes(damage)
        assert kept.load() is None
