"""Tell filled tissue from true tissue: the network that judges the filling.

What is expected on average is blurred where tissue is uncertain.  The filling
network's other image is to look like tissue instead, and what tissue looks like
is best told by a network that sees both (Goodfellow et al. 2014), here with the
hinge loss on patches.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.parametrizations import spectral_norm

from sff_napari.training.inpainting import detail_share
from sff_napari.training.parallel import Ranks

BEGIN = 0.3
"""Share of the training after which the judge is heard: before, there is little to judge."""
_COUNTS = (2, 32, 64, 128)
"""Channels of the judge at full, half, a quarter and an eighth of the resolution."""
_LEAST = 0.2
"""Share of a patch that must have been filled for it to be judged."""
_FIRST_WEIGHT = 0.05
_WEIGHTS = (1e-4, 2.0)
"""Weight of the verdict at the start, and its range."""
_SPEED = 0.02
"""How fast the weight follows the lack of detail, a step."""
_KEPT = 0.98
"""Memory of the share of detail, a step."""


class Judge:
    """The judge, its optimiser, and how much it counts.

    Its weight rises while the filled tissue shows less fine detail than wanted and falls
    while it shows more.

    Parameters
    ----------
    texture : float
        The share of the true tissue's detail that is wanted.
    seed : int
        For its weights at the start.
    rate : float
        Learning rate at the start.
    ranks : Ranks
        This process among those of the run.
    """

    def __init__(self, texture: float, seed: int, rate: float, ranks: Ranks) -> None:
        self._texture, self._ranks = texture, ranks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _network().to(ranks.device)
        self._model: nn.Module = self._network
        if ranks.count > 1:
            self._model = DistributedDataParallel(self._network)
        self.optimiser = torch.optim.Adam(self._network.parameters(), lr=rate, betas=(0.5, 0.99))
        self.weight, self.detail = _FIRST_WEIGHT, texture

    def verdict(self, out: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return what the look of the filled tissue adds to the loss.

        Parameters
        ----------
        out : Tensor, (B, 3, Y, X)
            See `FillingNetwork.forward`.
        batch : dict of str to Tensor
            Samples of `band_sample`.
        """
        textured = out[:, 1:2].float()
        share = detail_share(textured.detach(), batch)
        (share,) = self._ranks.agree(share)
        self.detail += (1 - _KEPT) * (share - self.detail)
        change = math.exp(_SPEED * (self._texture - self.detail))
        self.weight = min(max(self.weight * change, _WEIGHTS[0]), _WEIGHTS[1])
        self._network.requires_grad_(False)
        found = self._judged(self._network, textured, batch)
        self._network.requires_grad_(True)
        return -self.weight * found.mean()

    def loss(self, out: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the judge's own loss: parameters as in `verdict`."""
        filled = out[:, 1:2].detach().float()
        both = torch.cat([filled, batch["clean"]])
        twice = {name: torch.cat([batch[name]] * 2) for name in ("hidden", "unfolded")}
        hidden = _patches(batch["hidden"])
        found = self._scores(self._model, both, twice)
        made, true = found.chunk(2)
        return F.relu(1 + made[hidden]).mean() + F.relu(1 - true[hidden]).mean()

    def state(self) -> dict[str, Any]:
        """Return all there is to go on with."""
        return {
            "network": self._network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "weight": self.weight,
            "detail": self.detail,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with what `state` returned."""
        self._network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.weight, self.detail = float(state["weight"]), float(state["detail"])

    def _judged(self, model: nn.Module, image: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the scores (N,) of the patches that hold filled tissue."""
        return self._scores(model, image, batch)[_patches(batch["hidden"])]

    def _scores(self, model: nn.Module, image: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the scores (B, 1, Y / 8, X / 8) of filled tissue within what lies around it."""
        hidden = batch["hidden"]
        shown = torch.where(hidden, image, batch["unfolded"])
        return cast(Tensor, model(torch.cat([shown, hidden.to(shown.dtype)], dim=1))).float()


def _network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for source, target in pairwise(_COUNTS):
        layers += [spectral_norm(nn.Conv2d(source, target, 4, stride=2, padding=1))]
        layers += [nn.LeakyReLU(0.2)]
    last = _COUNTS[-1]
    layers += [spectral_norm(nn.Conv2d(last, last, 3, padding=1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(last, 1, 3, padding=1)))


def _patches(hidden: Tensor) -> Tensor:
    """Return which patches (B, 1, Y / 8, X / 8) hold enough filled tissue."""
    return F.avg_pool2d(hidden.to(torch.float32), 8) > _LEAST
