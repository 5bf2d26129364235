"""Measures a run and tells how far it is. Knows the shape of a run, not what its steps do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psutil

from greenroom.ml.config import TrainConfig
from greenroom.ml.events import Phase, Progress

TICK_S = 0.5
"""The least time between two progress lines."""

TIMED_STEPS = 3
"""Steps that are timed before the time left is told; one more before them warms up."""


class Clock:
    """Measures the run and tells how far it is. Sample pictures are timed apart from steps."""

    def __init__(self) -> None:
        self._told = time.monotonic()
        # The imports above take seconds, and the person waits for them as well.
        self._started: float = self._told - max(0.0, time.time() - psutil.Process().create_time())
        self._steps = 0
        self._warm_at = 0.0
        self._samples_s = self._pause_s = 0.0
        self._samplings = self._checkpoint_every = 0

    def plan(self, config: TrainConfig, before_s: float) -> None:
        """Learn how often sample pictures will come, and how long the run took before it was broken off."""
        self._checkpoint_every = config.checkpoint_every if config.sample_prompts or config.measure else 0
        self._started -= before_s

    def seconds(self) -> float:
        """What the run took so far, with what it took before it was broken off."""
        return round(time.monotonic() - self._started, 3)

    def step_done(self) -> None:
        """Count one step; the first one warms up, so it is not part of the measure."""
        self._steps += 1
        if self._steps == 1:
            self._warm_at = time.monotonic()
            self._pause_s = 0.0

    def ticks(self) -> bool:
        """Whether it is time for another line."""
        return time.monotonic() - self._told >= TICK_S

    @contextlib.contextmanager
    def sampling(self, *, also: bool = False) -> Iterator[None]:
        """The block draws sample pictures. also: in addition to a block before it, of the same checkpoint."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self._pause_s += took
        self._samples_s += took
        self._samplings += not also

    def progress(self, phase: Phase, step: int, total: int, loss: float | None = None) -> Progress:
        """The line to tell now."""
        self._told = now = time.monotonic()
        left = None
        if phase == "train" and self._steps > TIMED_STEPS:
            left = (now - self._warm_at - self._pause_s) / (self._steps - 1) * (total - step)
            if self._checkpoint_every and self._samplings:
                samplings = -(-total // self._checkpoint_every) - step // self._checkpoint_every
                left += samplings * self._samples_s / self._samplings
        return Progress(
            phase=phase,
            step=step,
            total_steps=total,
            loss=None if loss is None else round(loss, 6),
            seconds_left=None if left is None else round(left, 1),
            seconds=self.seconds(),
        )
