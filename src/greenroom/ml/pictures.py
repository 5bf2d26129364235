"""Writes finished pictures with the request they came from, and reads it back. Knows no models.

Each PNG carries two texts: `parameters`, in the form that A1111 began and most galleries read, and
`greenroom`, JSON with everything needed to draw the picture again. Neither holds a path of this machine, a
name of its user or a time, so the same request gives the same bytes anywhere.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image, PngImagePlugin, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from greenroom.errors import BadPicture
from greenroom.ml import safe

TEXT_KEY = "parameters"
JSON_KEY = "greenroom"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseUsed(_Record):
    """The base model, known by its content and not by where it lay."""

    family: str
    name: str
    sha256: str


class ActorUsed(_Record):
    """One LoRA in the picture."""

    trigger: str
    weight: float
    sha256: str


class Made(_Record):
    """Everything that one picture was drawn from; drawn again on such a machine, it has the same bytes."""

    format: Literal[1] = 1
    software: str
    base: BaseUsed
    prompt: str
    negative: str
    actors: tuple[ActorUsed, ...]
    cast: tuple[dict[str, str], ...] = ()
    """What the studio said about the actors: id, name, trigger, version."""

    seed: int
    width_px: Annotated[int, Field(ge=1)]
    height_px: Annotated[int, Field(ge=1)]
    steps: int
    guidance: float
    sampler: str
    dtype: str


def write(path: Path, image: Image.Image, made: Made) -> None:
    """Save as PNG in one step: a reader, or a crash, never sees half a picture."""
    safe.replace(path, encode(image, made))


def encode(image: Image.Image, made: Made) -> bytes:
    """The PNG's bytes, the same for the same pixels and the same request."""
    info = PngImagePlugin.PngInfo()
    _add_text(info, TEXT_KEY, parameters(made))
    # ASCII with \u escapes, so that it is a plain tEXt chunk whatever the prompt holds.
    info.add_text(JSON_KEY, json.dumps(made.model_dump(mode="json"), sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info, compress_level=6)
    return buffer.getvalue()


def read_back(path: Path) -> Made | None:
    """What a picture was drawn from; None when it is a PNG that Greenroom did not write.

    Raises BadPicture when the file is not a PNG or its record is damaged.
    """
    texts = _texts(path)
    record = texts.get(JSON_KEY)
    if record is None:
        return None
    try:
        return Made.model_validate_json(record)
    except ValidationError as error:
        raise BadPicture(
            f"{path.name} carries a Greenroom record that cannot be read ({error.error_count()} faults). "
            "It was changed, or written by a newer version."
        ) from error


def parameters(made: Made) -> str:
    """The request as A1111 writes it: prompt with LoRAs, negative prompt, one line of settings."""
    tags = "".join(f" <lora:{actor.trigger}:{actor.weight:g}>" for actor in made.actors)
    settings: dict[str, Any] = {
        "Steps": made.steps,
        "Sampler": made.sampler,
        "CFG scale": f"{made.guidance:g}",
        "Seed": made.seed,
        "Size": f"{made.width_px}x{made.height_px}",
        "Model hash": made.base.sha256[:10],
        "Model": made.base.name,
    }
    if made.actors:
        settings["Lora hashes"] = ", ".join(f"{actor.trigger}: {actor.sha256[:12]}" for actor in made.actors)
    settings["Version"] = made.software
    lines = [made.prompt + tags]
    if made.negative:
        lines.append(f"Negative prompt: {made.negative}")
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in settings.items()))
    return "\n".join(lines)


def parse_parameters(text: str) -> dict[str, str]:
    """The settings line of an A1111 text as a dict, with "Prompt" and "Negative prompt" beside them."""
    *words, settings = text.strip().split("\n")
    found = {key: _unquoted(value) for key, value in _SETTING.findall(settings)}
    prompt, mark, negative = "\n".join(words).partition("\nNegative prompt: ")
    return {"Prompt": prompt, "Negative prompt": negative if mark else "", **found}


_SETTING = re.compile(r'\s*([A-Za-z][\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')


def _texts(path: Path) -> dict[str, str]:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            assert isinstance(image, PngImagePlugin.PngImageFile)
            return {key: str(value) for key, value in image.text.items()}
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{path.name} cannot be read as a PNG picture ({error}).") from error


def _add_text(info: PngImagePlugin.PngInfo, key: str, text: str) -> None:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        info.add_itxt(key, text)
    else:
        info.add_text(key, text)


def _quoted(value: str) -> str:
    """A1111's rule: a value with a comma, a colon or a line break stands in JSON quotes."""
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        return str(json.loads(value))
    return value
