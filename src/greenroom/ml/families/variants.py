"""Tells distilled relatives of a family's base by the folder: they draw in few steps. Loads no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.ml.config import GenerateConfig
from greenroom.ml.families.card import Card

ORIGIN = "greenroom.json"
"""Written beside model_index.json where Greenroom made the folder: {"origin": the hub id or the file's name}."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What drawing takes when the person does not say, and what a training on this base should know."""

    name: str
    steps: int
    guidance: float
    warning: str = ""


def of(card: Card, source: Path) -> Variant:
    """The base in `source`, as far as its settings and its name tell."""
    if card.id == "flux1" and _read(source / "transformer" / "config.json").get("guidance_embeds") is False:
        return _distilled("FLUX.1 [schnell]", 4, 0.0, "FLUX.1 [dev]")
    if card.id == "flux2_klein" and _read(source / "model_index.json").get("is_distilled") is True:
        return _distilled("FLUX.2 [klein], distilled", 4, 1.0, "a klein base model")
    if card.id == "zimage":
        # Nothing in its settings differs for certain, so it goes by its name.
        told = f"{source.name} {_read(source / ORIGIN).get('origin', '')}"
        if "turbo" in told.lower():
            return _distilled("Z-Image-Turbo", 9, 0.0, "Z-Image")
    return Variant(name=card.title, steps=card.default_steps, guidance=card.default_guidance)


def settled(card: Card, request: GenerateConfig) -> GenerateConfig:
    """The request with steps and guidance, the base's own where none were asked."""
    if request.steps is not None and request.guidance is not None:
        return request
    own = of(card, Path(request.base_source))
    guidance = own.guidance if request.guidance is None else request.guidance
    return request.model_copy(update={"steps": request.steps or own.steps, "guidance": guidance})


def note_origin(folder: Path, origin: str) -> None:
    """Keep in a folder that Greenroom made where its content came from."""
    (folder / ORIGIN).write_text(json.dumps({"origin": origin}), encoding="utf-8")


def _distilled(name: str, steps: int, guidance: float, train_on: str) -> Variant:
    return Variant(
        name=name,
        steps=steps,
        guidance=guidance,
        warning=(
            f"This base is {name}, distilled to draw in {steps} steps, which a plain LoRA trained on it unlearns. "
            f"Train on {train_on} and draw on this one."
        ),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
