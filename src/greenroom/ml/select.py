"""What was measured at a checkpoint, the choice of the best one, and when more steps no longer help.

Pure numbers: draws nothing and knows no pictures. What each number means stands beside it in `Scores`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

LIKENESS_WEIGHT, ADHERENCE_WEIGHT, COPYING_WEIGHT, DRIFT_WEIGHT = 0.6, 0.3, 0.1, 0.1
"""score = 0.6 likeness + 0.3 (2 adherence - 1) - 0.1 copying - 0.1 drift. Likeness alone would reward copying."""

CONFIDENCE = 1.0
"""The choice goes by score - 1 standard error, so that one lucky picture does not decide it."""

PATIENCE = 2
"""A training ends when so many checkpoints in a row were no better than the best before them."""

LEAST_GAIN = 0.005
"""A score that rose by less did not rise."""

Word = Literal["excellent", "good", "weak"]


class Scores(BaseModel):
    """One checkpoint, measured over the same prompts and seeds as every other one of its run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    pictures: int
    """How many were drawn with the trigger."""
    likeness: float
    """0: as like as what the base draws without the LoRA. 1: as like as the set's own pictures are to each other."""
    likeness_low: float
    """The same less one standard error."""
    floor: float
    """Plain likeness of the base's pictures to the set; -1 to 1."""
    ceiling: float
    """Plain likeness of the set's own pictures to each other."""
    adherence: float
    """How often a picture resembles what the base draws for its prompt more than for another one; 0.5 is chance."""
    base_adherence: float
    """What the base itself reaches from one seed to the other: how far apart it draws these prompts."""
    diversity: float
    """How far its pictures differ from one another, against those of the base (1)."""
    copying: float
    """0: no picture is nearer to a training picture than those are to each other. 1: each is one of them."""
    drift: float
    """How far pictures without the trigger moved: 0 not at all, 1 as far as another seed would move them."""
    score: float
    lower_bound: float
    reference: Literal["held out", "set"]
    """What likeness was measured against: pictures that were kept out of the training, or the whole set."""


def combine(likeness: float, adherence: float, copying: float) -> float:
    """The score of one picture, before what is said of the checkpoint as a whole."""
    return LIKENESS_WEIGHT * likeness + ADHERENCE_WEIGHT * (2 * adherence - 1) - COPYING_WEIGHT * copying


def bounded(by_prompt: Sequence[float], drift: float) -> tuple[float, float]:
    """Score and lower bound of a checkpoint from the mean score of each of its prompts.

    By prompts and not by pictures, since two seeds of one prompt are no two opinions.
    """
    count = len(by_prompt)
    score = sum(by_prompt) / count - DRIFT_WEIGHT * drift
    return score, score - CONFIDENCE * standard_error(by_prompt)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of these values."""
    count = len(values)
    mean = sum(values) / count
    return math.sqrt(sum((value - mean) ** 2 for value in values) / max(count - 1, 1) / count)


def choose(measured: Sequence[Scores]) -> Scores | None:
    """The latest checkpoint that cannot be told from the best one; None when there is none.

    The best is the one with the highest lower bound, and those within its standard error of that count as good: the
    one-standard-error rule of Breiman et al. 1984. Among these the latest, since the learning rate has fallen further
    there, which shows in details that this few small pictures do not tell (benchmarks/selection.py).
    """
    return max(_as_good(measured), key=lambda one: one.step, default=None)


def is_over(measured: Sequence[Scores]) -> bool:
    """Whether more steps no longer help: PATIENCE checkpoints in a row without a better score."""
    best, waited = -math.inf, 0
    for one in sorted(measured, key=lambda one: one.step):
        if one.score > best + LEAST_GAIN:
            best, waited = one.score, 0
        else:
            waited += 1
    return waited >= PATIENCE


def best(measured: Sequence[Scores], keep: int) -> list[int]:
    """The steps whose weights are kept to choose from: the choice, the best `keep` - 1 others, the newest; in order."""
    good = {one.step for one in _as_good(measured)}
    ranked = sorted(
        measured,
        key=lambda one: (one.step not in good, -one.step if one.step in good else -one.lower_bound, one.step),
    )
    return sorted({one.step for one in ranked[: max(keep, 1)]} | {one.step for one in measured[-1:]})


def _as_good(measured: Sequence[Scores]) -> list[Scores]:
    top = max(measured, key=lambda one: one.lower_bound, default=None)
    if top is None:
        return []
    least = top.lower_bound - (top.score - top.lower_bound)
    return [one for one in measured if one.lower_bound >= least]


def word(likeness: float, adherence: float) -> Word:
    """excellent, good or weak."""
    if likeness >= 0.75 and adherence >= 0.7:
        return "excellent"
    return "good" if likeness >= 0.45 and adherence >= 0.6 else "weak"
