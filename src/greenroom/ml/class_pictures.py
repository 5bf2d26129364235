"""Pictures of the actor's class, drawn once by the base, for a loss that keeps the class as it was.

Source: Ruiz et al. 2022, arXiv:2208.12242 (DreamBooth), section 3.3. Knows folders; nothing about losses.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenroom.ml import generate, safe
from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import Family

FOLDER = "class"
FIRST_SEED = 1_000_000
"""Far from the seeds that people and sample pictures use."""


def draw(
    run_dir: Path, config: TrainConfig, *, family: Family, pipe: Any, on_picture: Callable[[int], None]
) -> list[Path]:
    """The class pictures of the run, squares of its resolution; those that are there already are kept.

    The pipe must have no LoRA yet. on_picture: called with how many are there, after each.
    """
    multiple = family.card.size_multiple_px
    side = max(multiple, round(config.resolution_px / multiple) * multiple)
    files = []
    for number in range(config.class_pictures):
        file = run_dir / FOLDER / f"{number:04d}.png"
        if not file.is_file():
            request = GenerateConfig(
                base_family=config.base_family,
                base_source=config.base_source,
                prompt=config.class_noun,
                seed=FIRST_SEED + config.seed % FIRST_SEED + number,
                width_px=side,
                height_px=side,
            )
            (picture,) = generate.draw(family, pipe, request, lambda _done, _of: None)
            buffer = io.BytesIO()
            picture.save(buffer, format="PNG")
            file.parent.mkdir(exist_ok=True)
            safe.replace(file, buffer.getvalue())
        files.append(file)
        on_picture(number + 1)
    return files
