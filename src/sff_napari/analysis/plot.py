"""Measured folds as a picture: the two plots of figure 2 of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sff_napari.analysis.report import amplitude_against_distance
from sff_napari.analysis.statistics import FoldStatistics

_SIZE = (520, 420)
_MARGINS = (62, 18, 20, 52)
"""Pixels kept free at the left, right, top and bottom."""
_STEEPEST = 5.0
_FARTHEST = 400.0
_GREY = (170, 170, 170)
_BLACK = (20, 20, 20)
_SIDES = ((200, 60, 40), (30, 90, 200))

Point = tuple[float, float]


class _Plot:
    """Axes with room for labels, and drawing in their units."""

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str],
        ticks: tuple[Sequence[float], Sequence[float]],
    ) -> None:
        self.image = Image.new("RGB", _SIZE, "white")
        self._draw = ImageDraw.Draw(self.image)
        self._x, self._y = x, y
        left, right, top, bottom = _MARGINS
        box = (left, top, _SIZE[0] - right, _SIZE[1] - bottom)
        font = ImageFont.load_default()
        for value in ticks[0]:
            at, _ = self._at((value, y[0]))
            self._draw.line([(at, box[3]), (at, box[3] + 5)], fill=_BLACK)
            self._draw.text((at, box[3] + 8), f"{value:g}", fill=_BLACK, font=font, anchor="ma")
        for value in ticks[1]:
            _, at = self._at((x[0], value))
            self._draw.line([(box[0] - 5, at), (box[0], at)], fill=_BLACK)
            self._draw.text((box[0] - 9, at), f"{value:g}", fill=_BLACK, font=font, anchor="rm")
        self._draw.rectangle(box, outline=_BLACK)
        middle = ((box[0] + box[2]) / 2, _SIZE[1] - 18)
        self._draw.text(middle, labels[0], fill=_BLACK, font=font, anchor="mm")
        text = Image.new("RGB", (box[3] - box[1], 16), "white")
        ImageDraw.Draw(text).text(
            (text.width / 2, 8), labels[1], fill=_BLACK, font=font, anchor="mm"
        )
        self.image.paste(text.rotate(90, expand=True), (4, box[1]))

    def _at(self, point: Point) -> Point:
        left, right, top, bottom = _MARGINS
        x = left + (point[0] - self._x[0]) / (self._x[1] - self._x[0]) * (_SIZE[0] - left - right)
        y = (point[1] - self._y[0]) / (self._y[1] - self._y[0]) * (_SIZE[1] - top - bottom)
        return x, _SIZE[1] - bottom - y

    def line(self, points: Sequence[Point], colour: tuple[int, int, int], width: int = 1) -> None:
        """Draw a line through points, cut to the axes; it stops where it leaves them."""
        part: list[Point] = []
        for x, y in [*points, (math.nan, math.nan)]:
            inside = self._x[0] <= x <= self._x[1] and self._y[0] <= y <= self._y[1]
            if inside:
                part.append(self._at((x, y)))
                continue
            if len(part) > 1:
                self._draw.line(part, fill=colour, width=width)
            part = []

    def dot(self, point: Point, colour: tuple[int, int, int]) -> None:
        """Draw a dot; outside of the axes it is not drawn."""
        if self._x[0] <= point[0] <= self._x[1] and self._y[0] <= point[1] <= self._y[1]:
            x, y = self._at(point)
            self._draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


def plot(folds: Sequence[FoldStatistics]) -> Image.Image:
    """Return the slopes of line and flow, and the amplitude against distance, side by side.

    Left a dot a side of each fold, and the curve on which they lie if the flow
    is perpendicular to the line.  Right the mean amplitude over all folds with
    its spread, grey for the side that moved less and black for the one that
    moved more, and the law fitted to each side of each fold.
    """
    plots = [_slopes(folds), _amplitudes(folds)]
    canvas = Image.new("RGB", (sum(p.width for p in plots), plots[0].height), "white")
    for number, one in enumerate(plots):
        canvas.paste(one, (number * _SIZE[0], 0))
    return canvas


def _slopes(folds: Sequence[FoldStatistics]) -> Image.Image:
    ticks = [-4, -2, 0, 2, 4]
    axes = (-_STEEPEST, _STEEPEST)
    labels = ("slope of the line (dy/dx)", "slope of the flow (dy/dx)")
    made = _Plot(axes, axes, labels, (ticks, ticks))
    for sign in (-1, 1):
        made.line([(sign * x, -sign / x) for x in np.geomspace(0.1, _STEEPEST, 200)], _GREY, 2)
    for fold in folds:
        for side, colour in zip(fold.sides, _SIDES, strict=True):
            made.dot((fold.line.slope, side.slope), colour)
    return made.image


def _amplitudes(folds: Sequence[FoldStatistics]) -> Image.Image:
    both = [
        [row for row in rows if row[3] > 0 and row[0] < _FARTHEST]
        for rows in amplitude_against_distance(folds)
    ]
    highest = max([1.0, *(mean + spread for rows in both for _, mean, spread, _ in rows)])
    step = 10 ** math.floor(math.log10(highest))
    step = next(s for s in (0.2 * step, 0.5 * step, step, 2 * step) if highest / s <= 6)
    labels = ("px from the dark line", "amplitude of the flow, px")
    ticks = np.arange(0, highest, step)
    made = _Plot(
        (0, _FARTHEST), (0, highest * 1.05), labels, ([0, 100, 200, 300, 400], list(ticks))
    )
    for rows in both:
        for distance, mean, spread, _ in rows:
            made.line([(distance, max(mean - spread, 0)), (distance, mean + spread)], _GREY, 2)
    for fold in folds:
        for side, line_colour in enumerate(_SIDES):
            distances = fold.profile[side, :, 0]
            points = zip(distances, fold.fitted[side], strict=True)
            made.line([(float(x), float(y)) for x, y in points], line_colour)
    for rows, colour in zip(both, (_GREY, _BLACK), strict=True):
        for distance, mean, _, _ in rows:
            made.dot((distance, mean), colour)
    return made.image
