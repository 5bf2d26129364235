"""The pictures that a checkpoint is measured on: which prompts and seeds, and drawing them cheaply.

They are small, take few denoising steps and go through the network several at a time, so they are not the very
pictures that a user would get from that prompt and seed; they are the same for every checkpoint of a run.
Knows families and prompts; judges nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from greenroom.ml import generate
from greenroom.ml.config import TrainConfig
from greenroom.ml.families import Family
from greenroom.ml.families.card import Card

Pixels = npt.NDArray[np.uint8]  # (H, W, 3) RGB

SEEDS = (11, 12)
DRIFT_SHOTS = 4
STEPS_SHARE = 0.2
FEWEST_STEPS = 4
SIDE_PX = 512
"""Larger bases draw this size; it is what their own small pictures have."""
SMALL_BASE_PX = 256
TOGETHER, TOGETHER_SMALL = 4, 8
"""Pictures in one forward; a small base takes more of them."""

# Places that are easily told apart, half of them with a mood, as captions have.
_CHARACTER = (
    "on a beach",
    "in a forest",
    "in a city at night",
    "on a blue background",
    "in the snow",
    "in a desert",
    "smiling, on a green background",
    "surprised, in a city street",
    "looking sad, in a park",
    "angry, in space",
    "sleepy, at home",
    "happy, at sunset",
)
_STYLE = (
    "a woman with long hair, smiling, on a beach",
    "a man with a beard, in a forest",
    "a woman with glasses, in a city at night",
    "a man, on a blue background",
    "a woman, in the snow",
    "a man with short hair, in a desert",
    "a woman, happy, on a green background",
    "a man, surprised, in a city street",
    "a woman, looking sad, in a park",
    "a man, angry, in space",
    "a woman with curly hair, sleepy, at home",
    "a man with glasses, at sunset",
)


@dataclass(frozen=True)
class Shot:
    """One picture to draw."""

    prompt: str
    seed: int


def with_trigger(config: TrainConfig, captions: Sequence[str]) -> list[Shot]:
    """The 24 pictures of a checkpoint: every prompt with the first seed, then every prompt with the second."""
    return [Shot(prompt, seed) for seed in SEEDS for prompt in _prompts(config, captions, config.trigger)]


def without_trigger(config: TrainConfig, captions: Sequence[str]) -> list[Shot]:
    """A few pictures that should stay as the base draws them."""
    return [Shot(prompt, SEEDS[0]) for prompt in _prompts(config, captions, "")[:DRIFT_SHOTS]]


def noun(captions: Sequence[str], trigger: str) -> str:
    """What most captions call the actor right after the trigger, such as "a woman"; empty when they differ."""
    first = Counter(
        part.strip()
        for caption in captions
        if (part := caption.replace(trigger, "", 1).strip(" ,").partition(",")[0]).strip()
    )
    if not first:
        return ""
    words, count = first.most_common(1)[0]
    return words if 2 * count > len(captions) and len(words.split()) <= 4 else ""


def draw(
    family: Family,
    pipe: Any,
    shots: Sequence[Shot],
    config: TrainConfig,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[list[Pixels]]:
    """The pictures, some at a time, with whatever LoRA is attached.

    on_step: called between steps, may raise to stop.
    """
    card = family.card
    side = side_px(config, card)
    is_small = card.native_px <= SMALL_BASE_PX
    together = TOGETHER_SMALL if is_small else TOGETHER
    # Guidance doubles the work, and a small base is trained in minutes: it is measured without.
    extra: dict[str, Any] = {card.guidance_argument: 0.0 if is_small else card.default_guidance}

    def tell(_pipe: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step()
        return tensors

    for start in range(0, len(shots), together):
        some = shots[start : start + together]
        if card.guidance_argument == "true_cfg_scale":  # without one, such a pipeline does not guide at all
            extra["negative_prompt"] = [" "] * len(some)
        with generate.as_for_users(family, pipe):
            drawn = pipe(
                prompt=[shot.prompt for shot in some],
                width=side,
                height=side,
                num_inference_steps=steps(card),
                generator=[torch.Generator("cpu").manual_seed(shot.seed) for shot in some],
                callback_on_step_end=tell,
                **extra,
            )
        yield [np.asarray(picture.convert("RGB")) for picture in drawn.images]


def steps(card: Card) -> int:
    """Denoising steps of one such picture."""
    return max(FEWEST_STEPS, round(card.default_steps * STEPS_SHARE))


def side_px(config: TrainConfig, card: Card) -> int:
    """Side of one such picture: the run's resolution, but no more than SIDE_PX."""
    multiple = card.size_multiple_px
    return max(multiple, round(min(config.resolution_px, SIDE_PX) / multiple) * multiple)


def _prompts(config: TrainConfig, captions: Sequence[str], trigger: str) -> list[str]:
    if config.kind == "style":
        return [", ".join(part for part in (trigger, scene) if part) for scene in _STYLE]
    called = noun(captions, config.trigger)
    who = ", ".join(part for part in (trigger, called) if part) or "a person"
    return [f"{who}, {scene}" for scene in _CHARACTER]
