"""Training of the networks for scans: pairs, resuming, weights, card, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sff_napari as sff
from sff_napari.commands.train import main
from sff_napari.errors import Cancelled, InputError
from sff_napari.networks import weights
from sff_napari.networks.scan import Cgrdn, Plain12, ScanNetwork
from sff_napari.simulation import neuropil
from sff_napari.stacks import write_stack
from sff_napari.training.scan import ScanTraining, train_scan
from sff_napari.training.scan_samples import ScanPairs, clean_slice
from sff_napari.training.scan_trainer import ScanTrainer

SMALL = {"width": 0.1, "batch": 1, "crop": 32, "minutes": 0.01, "device": "cpu"}


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("tissue") / "tissue.tif", neuropil((2, 96, 96)))


def test_the_literature_is_exact() -> None:
    assert sum(p.numel() for p in Plain12().parameters()) == 1_027_905
    assert round(sum(p.numel() for p in Cgrdn().parameters()) / 1e6, 2) in (7.03, 7.04)


@pytest.mark.parametrize("kind", [ScanNetwork, Plain12, Cgrdn])
@pytest.mark.parametrize("shape", [(33, 50), (16, 17), (64, 64)])
def test_networks_take_any_size(kind: type[torch.nn.Module], shape: tuple[int, int]) -> None:
    out = kind(0.1)(torch.rand(1, 1, *shape))
    assert out.shape == (1, 1, *shape)
    assert bool(torch.isfinite(out).all())


def test_the_default_does_not_depend_on_the_scale_of_grey_values() -> None:
    torch.manual_seed(0)
    network = ScanNetwork(0.1)
    torch.nn.init.normal_(network.last.weight, std=0.1)
    image = torch.rand(1, 1, 48, 48)
    out = network(40 * image - 7)
    torch.testing.assert_close(out, 40 * network(image) - 7, rtol=1e-3, atol=1e-2)


def test_pairs_are_the_same_for_a_seed() -> None:
    image = clean_slice(neuropil((1, 96, 96))[0])
    assert image.shape == (48, 48)
    first, again = (ScanPairs([image], 32, 5, bank=2).batch(3) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == (3, 32, 32)
        assert np.isfinite(one).all()


@pytest.mark.parametrize("stage", ["scan", "scan_plain12", "scan_cgrdn"])
def test_a_run_makes_weights_that_restore(stage: str, tissue: Path, tmp_path: Path) -> None:
    settings = ScanTraining(
        data=(f"{tissue}:0",), validate=(f"{tissue}:1",), stages=(stage,), **SMALL
    )
    made = train_scan(settings, tmp_path / "run", command="sff-napari-train --for scan")
    info = weights.info(stage, made[stage])
    assert info.scores["loss"] > 0
    card = (tmp_path / "run" / "CARD.md").read_text(encoding="utf-8")
    assert info.sha256 in card
    assert "tissue.tif:0" in card
    assert str(tmp_path) not in card
    method = {"scan": "default"}.get(stage, stage.removeprefix("scan_"))
    image = neuropil((1, 64, 64))[0]
    result = sff.restore_scan(image, method=method, weights=tmp_path / "run")
    assert result.restored.shape == image.shape
    assert result.report["weights"] == info.sha256


def test_a_stopped_run_goes_on(tissue: Path, tmp_path: Path) -> None:
    settings = ScanTraining(data=(str(tissue),), **{**SMALL, "minutes": 0.02})
    out = tmp_path / "run"
    with pytest.raises(Cancelled, match="--resume"):
        train_scan(settings, out, stop=lambda: True)
    with pytest.raises(InputError, match="already holds"):
        train_scan(settings, out)
    with pytest.raises(InputError, match=r"other settings \(crop\)"):
        train_scan(replace(settings, crop=48), out, resume=True)
    assert train_scan(settings, out, resume=True)["scan"].exists()
    assert (out / "log.csv").read_text(encoding="utf-8").count("\nscan,") >= 1
    (out / "checkpoints" / "scan_last.pt").write_bytes(b"half")
    with pytest.raises(InputError, match="is damaged"):
        train_scan(settings, out, resume=True)


def test_a_loss_that_is_no_number_ends_the_training(
    tissue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScanTrainer, "_step", lambda *_: float("nan"))
    with pytest.raises(InputError, match="no longer finite"):
        train_scan(ScanTraining(data=(str(tissue),), **SMALL), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.pt"))


def test_the_command(tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = [str(tissue), "--for", "scan", "-o", str(out), "--width", "0.1", "--batch", "1"]
    main([*arguments, "--crop", "32", "--max-minutes", "0.01"])
    assert capsys.readouterr().out.strip() == str(out / "scan.safetensors")
    for extra, words in (
        (["--stages", "unfolding"], "no network 'unfolding'"),
        (["--neuropil", "3"], "not for --for scan"),
        (["--rate", "fast"], "is no number"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments[:-4], "--width", "0.1", *extra])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err
