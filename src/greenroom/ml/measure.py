"""Measures a checkpoint over 24 pictures with the trigger and 4 without, the same for each; judge.py has the numbers.

The floor is drawn once. Everything is kept in the run's folder, so that a resumed run measures nothing twice and
chooses the same. Knows run folders and vision; trains nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from greenroom.ml import lora, safe, select, trials
from greenroom.ml.config import TrainConfig
from greenroom.ml.data import Picture
from greenroom.ml.families import Family
from greenroom.ml.judge import Known, judge
from greenroom.ml.select import Scores
from greenroom.ml.trials import Pixels
from greenroom.vision import embedding, figure, measures, models
from greenroom.vision.figure import Figure
from greenroom.vision.tensors import Array

Seen = TypeVar("Seen")

FOLDER = "measures"
FEWEST_STEPS = 40
"""Measuring costs about as much as 20 steps, so a run of fewer than this is not measured."""
HELD_OUT_FROM, HELD_OUT_SHARE, MOST_HELD_OUT = 10, 8, 4
"""Of a set of 10 or more pictures one in eight is kept out of the training, but 2 to 4."""
TILE_PX = 128
PROBE_PX = 256


def is_wanted(config: TrainConfig) -> bool:
    """Whether this run's checkpoints are measured."""
    return config.measure and config.steps >= FEWEST_STEPS


def held_out(pictures: Sequence[Picture], config: TrainConfig) -> list[int]:
    """Which pictures of the set are kept out of the training to measure with, by their place in it.

    Depends on the pictures alone, so that a resumed run, and a second version of a set, keep the same ones out.
    """
    if not is_wanted(config) or len(pictures) < HELD_OUT_FROM:
        return []
    count = min(max(round(len(pictures) / HELD_OUT_SHARE), 2), MOST_HELD_OUT)
    by_chance = sorted(
        range(len(pictures)),
        key=lambda at: hashlib.sha256(f"held out/{pictures[at].sha256}".encode()).digest(),
    )
    return sorted(by_chance[:count])


def is_possible() -> bool:
    """Whether the models that look at pictures are there and whole."""
    return all(
        models.is_ready(name) for name in ("face-full-range", "face-short-range", "efficientnet-lite0")
    )


def read(run_dir: Path) -> list[Scores]:
    """What was measured so far, in the order of the steps; a file that is not whole counts as not there."""
    found = []
    for file in sorted((run_dir / FOLDER).glob("step-*.json")):
        try:
            found.append(Scores.model_validate_json(file.read_bytes()))
        except (OSError, ValidationError):
            continue
    return found


def weights_file(run_dir: Path, step: int) -> Path:
    """Where the LoRA of a measured step is kept to choose from."""
    return run_dir / FOLDER / f"step-{step:06d}.safetensors"


def sheet_file(run_dir: Path, step: int) -> Path:
    """The pictures of a measured step on one sheet; step 0 is the base without the LoRA."""
    return run_dir / FOLDER / f"step-{step:06d}.png"


def bench(
    run_dir: Path, config: TrainConfig, family: Family, pipe: Any, pictures: Sequence[Picture]
) -> tuple[Bench | None, str]:
    """Where the run's checkpoints are measured, or None when they are not; and what a person should know of it."""
    if not is_wanted(config):
        return None, ""
    if not is_possible():
        return None, f"The checkpoints are not measured: models are missing. Fetch them: {models.REMEDY}"
    apart = len(held_out(pictures, config))
    said = f"{apart} of the {len(pictures)} pictures are kept out of the training, to measure likeness with."
    return Bench(run_dir, config, family, pipe, pictures), said if apart else ""


class Bench:
    """Where the checkpoints of one run are measured, one after the other."""

    def __init__(
        self, run_dir: Path, config: TrainConfig, family: Family, pipe: Any, pictures: Sequence[Picture]
    ) -> None:
        self._run_dir, self._config, self._family, self._pipe = run_dir, config, family, pipe
        self._pictures = pictures
        captions = [picture.caption for picture in pictures]
        self._shots = trials.with_trigger(config, captions)
        self._plain = trials.without_trigger(config, captions)
        self._known: Known | None = None
        # One thread, since OpenCV's networks are not for two at once.
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="measure")

    def measure(
        self, step: int, weights: dict[str, nn.Parameter], on_step: Callable[[], None] = lambda: None
    ) -> Scores | None:
        """Draw and judge with the LoRA as it is attached, and keep both; None when these pictures say nothing.

        on_step: called between denoising steps, may raise to stop. Nothing of a stopped measuring is kept.
        """
        if self._known is None:
            with lora.swapped(weights, {name: weight.detach() * 0 for name, weight in weights.items()}):
                self._known = self._look_at_the_base(on_step)
        drawn, seen = self._draw(self._shots, _figures, on_step)
        _, plain = self._draw(self._plain, _embeddings, on_step)
        _keep_sheet(self._run_dir, step, drawn)
        scores = judge(step, self._known, seen, np.stack(plain))
        if scores is None:
            return None
        safe.save(weights_file(self._run_dir, step), lora.snapshot(weights), {"step": str(step)})
        # Last, and in one step: what stands in this file is finished.
        safe.replace(
            self._run_dir / FOLDER / f"step-{step:06d}.json", scores.model_dump_json(indent=1).encode()
        )
        kept = set(select.best(read(self._run_dir), self._config.keep_checkpoints))
        for other in (self._run_dir / FOLDER).glob("step-*.safetensors"):
            if int(other.stem.removeprefix("step-")) not in kept:
                other.unlink()
        return scores

    def _look_at_the_base(self, on_step: Callable[[], None]) -> Known:
        own = self._beside.submit(
            lambda: _figures([_read(self._run_dir / picture.file) for picture in self._pictures])
        )
        drawn, seen = self._draw(self._shots, _figures, on_step)
        _, plain = self._draw(self._plain, _embeddings, on_step)
        _keep_sheet(self._run_dir, 0, drawn)
        mine, apart = own.result(), set(held_out(self._pictures, self._config))
        return Known(
            held=[one for at, one in enumerate(mine) if at in apart] or mine,
            trained=[one for at, one in enumerate(mine) if at not in apart],
            is_held_out=bool(apart),
            floor=seen,
            base=np.stack(plain),
        )

    def _draw(
        self,
        shots: Sequence[trials.Shot],
        look: Callable[[Sequence[Pixels]], list[Seen]],
        on_step: Callable[[], None],
    ) -> tuple[list[Pixels], list[Seen]]:
        """The pictures and what is seen in them: some are looked at while the next ones are drawn."""
        pictures: list[Pixels] = []
        seen: list[Future[list[Seen]]] = []
        for some in trials.draw(self._family, self._pipe, shots, self._config, on_step):
            pictures += some
            seen.append(self._beside.submit(look, some))
        return pictures, [one for some in seen for one in some.result()]


def chosen_weights(run_dir: Path, step: int) -> dict[str, Tensor]:
    """The LoRA of a measured step that was kept, by peft's names."""
    return safe.load(weights_file(run_dir, step))[0]


def _figures(pictures: Sequence[Pixels]) -> list[Figure]:
    found = figure.of([_fitted(picture) for picture in pictures])
    assert found is not None, "is_possible() was asked before"
    return found


def _embeddings(pictures: Sequence[Pixels]) -> list[Array]:
    found = embedding.embed_all([_fitted(picture) for picture in pictures])
    assert found is not None, "is_possible() was asked before"
    return list(found)


def _fitted(picture: Pixels) -> Pixels:
    # All the same size, as sharpness says how large a picture was and not who is on it.
    return measures.fitted(picture, PROBE_PX)


def _read(file: Path) -> Pixels:
    with Image.open(file, formats=("PNG", "JPEG")) as opened:
        return np.asarray(opened.convert("RGB"))


def _keep_sheet(run_dir: Path, step: int, pictures: Sequence[Pixels]) -> None:
    """One row for each seed."""
    columns = len(pictures) // len(trials.SEEDS)
    sheet = Image.new("RGB", (columns * TILE_PX, len(trials.SEEDS) * TILE_PX))
    for at, picture in enumerate(pictures):
        tile = Image.fromarray(picture).resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
        sheet.paste(tile, (at % columns * TILE_PX, at // columns * TILE_PX))
    file = sheet_file(run_dir, step)
    file.parent.mkdir(exist_ok=True)
    staged = file.with_suffix(".part")
    sheet.save(staged, format="PNG")
    staged.replace(file)
