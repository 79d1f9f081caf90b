"""Convolve every pixel with its own separable 51 x 51 kernel.

The kernel of a pixel is the outer product of one vertical and one horizontal
kernel (after the paper, section 3.3, "two separable 1D kernels").  Because both
change from pixel to pixel, it cannot be done as two passes over the image; but
neither do the 51 x 51 patches have to be copied: a patch is a strided view of
the padded image, and one product of the vertical kernel with that view, then
one with the horizontal kernel, is all there is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

TAPS = 51
"""Length of the 1-D kernels (the supplement's Table 1: 51 channels a kernel)."""

_PIXELS_A_CALL = 1 << 18
"""Pixels a product on a GPU; on a CPU one row at a time stays in the cache and is fastest."""

_BAND = 128
"""Rows whose kernels are brought to float32 together where no gradient is wanted."""


def local_convolution(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Return the image filtered with one separable kernel a pixel.

    ``out(y, x) = sum_ij vertical_i(y, x) horizontal_j(y, x) image(y + i - r, x + j - r)``
    with ``r = taps // 2``; beyond the border the image goes on with its edge values.

    Parameters
    ----------
    image : Tensor, (B, 1, Y, X)
        Grey values.
    vertical, horizontal : Tensor, (B, taps, Y, X)
        Kernels; `taps` is odd.

    Returns
    -------
    Tensor, (B, 1, Y, X)
        Always float32 or float64: sums of 51 x 51 products are too coarse in bfloat16.
    """
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    radius = vertical.shape[1] // 2
    with torch.autocast(image.device.type, enabled=False):
        padded = functional.pad(image.to(dtype), (radius,) * 4, mode="replicate")
        if torch.is_grad_enabled() and any(t.requires_grad for t in (image, vertical, horizontal)):
            return _with_kernels(padded, vertical, horizontal)
        # The kernels take 102 values a pixel: in float32 only a band of them at a time.
        height = vertical.shape[2]
        bands = [slice(y, min(y + _BAND, height)) for y in range(0, height, _BAND)]
        parts = [
            _with_kernels(
                padded[:, :, band.start : band.stop + 2 * radius],
                vertical[:, :, band],
                horizontal[:, :, band],
            )
            for band in bands
        ]
        return torch.cat(parts, dim=2)


def _with_kernels(padded: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Return (B, 1, Y, X) from an image padded by the radius and kernels (B, taps, Y, X)."""
    # The taps last: a pixel's kernel is then one run of memory.
    v = vertical.to(padded.dtype).permute(0, 2, 3, 1).contiguous()
    h = horizontal.to(padded.dtype).permute(0, 2, 3, 1).contiguous()
    out: Tensor = _LocalConvolution.apply(padded[:, 0].contiguous(), v, h)
    return out[:, None]


class _LocalConvolution(torch.autograd.Function):
    """The convolution on a padded image, with its exact first derivatives."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, v: Tensor, h: Tensor) -> Tensor:
        """Return (B, Y, X) from padded (B, Y + taps - 1, X + taps - 1) and v, h (B, Y, X, taps)."""
        keep = any(ctx.needs_input_grad)
        out = v.new_empty(v.shape[:3])
        columns = torch.empty_like(v) if keep else None
        for b, y, stop in _calls(v):
            part = _along_columns(padded[b], v[b, y:stop], y)
            out[b, y:stop] = torch.linalg.vecdot(part, h[b, y:stop])
            if columns is not None:
                columns[b, y:stop] = part
        if columns is not None:
            ctx.save_for_backward(padded, v, h, columns)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients of padded, v and h."""
        padded, v, h, columns = ctx.saved_tensors
        grad = grads[0]
        grad_h = grad.unsqueeze(-1) * columns if ctx.needs_input_grad[2] else None
        grad_v = None
        if ctx.needs_input_grad[1]:
            # Transposed, the sum over the horizontal taps is the same product as before.
            across = padded.transpose(1, 2).contiguous()
            h_across = h.transpose(1, 2).contiguous()
            rows = torch.empty_like(h_across)
            for b, x, stop in _calls(h_across):
                rows[b, x:stop] = _along_columns(across[b], h_across[b, x:stop], x)
            grad_v = grad.unsqueeze(-1) * rows.transpose(1, 2)
        grad_image = _image_gradient(padded, v, h, grad) if ctx.needs_input_grad[0] else None
        return grad_image, grad_v, grad_h


def _calls(kernels: Tensor) -> list[tuple[int, int, int]]:
    """Return (batch index, first row, row after the last) of the products to make."""
    batch, height, width, _ = kernels.shape
    rows = max(1, _PIXELS_A_CALL // width) if kernels.is_cuda else 1
    return [(b, y, min(y + rows, height)) for b in range(batch) for y in range(0, height, rows)]


def _along_columns(padded: Tensor, v: Tensor, first: int) -> Tensor:
    """Return ``sum_i v_i(y, x) padded(y + i, x + j)`` for all j: (rows, X, taps).

    Parameters
    ----------
    padded : Tensor, (Y + taps - 1, X + taps - 1)
        One padded image, contiguous.
    v : Tensor, (rows, X, taps)
        The kernels of some rows.
    first : int
        The first of these rows.
    """
    rows, width, taps = v.shape
    pitch = padded.shape[1]
    # Over several rows the patches of one call start at every pixel of the padded rows,
    # so that one stride leads from each patch to the next; the last ones are cut off.
    count = (rows - 1) * pitch + width
    if rows > 1:
        v = functional.pad(v, (0, 0, 0, pitch - width)).reshape(rows * pitch, taps)[:count]
    patches = padded.as_strided(
        (count, taps, taps), (1, pitch, 1), padded.storage_offset() + first * pitch
    )
    out = torch.bmm(v.reshape(count, 1, taps), patches)[:, 0]
    if rows > 1:
        out = functional.pad(out, (0, 0, 0, rows * pitch - count)).reshape(rows, pitch, taps)
        return out[:, :width]
    return out[None]


def _image_gradient(padded: Tensor, v: Tensor, h: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the padded image; rarely wanted, so simple rather than fast."""
    height, width, taps = v.shape[1:]
    out = torch.zeros_like(padded)
    for i in range(taps):
        weighted = grad * v[..., i]
        for j in range(taps):
            out[:, i : i + height, j : j + width] += weighted * h[..., j]
    return out
