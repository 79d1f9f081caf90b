"""Show comparisons as tables of text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sff_napari.evaluation.segmentation import BAND, NEAR
from sff_napari.stacks.slice_numbers import slice_ranges

if TYPE_CHECKING:
    from sff_napari.evaluation.comparison import Evaluation


def main_table(found: Evaluation) -> str:
    """Return the scores against the clean slices."""
    head = (
        f"{'method':<22}{'PSNR':>14}{'SSIM':>16}{'in dB':>8}{'out dB':>8}"
        f"{'in SSIM':>9}{'out SSIM':>9}{'sharp':>7}{'spec':>7}{'in spec':>9}"
        f"{'EPE px':>13}{'95 %':>7}{'shift':>7}{'internal':>9}{'PSNR*':>7}{'SSIM*':>7}{'s':>8}"
    )
    with_fid = any(math.isfinite(row.fid) for row in found.rows)
    lines = [_title(found), head + f"{'FID':>8}" * with_fid]
    for row in found.rows:
        m, i = row.mean, row.interval
        if not math.isfinite(m["seconds"]):  # the clean slices: nothing to compare with themselves
            continue
        lines.append(
            f"{row.method:<22}"
            f"{mean_cell((m['psnr'], i['psnr']), 2, 7, 5)}"
            f"{mean_cell((m['ssim'], i['ssim']), 3, 8, 6)}"
            f"{cell(m['psnr_inside'], 2, 8)}{cell(m['psnr_outside'], 2, 8)}"
            f"{cell(m['ssim_inside'], 3, 9)}{cell(m['ssim_outside'], 3, 9)}"
            f"{cell(m['sharpness_inside'], 2, 7)}{cell(m['spectrum'], 2, 7)}"
            f"{cell(m['spectrum_inside'], 2, 9)}"
            f"{mean_cell((m['flow_error'], i['flow_error']), 2, 7, 4)}"
            f"{cell(m['flow_error_95'], 2, 7)}{cell(m['flow_shift'], 2, 7)}"
            f"{cell(m['flow_error_internal'], 2, 9)}{cell(m['psnr_unshifted'], 2, 7)}"
            f"{cell(m['ssim_unshifted'], 3, 7)}{cell(m['seconds'], 2, 8)}"
            + cell(row.fid, 1, 8)
            * with_fid
        )
    return "\n".join(lines)


def segmentation_table(found: Evaluation) -> str:
    """Return the scores of the segmentations."""
    head = (
        f"{'method':<22}{'split':>7}{'merge':>7}{'VOI':>15}{'recovered':>19}"
        f"{'ARAND':>16}{'recovered':>19}"
    )
    lines = [
        f"Segmentation against the {found.truth}; recovered: share of what the fold cost, "
        "with its 95 % interval"
    ]
    for title, end in (("whole slice", ""), (f"within {BAND} px of the corrupted region", NEAR)):
        lines += ["", title, head]
        for row in found.rows:
            m, i = row.mean, row.interval
            voi, arand = f"voi{end}", f"arand{end}"
            lines.append(
                f"{row.method:<22}{cell(m[f'voi_split{end}'], 2, 7)}"
                f"{cell(m[f'voi_merge{end}'], 2, 7)}"
                f"{mean_cell((m[voi], i[voi]), 3, 8, 5)}{_share(row.recovered[voi])}"
                f"{mean_cell((m[arand], i[arand]), 3, 9, 5)}{_share(row.recovered[arand])}"
            )
    return "\n".join(lines)


def _title(found: Evaluation) -> str:
    return (
        f"{found.folds} {found.kind} folds, slices {slice_ranges(found.slices)}, "
        f"seed {found.seed}{f'; {found.conditions}' * bool(found.conditions)}; "
        "mean ± 95 % interval; *: without the common shift"
    )


def _share(share: tuple[float, float, float]) -> str:
    value, low, high = (f"{100 * x:.0f}" if math.isfinite(x) else "-" for x in share)
    return f"{f'{value} % ({low}..{high})':>19}"


def cell(value: float, digits: int, width: int) -> str:
    """Return a number in a cell of a table, a dash where there is none."""
    return f"{'-':>{width}}" if not math.isfinite(value) else f"{value:>{width}.{digits}f}"


def mean_cell(both: tuple[float, float], digits: int, width: int, interval_width: int) -> str:
    """Return a mean and the half width of its interval in a cell; only what there is of them."""
    mean, interval = both
    shown = f" ±{cell(interval, digits, interval_width)}" if math.isfinite(interval) else ""
    return cell(mean, digits, width) + shown.ljust(interval_width + 2)
