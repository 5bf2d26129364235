"""Curves of a training as the points of SVG lines: loss, and scores. Pure numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenroom.ml.select import Scores

WIDTH, HEIGHT = 600, 160
_MOST_POINTS = 240


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Lines in a box of WIDTH × HEIGHT: as reported, and smoothed."""

    raw: str
    smooth: str
    low: float
    high: float
    last_step: int
    last: float


def of(losses: Sequence[tuple[int, float]], total_steps: int) -> Curve | None:
    """The curve of (step, loss) pairs; None while there are fewer than two."""
    if len(losses) < 2:
        return None
    every = -(-len(losses) // _MOST_POINTS)
    smoothed, level = [], losses[0][1]
    for step, loss in losses:
        level += 0.15 * (loss - level)
        smoothed.append((step, level))
    low = min(loss for _, loss in losses)
    high = max(loss for _, loss in losses)
    span = (high - low) or 1.0

    def points(pairs: Sequence[tuple[int, float]]) -> str:
        kept = [*pairs[::every], pairs[-1]]
        return " ".join(
            f"{step / max(total_steps, 1) * WIDTH:.1f},{(high - loss) / span * HEIGHT:.1f}"
            for step, loss in kept
        )

    return Curve(
        raw=points(losses),
        smooth=points(smoothed),
        low=low,
        high=high,
        last_step=losses[-1][0],
        last=smoothed[-1][1],
    )


@dataclass(frozen=True, kw_only=True)
class Line:
    """One score over the steps, 0 to 1 in a box of WIDTH × HEIGHT; points as (x, y, what it says)."""

    name: str
    points: str
    dots: list[tuple[float, float, str]]
    last: float


def of_scores(measured: Sequence[Scores], total_steps: int) -> list[Line]:
    """Likeness, adherence and copying of the measured checkpoints; empty when there are none."""
    if not measured:
        return []
    lines = []
    for name in ("likeness", "adherence", "copying"):
        dots = []
        for one in measured:
            value = float(getattr(one, name))
            x = one.step / max(total_steps, 1) * WIDTH
            y = (1 - min(max(value, 0.0), 1.0)) * HEIGHT
            dots.append((round(x, 1), round(y, 1), f"{name} {value:.2f} at step {one.step}"))
        points = " ".join(f"{x},{y}" for x, y, _ in dots)
        lines.append(Line(name=name, points=points, dots=dots, last=float(getattr(measured[-1], name))))
    return lines
