"""Define what the filling network learns: least error, fine detail, and how sure it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.features import gaussian

_LEVELS = 3
"""Scales at which fine detail is compared, each twice as coarse as the one before."""
_SHARE = 0.2
"""Share of a window that must be hidden for it to count."""
_FAINT = 1e-4
"""Strength of detail, squared spreads, below which it does not matter."""
_WINDOW = 32
"""Side of the windows, px, within which the strength of detail is compared."""
_TEXTURED = 0.3
"""Weight of the squared error of the image with detail, which keeps it to what is likely."""
_DOUBT = 0.1
"""Weight of the likelihood, which must not decide what is expected."""
_SMOOTH = 8
"""Side of the squares, px, over which the error is averaged that the doubt is to tell."""


def filling_losses(out: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the terms of the loss of the filling network, over the hidden pixels.

    Parameters
    ----------
    out : Tensor, (B, 3, Y, X)
        See `FillingNetwork.forward`.
    batch : dict of str to Tensor
        Samples of `band_sample`.

    Returns
    -------
    dict of str to Tensor
        ``error`` and ``textured`` are mean squared errors in squared spreads;
        ``doubt`` is the likelihood of the error under the variance told.
    """
    clean, hidden = batch["clean"], batch["hidden"].to(out.dtype)
    count = hidden.sum().clamp_min(1)
    expected, textured, doubt = out.float().split(1, dim=1)
    error = (expected - clean).square()
    share = F.avg_pool2d(hidden, _SMOOTH)
    variance = F.avg_pool2d(error.detach() * hidden, _SMOOTH) / share.clamp_min(1e-3)
    log_variance = F.avg_pool2d(doubt, _SMOOTH)
    likelihood = (log_variance + variance * torch.exp(-log_variance)) * share
    return {
        "error": (error * hidden).sum() / count,
        "textured": _TEXTURED * ((textured - clean).square() * hidden).sum() / count,
        "doubt": _DOUBT * likelihood.sum() / share.sum().clamp_min(1e-3),
    }


def filling_distance(out: Tensor, batch: dict[str, Tensor], texture: float) -> Tensor:
    """Return what a validation compares: the losses, and how far detail is from what is wanted.

    Parameters as in `filling_losses`; `texture` is the share of the true tissue's
    detail that is wanted.
    """
    hidden = batch["hidden"].to(out.dtype)
    detail = _detail_distance(out[:, 1:2].float(), batch["clean"], hidden, texture)
    return detail + sum(filling_losses(out, batch).values(), out.new_zeros(()))


def detail_share(image: Tensor, batch: dict[str, Tensor]) -> float:
    """Return the fine detail of an image (B, 1, Y, X) as a share of the true tissue's."""
    hidden = batch["hidden"]
    return _strength(image, hidden) / max(_strength(batch["clean"], hidden), 1e-6)


def filling_scores(out: Tensor, batch: dict[str, Tensor]) -> dict[str, float]:
    """Return the scores of a batch, parameters as in `filling_losses`."""
    hidden = batch["hidden"]
    clean = batch["clean"]
    expected, textured, _ = out.float().split(1, dim=1)
    mean = (batch["previous"] + batch["following"]) / 2
    scores = {}
    for name, image in (("filled", expected), ("filled_textured", textured), ("mean_hidden", mean)):
        error = ((image - clean) * batch["spread"]).square()
        each = (error * hidden).sum(dim=(1, 2, 3)) / hidden.sum(dim=(1, 2, 3)).clamp(min=1)
        scores[f"psnr_{name}"] = float((-10 * torch.log10(each.clamp(min=1e-10))).mean())
    for name, image in (("detail", expected), ("detail_textured", textured), ("detail_mean", mean)):
        scores[name] = detail_share(image, batch)
    return scores


def filling_picture(out: Tensor, batch: dict[str, Tensor]) -> list[Tensor]:
    """Return images (B, 1, Y, X) in [0, 1]: both neighbours, the band, both fillings, the truth."""
    hidden = batch["hidden"]
    expected, textured, _ = out.float().split(1, dim=1)
    shown = [
        batch["previous"],
        batch["following"],
        torch.where(hidden, torch.full_like(expected, -9.0), batch["unfolded"]),
        torch.where(hidden, expected, batch["unfolded"]),
        torch.where(hidden, textured, batch["unfolded"]),
        batch["clean"],
    ]
    return [image * batch["spread"] + batch["mean"] for image in shown]


def _detail_distance(image: Tensor, clean: Tensor, hidden: Tensor, texture: float) -> Tensor:
    """Return the mean over scales and windows of the squared difference of relative strengths."""
    total = image.new_zeros(())
    for level in range(_LEVELS):
        if level:
            image, clean, hidden = (F.avg_pool2d(one, 2) for one in (image, clean, hidden))
        side = max(_WINDOW >> level, 1)
        if side > image.shape[-1]:
            continue
        counts = F.avg_pool2d(hidden, side, stride=max(side // 2, 1))
        share = counts[counts > _SHARE]
        if len(share):
            mine, want = (
                (F.avg_pool2d(_fine(one).square() * hidden, side, stride=max(side // 2, 1)))
                for one in (image, clean)
            )
            ratio = (mine[counts > _SHARE] / share + _FAINT).sqrt() / (
                want[counts > _SHARE] / share + _FAINT
            ).sqrt()
            total = total + (ratio - texture).square().clamp(max=4.0).mean()
    return total / _LEVELS


def _fine(image: Tensor) -> Tensor:
    """Return an image less its mean over 3 x 3 px."""
    return image - F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)


def _strength(image: Tensor, hidden: Tensor) -> float:
    """Return the root mean square of the detail finer than 2 px."""
    fine = image - gaussian(image, 2.0)
    return float((fine.square() * hidden).sum().div(hidden.sum().clamp(min=1)).sqrt())
