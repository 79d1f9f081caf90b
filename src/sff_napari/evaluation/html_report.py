"""A readable report beside an export: pictures before and after, scores, where pixels come from."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sff_napari import __version__
from sff_napari.evaluation.local_agreement import LocalAgreement
from sff_napari.evaluation.method_names import DEFAULTS, name_of
from sff_napari.evaluation.verdict import plain_verdict
from sff_napari.evaluation.without_truth import ACTS, NeighbourScores
from sff_napari.io_atomic import write_bytes

if TYPE_CHECKING:
    from sff_napari.sessions.export import ExportJob

NAME = "report.html"
SIDE = 420
"""Longer side of the pictures, px."""
_MOVED, _MADE_UP = (47, 157, 255), (226, 75, 200)
_STYLE = """
body { font-family: system-ui, sans-serif; max-width: 1320px; margin: 2em auto; color: #222; }
figure { display: inline-block; margin: 0 12px 12px 0; vertical-align: top; }
img { width: 420px; image-rendering: auto; display: block; }
figcaption { font-size: 90%; color: #555; }
td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
section { border-top: 1px solid #ccc; margin-top: 1.5em; }
.moved { color: #1473c4; } .made { color: #b3309b; }
"""


def local_time(stamp: str) -> str:
    """Return a time in ISO 8601 as a clock here shows it; what cannot be read stays as it is."""
    try:
        return f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return stamp


def write_report(folder: Path, job: ExportJob) -> Path:
    """Write ``report.html`` about an export into its folder.

    Parameters
    ----------
    folder : Path
        The folder that was exported.
    job : ExportJob
        What was exported.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    parts = []
    for (z, get), record in zip(job.patches.items(), job.records, strict=True):
        parts.append(_slice(z, job.read(z), get, record))
    now = datetime.now().astimezone()
    lines = sum(len(records) for records in job.folds.values())
    size = ""
    if job.voxel_size is not None:
        size = f", voxels of {' x '.join(f'{v:g}' for v in job.voxel_size)} nm (z, y, x)"
    name = html.escape(job.name)
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}, restored</title>
<style>{_STYLE}</style></head><body>
<h1>{name}</h1>
<p>{job.shape[0]} slices of {job.shape[1]} x {job.shape[2]} px ({job.dtype}){size};
{len(job.patches)} corrected, {lines} fold lines. Written {now:%Y-%m-%d %H:%M} (local time) by
sff-napari {__version__}. The original was not changed. The same in numbers: report.json.</p>
<p>Where pixels come from: grey, as they were; <b class="moved">blue</b>, observed but moved back to
their place; <b class="made">magenta</b>, made up from the neighbouring slices.</p>
{"".join(parts) or "<p>No slice was corrected.</p>"}
</body></html>
"""
    path = folder / NAME
    write_bytes(path, text.encode())
    return path


def _slice(
    z: int,
    damaged: NDArray[Any],
    get: Callable[[str], NDArray[Any] | None],
    record: Mapping[str, Any],
) -> str:
    """Return what is told of one slice."""
    restored, synthesised, flow = (get(key) for key in ("restored", "synthesised", "flow"))
    step = max(1, -(-max(damaged.shape) // SIDE))
    low, high = _limits(damaged)
    pictures = [("before", _grey(damaged, step, low, high))]
    origin = ""
    if restored is not None:
        pictures.append(("after", _grey(restored, step, low, high)))
        if synthesised is not None:
            picture = np.repeat(_grey(restored, step, low, high)[..., None], 3, axis=2)
            made = np.nan_to_num(synthesised) >= 0.5
            moved = np.zeros_like(made)
            if flow is not None:
                moved = ~made & (np.hypot(*np.nan_to_num(flow)) >= ACTS)
            for mask, colour in ((moved, _MOVED), (made, _MADE_UP)):
                part = mask[::step, ::step]
                picture[part] = (0.6 * picture[part] + 0.4 * np.array(colour)).astype(np.uint8)
            pictures.append(("where pixels come from", picture))
            origin = _row(
                "Pixels",
                f"{1 - moved.mean() - made.mean():.1%} as they were, {moved.mean():.1%} observed "
                f"and moved, {made.mean():.1%} made up",
            )
    figures = "".join(
        f'<figure><img alt="{name}" src="data:image/png;base64,{_png(picture)}">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, picture in pictures
    )
    return (
        f"<section><h2>Slice {z}: {html.escape(str(record.get('state', '')))}</h2>{figures}"
        f"<table>{origin}{_how(record)}</table></section>"
    )


def _how(record: Mapping[str, Any]) -> str:
    """Return the rows that say how a slice was made and scored."""
    report = dict(record.get("versions") or {}).get("report") or {}
    parameters = record.get("parameters") or {}
    methods = [
        name_of(str(report.get(stage) or parameters.get(stage) or default))
        for stage, default in DEFAULTS.items()
    ]
    beside = record.get("neighbours") or {}
    used = [
        ", ".join(map(str, beside[name])) for name in ("previous", "following") if beside.get(name)
    ]
    widths = [f"{2 * float(line['half_width']):.1f}" for line in record.get("lines") or ()]
    rows = _row("Made", local_time(str(record.get("time", ""))))
    rows += _row("From slices", " and ".join(used) or "unknown")
    rows += _row("Reference, unfolding, filling", "; ".join(methods))
    if widths:
        rows += _row("Full width of the dark line, px", ", ".join(widths))
    scores = record.get("scores") or {}
    if scores:
        numbers = NeighbourScores.from_dict(scores)
        local = LocalAgreement.from_dict(scores.get("local"))
        rows += _row(
            "Agreement near the fold",
            f"{numbers.near_before:.2f} before, {numbers.near_after:.2f} after"
            f" (clean slices {numbers.clean:.2f})",
        )
        rows += _row("What it means", plain_verdict(numbers, local))
    notes = report.get("notes") or []
    for note in [notes] if isinstance(notes, str) else notes:
        rows += _row("Note", str(note))
    if record.get("outdated"):
        rows += _row("Note", "The data of the stack were exchanged after this was made.")
    return rows


def _row(name: str, text: str) -> str:
    return f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"


def _limits(image: NDArray[Any]) -> tuple[float, float]:
    """Return the grey values shown as black and white."""
    finite = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _grey(image: NDArray[Any], step: int, low: float, high: float) -> NDArray[np.uint8]:
    """Return every `step`-th pixel of a slice as 8-bit grey values, (Y, X)."""
    small = np.nan_to_num(image[::step, ::step].astype(np.float64), nan=low)
    return np.asarray(np.clip((small - low) / (high - low) * 255, 0, 255), dtype=np.uint8)


def _png(picture: NDArray[np.uint8]) -> str:
    import cv2

    ok, data = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])
    assert ok
    return base64.b64encode(data.tobytes()).decode()


__all__ = ["NAME", "local_time", "write_report"]
