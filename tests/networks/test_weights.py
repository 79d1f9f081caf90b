"""Weights files: what is written comes back, and every damage gets one clear sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sff_napari.errors import InputError, StackError, WeightsError
from sff_napari.networks import weights

KINDS = tuple(weights.NETWORKS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a set of small networks."""
    for kind in KINDS:
        torch.manual_seed(1)
        network = weights.NETWORKS[kind](0.05)
        record = weights.WeightsInfo(kind, 0.05, "stack.tif:0-3", 7, {"loss": 0.25})
        weights.save_weights(tmp_path / f"{kind}.safetensors", network, record)
    return tmp_path


def rewrite(file: Path, **changes: str) -> None:
    """Change the header of a weights file."""
    with safe_open(file, framework="pt") as handle:
        header = handle.metadata() | changes
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    save_file(tensors, file, metadata=header)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_back_as_they_were(kind: str, folder: Path) -> None:
    torch.manual_seed(1)
    network = weights.NETWORKS[kind](0.05).eval()
    for place in (folder, folder / f"{kind}.safetensors", str(folder)):
        loaded = weights.load(kind, place)
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        count = 4 if kind == "filling" else 1 if kind.startswith("scan") else 2
        given: tuple[Any, ...] = (*torch.rand(count, 1, 1, 32, 32),)
        if kind.startswith("enlarging"):
            given = torch.rand(1, 5, 32, 32), 8
        with torch.no_grad():
            assert torch.allclose(loaded(*given), network(*given), atol=5e-3)


def test_the_header_says_what_they_are(folder: Path) -> None:
    found = weights.info("fusion", folder)
    assert (found.kind, found.width, found.seed) == ("fusion", 0.05, 7)
    assert found.data == "stack.tif:0-3"
    assert found.scores == {"loss": 0.25}
    assert found.architecture == weights.ARCHITECTURE


def test_the_digest_depends_on_the_tensors_alone(folder: Path, tmp_path: Path) -> None:
    first = weights.digest("fusion", folder)
    assert len(first) == 64
    assert int(first, 16) > 0
    rewrite(folder / "fusion.safetensors", data="another note")
    assert weights.digest("fusion", folder) == first
    network = weights.load("fusion", folder)
    with torch.no_grad():
        network.output[2].bias += 1
    other = tmp_path / "other.safetensors"
    weights.save_weights(other, network, weights.WeightsInfo("fusion", 0.05))
    assert weights.digest("fusion", other) != first


def test_they_are_half_precision_but_for_the_statistics(folder: Path) -> None:
    with safe_open(folder / "unfolding.safetensors", framework="pt") as handle:
        for name in handle.keys():  # noqa: SIM118
            expected = torch.float32 if "running_" in name else torch.float16
            assert handle.get_tensor(name).dtype == expected


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no fusion weights at"):
        weights.load("fusion", tmp_path / "nowhere")
    (folder / "fusion.safetensors").unlink()
    with pytest.raises(WeightsError, match="no fusion weights at"):
        weights.load("fusion", folder)


def test_missing_bundled_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "BUNDLED", tmp_path / "gone")
    with pytest.raises(WeightsError, match="reinstall"):
        weights.load("fusion")


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "zip"])
def test_files_that_are_not_safetensors(damage: str, folder: Path) -> None:
    file = folder / "fusion.safetensors"
    data = file.read_bytes()
    if damage == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("data", "weights")
    else:
        file.write_bytes({"empty": b"", "text": b"weights", "cut": data[: len(data) // 2]}[damage])
    with pytest.raises(WeightsError, match="damaged"):
        weights.load("fusion", file)


def test_one_changed_byte_is_noticed(folder: Path) -> None:
    file = folder / "fusion.safetensors"
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="checksum"):
        weights.load("fusion", file)


def test_weights_for_something_else(folder: Path) -> None:
    file = folder / "fusion.safetensors"
    with pytest.raises(WeightsError, match="holds the fusion network"):
        weights.load("unfolding", file)
    rewrite(file, architecture="99")
    with pytest.raises(WeightsError, match="version 99"):
        weights.load("fusion", file)
    rewrite(file, architecture=weights.ARCHITECTURE, width="0.5")
    with pytest.raises(WeightsError, match="do not fit"):
        weights.load("fusion", file)
    rewrite(file, width="-1")
    with pytest.raises(WeightsError, match="do not fit"):
        weights.load("fusion", file)
    rewrite(file, width="wide")
    with pytest.raises(WeightsError, match="header"):
        weights.load("fusion", file)
    save_file({"a": torch.zeros(3)}, file)
    with pytest.raises(WeightsError, match="not written by"):
        weights.load("fusion", file)


def test_an_unknown_kind(folder: Path) -> None:
    with pytest.raises(InputError, match="no network 'repair'"):
        weights.load("repair", folder)


def test_a_diverged_network_is_not_written(tmp_path: Path) -> None:
    network = weights.NETWORKS["fusion"](0.05)
    with torch.no_grad():
        network.output[2].bias.fill_(float("nan"))
    with pytest.raises(WeightsError, match="diverged"):
        weights.save_weights(
            tmp_path / "x.safetensors", network, weights.WeightsInfo("fusion", 0.05)
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    network = weights.NETWORKS["fusion"](0.05)
    with pytest.raises(StackError, match="folder does not exist"):
        weights.save_weights(
            tmp_path / "a" / "x.safetensors", network, weights.WeightsInfo("fusion", 0.05)
        )
