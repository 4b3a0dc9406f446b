"""Small line charts as inline SVG: sharp at any size, and coloured by the page's style sheet.

Classes rather than colours are written, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

WIDTH, HEIGHT = 560, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 46
MAX_POINTS = 400  # more cannot be told apart at this width

Point = tuple[float, float]
Span = tuple[float, float, float]
"""x, and an interval of y."""


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        label: for the legend and for screen readers.
        style: CSS class.
        points: (x, y), x ascending.
        dots: mark every point.
        spans: intervals of y, drawn behind the curve; those that are not finite are left out.
    """

    label: str
    style: str
    points: Sequence[Point]
    dots: bool = False
    spans: Sequence[Span] = ()


@dataclass(frozen=True)
class Mark:
    """A vertical line at ``x`` with a label."""

    label: str
    x: float


def smoothed(points: Sequence[Point], weight: float = 0.95) -> list[Point]:
    """An exponential moving average that starts as the plain mean of what there is."""
    result: list[Point] = []
    mean, mass = 0.0, 0.0
    for x, y in points:
        mass *= weight
        mean = (mass * mean + y) / (mass + 1)
        mass += 1
        result.append((x, mean))
    return result


def line_chart(
    lines: Sequence[Line], *, x_label: str, description: str, marks: Sequence[Mark] = ()
) -> str:
    """Draw lines in one frame; returns ``<svg>``, or an empty text if there is nothing to draw.

    Args:
        lines: curves; points that are not finite are left out.
        x_label: under the x axis.
        description: for screen readers.
        marks: vertical lines.
    """
    shown = [
        replace(line, points=finite, spans=[s for s in line.spans if all(map(math.isfinite, s))])
        for line in lines
        if (finite := [p for p in line.points if all(map(math.isfinite, p))])
    ]
    if not shown:
        return ""
    ends = [(x, y) for line in shown for x, *both in line.spans for y in both]
    frame = _Frame.around([*(p for line in shown for p in line.points), *ends])
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(description)}">',
        *frame.grid(x_label),
        *(frame.mark(mark) for mark in marks),
        *(frame.draw(line) for line in shown),
        "</svg>",
    ]
    return "".join(parts)


@dataclass(frozen=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @classmethod
    def around(cls, points: Sequence[Point]) -> _Frame:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        low, high = min(ys), max(ys)
        margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        x_low, x_high = min(xs), max(xs)
        return cls(x_low, x_high if x_high > x_low else x_low + 1, low - margin, high + margin)

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def grid(self, x_label: str) -> list[str]:
        parts = []
        right, base, middle = WIDTH - RIGHT, HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
        for value in _ticks(self.y_low, self.y_high, 5):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(_text(LEFT - 8, y + 4, "end", f"{value:g}"))
        for value in _ticks(self.x_low, self.x_high, 6):
            parts.append(_text(self.x(value), base + 18, "middle", f"{value:g}"))
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/>')
        parts.append(_text(middle, HEIGHT - 6, "middle", x_label))
        return parts

    def mark(self, mark: Mark) -> str:
        x = self.x(mark.x)
        # On the side of the line where there is room.
        anchor, shift = ("end", -6) if x > WIDTH / 2 else ("start", 6)
        return (
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            + _text(x + shift, TOP + 12, anchor, mark.label, "mark-label")
        )

    def draw(self, line: Line) -> str:
        points = [(self.x(x), self.y(y)) for x, y in _thinned(line.points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        title = f"<title>{escape(line.label)}</title>"
        parts = [f'<g class="{escape(line.style)}">{title}']
        for x, low, high in line.spans:
            x, low, high = self.x(x), self.y(low), self.y(high)
            parts.append(
                f'<line class="span" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
            )
        parts.append(f'<polyline points="{path}"/>')
        if line.dots:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in points]
        return "".join([*parts, "</g>"])


def _text(x: float, y: float, anchor: str, content: str, style: str = "tick") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}>{escape(content)}</text>'


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Every n-th point and the last."""
    stride = max(1, math.ceil(len(points) / MAX_POINTS))
    return [*points[:-1:stride], points[-1]]


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round values inside [low, high], roughly ``about`` of them."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step)
    count = math.floor(high / step) - first + 1
    return [round((first + index) * step, 10) for index in range(count)]
