"""The sample pictures of a checkpoint: which are missing, what is asked for, where they lie."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from greenroom.ml import safe
from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.events import Sample
from greenroom.ml.families.card import Card


def file_of(run_dir: Path, step: int, index: int) -> Path:
    return run_dir / "samples" / f"step-{step:06d}-{index:02d}.png"


def missing(run_dir: Path, config: TrainConfig, step: int) -> list[int]:
    return [i for i in range(len(config.sample_prompts)) if not file_of(run_dir, step, i).is_file()]


def request_of(config: TrainConfig, card: Card, index: int) -> GenerateConfig:
    """A square of the run's resolution; one seed for all, so that checkpoints and prompts can be compared."""
    multiple = card.size_multiple_px
    side = max(multiple, round(config.resolution_px / multiple) * multiple)
    return GenerateConfig(
        base_family=config.base_family,
        base_source=config.base_source,
        prompt=config.sample_prompts[index],
        seed=config.sample_seed,
        width_px=side,
        height_px=side,
        steps=config.sample_steps,
    )


def keep(run_dir: Path, step: int, index: int, request: GenerateConfig, picture: Image.Image) -> Sample:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    file = file_of(run_dir, step, index)
    file.parent.mkdir(exist_ok=True)
    safe.replace(file, buffer.getvalue())
    name = file.relative_to(run_dir).as_posix()
    return Sample(step=step, index=index, prompt=request.prompt, seed=request.seed, file=name)
