"""Config, events, the learning rate, the clock and the moving average: the small parts of a training."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from greenroom.ml import events, lora
from greenroom.ml.clock import Clock
from greenroom.ml.config import TrainConfig
from greenroom.ml.events import Done, Journal, Progress, Saved
from greenroom.ml.train import learning_rate


def config(**changes: Any) -> TrainConfig:
    facts = {"name": "Kia", "trigger": "KIA_01", "base_family": "starter", "base_source": "/base"}
    return TrainConfig(**{**facts, "resolution_px": 256, "steps": 100, "learning_rate": 0.01, **changes})


class TestConfig:
    def test_is_the_same_after_json(self) -> None:
        one = config(sample_prompts=("a", "b"), min_snr_gamma=5.0)
        assert TrainConfig.model_validate_json(one.model_dump_json()) == one

    @pytest.mark.parametrize(
        "changes",
        [{"stepps": 3}, {"steps": 0}, {"alpha": 0.0}, {"rank": 0}, {"kind": "place"}, {"seed": -1}, {"name": ""},
         {"warmup_steps": 100}, {"learning_rate": 2.0}, {"caption_dropout": 1.1}, {"dtype": "float8"}],
    )  # fmt: skip
    def test_refuses_what_makes_no_sense(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            config(**changes)

    @pytest.mark.parametrize(
        "changes", [{"steps": 101}, {"seed": 1}, {"rank": 8}, {"alpha": 2.0}, {"dropout": 0.1}]
    )
    def test_another_weight_is_another_identity(self, changes: dict[str, Any]) -> None:
        assert config(**changes).identity() != config().identity()

    @pytest.mark.parametrize(
        "changes",
        [{"base_source": "/moved"}, {"checkpoint_every": 7}, {"sample_prompts": ("x",)}, {"name": "Mo"}],
    )
    def test_what_changes_no_weight_keeps_the_identity(self, changes: dict[str, Any]) -> None:
        assert config(**changes).identity() == config().identity()


class TestLearningRate:
    @given(st.integers(0, 99), st.sampled_from(["constant", "linear", "cosine"]), st.integers(0, 99))
    def test_is_never_zero_nor_above_the_asked(self, step: int, schedule: Any, warmup: int) -> None:
        assert 0 < learning_rate(config(lr_schedule=schedule, warmup_steps=warmup), step) <= 0.01

    @pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
    def test_warms_up_then_begins_at_the_full_rate(self, schedule: Any) -> None:
        rates = [learning_rate(config(lr_schedule=schedule, warmup_steps=10), step) for step in range(12)]
        assert rates[:11] == sorted(rates[:11])
        assert rates[10] == 0.01

    def test_falls_as_its_name_says(self) -> None:
        assert learning_rate(config(), 99) == 0.01
        assert learning_rate(config(lr_schedule="linear"), 50) == pytest.approx(0.005)
        assert learning_rate(config(lr_schedule="cosine"), 25) == pytest.approx(0.005 * (1 + math.sqrt(0.5)))


class TestJournal:
    def test_lines_come_back_as_events(self, tmp_path: Path) -> None:
        stream = io.StringIO()
        journal = Journal(tmp_path / "events.jsonl", stream)
        told = [Saved(step=4, folder="checkpoints/x"), Done(lora="export/l", steps=4, seconds=1.5)]
        for event in told:
            journal.tell(event)
        journal.sync()
        journal.close()
        text = (tmp_path / "events.jsonl").read_text()
        assert text == stream.getvalue()
        assert [events.parse(line) for line in text.splitlines()] == told

    def test_a_torn_line_of_a_killed_run_does_not_swallow_the_next(self, tmp_path: Path) -> None:
        file = tmp_path / "events.jsonl"
        file.write_text('{"event":"saved","st')
        journal = Journal(file, io.StringIO())
        journal.tell(Saved(step=1, folder="f"))
        journal.close()
        assert events.parse(file.read_text().splitlines()[1]) == Saved(step=1, folder="f")

    def test_a_listener_that_went_away_does_not_stop_the_run(self, tmp_path: Path) -> None:
        class Gone(io.StringIO):
            def write(self, _text: str) -> int:
                raise BrokenPipeError

        journal = Journal(tmp_path / "events.jsonl", Gone())
        journal.tell(Saved(step=1, folder="f"))
        assert (tmp_path / "events.jsonl").read_text()

    def test_what_is_no_event_is_refused(self) -> None:
        for line in ("", "{}", '{"event":"lunch"}', '{"event":"saved","step":1,"folder":"f","more":1}'):
            with pytest.raises(ValidationError):
                events.parse(line)


class TestClock:
    def test_tells_the_time_left_after_the_timed_steps_and_not_before(self) -> None:
        clock = Clock()
        clock.plan(config(), before_s=1000.0)
        left = []
        for step in range(1, 7):
            clock.step_done()
            left.append(clock.progress("train", step, 100, 0.5).seconds_left)
        assert left[:3] == [None, None, None]
        assert all(each is not None and 0 <= each < 5 for each in left[3:])
        assert clock.seconds() > 1000

    def test_says_nothing_of_time_left_in_other_phases(self) -> None:
        progress: Progress = Clock().progress("cache", 1, 2)
        assert progress.seconds_left is None


def test_the_average_follows_the_weights_ever_slower() -> None:
    weights = {"a": nn.Parameter(torch.zeros(1))}
    average = lora.snapshot(weights)
    with torch.no_grad():
        weights["a"].fill_(1.0)
    lora.follow(average, weights, decay=0.9, step=0)
    assert float(average["a"]) == pytest.approx(0.9)  # 1 - (1 + 0) / (10 + 0)
    average["a"].zero_()
    lora.follow(average, weights, decay=0.9, step=10_000)
    assert float(average["a"]) == pytest.approx(0.1)


def test_swapped_weights_come_back_even_after_an_error() -> None:
    weights = {"a": nn.Parameter(torch.zeros(2))}

    def fail() -> None:
        with lora.swapped(weights, {"a": torch.ones(2)}):
            assert torch.equal(weights["a"], torch.ones(2))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(weights["a"], torch.zeros(2))


def test_weights_of_another_lora_are_refused() -> None:
    with pytest.raises(ValueError, match="other layers"):
        lora.restore({"a": nn.Parameter(torch.zeros(2))}, {"b": torch.ones(2)})
