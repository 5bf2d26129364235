"""The choice of a checkpoint from numbers alone."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.ml import select
from greenroom.ml.select import Scores


def scores(step: int, score: float, spread: float = 0.0, **more: Any) -> Scores:
    facts = {
        "likeness": 0.5, "likeness_low": 0.4, "floor": 0.1, "ceiling": 0.5, "adherence": 0.8,
        "base_adherence": 0.9, "diversity": 1.0, "copying": 0.0, "drift": 0.1,
    }  # fmt: skip
    return Scores(
        step=step, pictures=24, score=score, lower_bound=score - spread, reference="set", **{**facts, **more}
    )


def test_the_choice_goes_by_the_lower_bound_and_not_by_the_score() -> None:
    sure, lucky = scores(50, 0.60, 0.02), scores(100, 0.65, 0.20)
    assert select.choose([sure, lucky]) is sure


def test_of_checkpoints_that_cannot_be_told_apart_the_latest_is_chosen() -> None:
    last = scores(100, 0.6)
    assert select.choose([scores(50, 0.6), last]) is last
    best, later, worse = scores(50, 0.60, 0.02), scores(100, 0.59, 0.02), scores(150, 0.57, 0.02)
    assert select.choose([best, later, worse]) is later
    assert select.choose([]) is None


@pytest.mark.parametrize(
    ("row", "is_over"),
    [
        ([0.1, 0.4, 0.6], False),
        ([0.6, 0.4], False),
        ([0.6, 0.4, 0.5], True),
        ([0.6, 0.4, 0.61], False),
        ([0.6, 0.601, 0.602], True),  # so little is no gain
        ([0.2, 0.1, 0.6, 0.5, 0.4], True),
        ([], False),
    ],
)
def test_a_run_is_over_after_two_checkpoints_without_a_gain(row: list[float], is_over: bool) -> None:
    assert select.is_over([scores(50 * at, score) for at, score in enumerate(row, 1)]) is is_over


def test_the_best_are_kept_and_the_newest_always() -> None:
    row = [scores(step, score) for step, score in ((1, 0.5), (2, 0.9), (3, 0.7), (4, 0.1))]
    assert select.best(row, 2) == [2, 3, 4]
    assert select.best(row, 1) == [2, 4]
    assert select.best([], 3) == []


def test_the_choice_is_always_among_the_kept() -> None:
    row = [scores(1, 0.60, 0.05), scores(2, 0.59, 0.05), scores(3, 0.58, 0.05), scores(4, 0.3)]
    for seen in range(1, len(row) + 1):
        chosen = select.choose(row[:seen])
        assert chosen is not None
        assert chosen.step in select.best(row[:seen], 1)


def test_likeness_alone_does_not_win_over_copying_and_a_lost_prompt() -> None:
    assert select.combine(0.8, 0.9, 0.0) > select.combine(1.0, 0.5, 1.0)


def test_the_lower_bound_takes_off_one_standard_error_of_the_prompts() -> None:
    score, low = select.bounded([0.4, 0.6, 0.4, 0.6], drift=0.5)
    assert score == pytest.approx(0.45)
    assert score - low == pytest.approx(0.115470 / 2, abs=1e-4)


@pytest.mark.parametrize(
    ("likeness", "adherence", "word"),
    [
        (0.9, 0.9, "excellent"),
        (0.9, 0.65, "good"),
        (0.5, 0.9, "good"),
        (0.9, 0.5, "weak"),
        (0.2, 0.9, "weak"),
    ],
)
def test_the_word_needs_both_likeness_and_adherence(likeness: float, adherence: float, word: str) -> None:
    assert select.word(likeness, adherence) == word
