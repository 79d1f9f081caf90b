"""The judge of filled tissue."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from sff_napari.training.discriminator import Judge
from sff_napari.training.parallel import Ranks

HERE = Ranks(0, 1, torch.device("cpu"))


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return noise of which a band is hidden."""
    draw = torch.Generator().manual_seed(seed)
    clean = torch.randn((4, 1, 64, 64), generator=draw)
    hidden = torch.zeros(4, 1, 64, 64, dtype=torch.bool)
    hidden[..., 16:48] = True
    return {"clean": clean, "unfolded": clean, "hidden": hidden}


def output(textured: torch.Tensor) -> torch.Tensor:
    """Return an output of the filling network."""
    return torch.cat([torch.zeros_like(textured), textured, torch.zeros_like(textured)], dim=1)


def taught(judge: Judge, factor: float, steps: int) -> list[float]:
    """Show a judge filled tissue whose detail is too faint; return its losses."""
    losses = []
    for step in range(steps):
        given = batch(step)
        judge.optimiser.zero_grad()
        loss = judge.loss(output(factor * given["clean"].flip(-1)), given)
        loss.backward()
        judge.optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def test_it_learns_to_tell_what_is_too_faint_and_says_how_to_mend_it() -> None:
    judge = Judge(1.0, 0, 1e-3, HERE)
    losses = taught(judge, 0.3, 40)
    assert losses[-1] < 0.5 * losses[0]
    given = batch(99)
    faint = (0.3 * given["clean"].flip(-1)).requires_grad_()
    better = (0.9 * given["clean"].flip(-1)).detach()
    verdict = judge.verdict(output(faint), given)
    verdict.backward()
    assert float(judge.verdict(output(better), given)) < float(verdict.detach())
    assert faint.grad is not None
    # Only what is hidden, and what a patch sees around it, matters.
    assert float(faint.grad[~given["hidden"]].abs().max()) == 0
    # Its verdict teaches the filling network, not the judge.
    assert all(p.requires_grad for p in judge.optimiser.param_groups[0]["params"])


@pytest.mark.parametrize(("factor", "rises"), [(0.2, True), (2.0, False)])
def test_its_weight_follows_the_lack_of_detail(factor: float, rises: bool) -> None:
    judge = Judge(0.8, 0, 1e-3, HERE)
    before = judge.weight
    for step in range(30):
        given = batch(step)
        judge.verdict(output(factor * given["clean"]), given)
    assert (judge.weight > before) == rises
    assert judge.detail == pytest.approx(factor, abs=0.7)


def test_it_goes_on_where_it_stood() -> None:
    one = Judge(0.8, 0, 1e-3, HERE)
    taught(one, 0.3, 3)
    one.verdict(output(batch()["clean"]), batch())
    other = Judge(0.8, 1, 1e-3, HERE)
    other.restore(deepcopy(one.state()))
    assert taught(one, 0.3, 3) == taught(other, 0.3, 3)
    assert (one.weight, one.detail) == (other.weight, other.detail)
