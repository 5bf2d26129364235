"""Pictures and captions of a run, made ready for training: buckets, order of batches, cache of latents.

Everything here is a pure function of the run folder and the config, so a resumed run sees the same batches.
Knows nothing about LoRAs or losses.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from greenroom.errors import BadInput, ChangedDataset, UnsafeFile
from greenroom.ml import class_pictures, safe
from greenroom.ml.config import TrainConfig
from greenroom.ml.families import Family, Prompt

MAX_ASPECT = 2.0
"""Wider or taller pictures are cropped to this shape."""


class Picture(BaseModel):
    """One line of the run's manifest. `file` is relative to the run folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    sha256: str
    caption: str
    mask: str | None = None
    """A grey PNG of the picture's size, white where the subject is; relative to the run folder."""

    mask_sha256: str = ""
    box: tuple[float, float, float, float] | None = None
    """Where the subject's face is, in place of a mask: left, top, right, bottom as shares of the picture."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """What the training reads of each picture, in the manifest's order, on the training device."""

    latents: list[Tensor]
    mirrored: list[Tensor]
    """The latents of the mirrored pictures; empty unless the config asks for flips."""

    prompts: list[Prompt]
    empty: Prompt
    """The empty prompt, for caption dropout."""

    weights: list[Tensor]
    """What each cell of the latents counts in the loss, (1,h,w); empty unless background_weight is below 1."""

    class_latents: list[Tensor]
    class_prompt: Prompt
    """Pictures of the actor's class and their prompt; empty unless the config asks for prior preservation."""


@dataclass(frozen=True)
class Bucket:
    """One picture shape of a run."""

    width_px: int
    height_px: int


def read_manifest(run_dir: Path) -> list[Picture]:
    """The pictures of the run, each one checked against its sha256.

    Raises BadInput for a manifest that is not one, ChangedDataset when a picture is gone or has other bytes.
    """
    try:
        text = (run_dir / "manifest.json").read_bytes()
        pictures = [Picture.model_validate(each) for each in json.loads(text)["pictures"]]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise BadInput(
            f"The run's manifest.json cannot be read: {error}. Start the training again."
        ) from error
    if not pictures:
        raise BadInput("The run has no pictures. Add at least 5 and start the training again.")
    for picture in pictures:
        _check_file(run_dir, picture.file, picture.sha256)
        if picture.mask is not None:
            _check_file(run_dir, picture.mask, picture.mask_sha256)
    return pictures


def _check_file(run_dir: Path, name: str, sha256: str) -> None:
    path = (run_dir / name).resolve()
    if not path.is_relative_to(run_dir.resolve()):
        raise BadInput(f"The manifest names {name!r}, which lies outside the run's folder.")
    if not path.is_file():
        raise ChangedDataset(f"{name} is gone from the run's folder. Start a new training.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ChangedDataset(f"{name} is not the picture the run began with. Start a new training.")


def identity(pictures: Sequence[Picture]) -> str:
    """One sha256 over the pictures' bytes, captions and masks, in their order."""
    facts = [
        (picture.sha256, picture.caption)
        if picture.mask is None and picture.box is None
        else (picture.sha256, picture.caption, picture.mask_sha256, picture.box)
        for picture in pictures
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def buckets(resolution_px: int, multiple_px: int) -> tuple[Bucket, ...]:
    """The shapes up to 2:1 with sides that are multiples of `multiple_px` and an area near resolution_px²."""
    area = resolution_px**2
    shapes = set()
    widest = int(resolution_px * math.sqrt(MAX_ASPECT)) + multiple_px
    for width in range(multiple_px, widest + 1, multiple_px):
        height = max(multiple_px, round(area / width / multiple_px) * multiple_px)
        shapes |= {(width, height), (height, width)}
    side = max(multiple_px, round(resolution_px / multiple_px) * multiple_px)
    kept = {shape for shape in shapes if max(shape) / min(shape) <= MAX_ASPECT} | {(side, side)}
    return tuple(Bucket(*shape) for shape in sorted(kept))


def bucket_of(width_px: int, height_px: int, choice: Sequence[Bucket]) -> Bucket:
    """The bucket whose shape loses least of the picture; of equal ones the larger."""

    def loss(bucket: Bucket) -> tuple[float, int]:
        ratio = math.log(width_px / height_px) - math.log(bucket.width_px / bucket.height_px)
        return round(abs(ratio), 9), -bucket.width_px * bucket.height_px

    return min(choice, key=loss)


def plan(shapes: Sequence[Any], batch_size: int, steps: int, seed: int) -> list[tuple[int, ...]]:
    """Which pictures each step trains on: `steps` batches of indices into `shapes`, each batch of one shape.

    Each bucket is shuffled anew when it has been used up, and is drawn from in proportion to its share, so
    every picture is seen equally often, give or take one batch. A longer plan begins with the shorter one.
    """
    members: dict[Any, list[int]] = {}
    for index, shape in enumerate(shapes):
        members.setdefault(shape, []).append(index)
    groups = list(members.values())
    queues: list[list[int]] = [[] for _ in groups]
    rounds = [0] * len(groups)
    drawn = [0] * len(groups)
    batches = []
    for step in range(1, steps + 1):
        # The bucket that lags most behind its share of the batches goes next.
        which = max(range(len(groups)), key=lambda g: (len(groups[g]) * step / len(shapes) - drawn[g], -g))
        drawn[which] += 1
        while len(queues[which]) < batch_size:
            order = list(groups[which])
            random.Random(f"{seed}/order/{which}/{rounds[which]}").shuffle(order)
            queues[which] += order
            rounds[which] += 1
        batches.append(tuple(queues[which][:batch_size]))
        del queues[which][:batch_size]
    return batches


def pixels(path: Path, bucket: Bucket) -> Tensor:
    """The picture as the bucket sees it: scaled to cover it, cropped at the centre; (3,H,W) in [-1, 1]."""
    with Image.open(path, formats=("PNG", "JPEG")) as opened:
        picture = _cropped(opened.convert("RGB"), bucket)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(127.5).sub_(1)


def weights(
    run_dir: Path, picture: Picture, bucket: Bucket, cells: tuple[int, int], background: float
) -> Tensor:
    """What each cell counts in the loss, (1,h,w) with mean 1: `background` outside of the mask or box, to 1 inside.

    cells: (h, w). A picture without mask or box, or with an empty one, counts alike everywhere.
    """
    with Image.open(run_dir / picture.file, formats=("PNG", "JPEG")) as opened:
        size = opened.size
    if picture.mask is not None:
        with Image.open(run_dir / picture.mask, formats=("PNG",)) as opened:
            mask = opened.convert("L").resize(size, Image.Resampling.BILINEAR)
    elif picture.box is not None:
        mask = Image.new("L", size)
        left, top, right, bottom = picture.box
        corners = (left * size[0], top * size[1], right * size[0] - 1, bottom * size[1] - 1)
        ImageDraw.Draw(mask).rectangle(corners, fill=255)
    else:
        return torch.ones(1, *cells)
    small = _cropped(mask, bucket).resize((cells[1], cells[0]), Image.Resampling.BOX)
    inside = torch.from_numpy(np.array(small)).float().div_(255)
    found = background + (1 - background) * inside
    mean = found.mean()
    return (found / mean if mean > 0 else torch.ones_like(found))[None]


def _cropped(picture: Image.Image, bucket: Bucket) -> Image.Image:
    scale = max(bucket.width_px / picture.width, bucket.height_px / picture.height)
    width, height = bucket.width_px / scale, bucket.height_px / scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    return picture.resize(
        (bucket.width_px, bucket.height_px),
        Image.Resampling.LANCZOS,
        box=(left, top, left + width, top + height),
        reducing_gap=None,
    )


def cache(
    run_dir: Path,
    pictures: Sequence[Picture],
    config: TrainConfig,
    *,
    family: Family,
    pipe: Any,
    key: str,
    on_step: Callable[[int, int], None],
    device: torch.device,
) -> Cache:
    """Latents and prompt embeddings of the run, read from `cache/` when it was made from the same `key`.

    key: names everything the cache depends on. on_step: called with (pictures done, pictures in all).
    """
    file = run_dir / "cache" / "cache.safetensors"
    tensors = _stored(file, key)
    if tensors is None:
        tensors = _encode(run_dir, pictures, config, family=family, pipe=pipe, on_step=on_step)
        file.parent.mkdir(parents=True, exist_ok=True)
        safe.save(file, tensors, {"key": key})
    else:
        on_step(len(pictures), len(pictures))

    def row(name: str) -> Tensor:
        return tensors[name].to(device)

    def prompt(name: str) -> Prompt:
        start = f"prompt.{name}."
        return {key.removeprefix(start): row(key) for key in tensors if key.startswith(start)}

    numbers = range(len(pictures))
    return Cache(
        latents=[row(f"latents.{number}") for number in numbers],
        mirrored=[row(f"mirrored.{number}") for number in numbers] if config.flip_augment else [],
        prompts=[prompt(str(number)) for number in numbers],
        empty=prompt("empty"),
        weights=[row(f"weights.{number}") for number in numbers] if config.background_weight < 1 else [],
        class_latents=(
            [row(f"class.{number}") for number in range(config.class_pictures)] if config.prior_weight else []
        ),
        class_prompt=prompt("class"),
    )


def _stored(file: Path, key: str) -> dict[str, Tensor] | None:
    if not file.is_file():
        return None
    try:
        tensors, facts = safe.load(file)
    except UnsafeFile:
        return None  # cut off by a crash of the machine: it is only a cache, so make it again
    return tensors if facts.get("key") == key else None


def _encode(
    run_dir: Path,
    pictures: Sequence[Picture],
    config: TrainConfig,
    *,
    family: Family,
    pipe: Any,
    on_step: Callable[[int, int], None],
) -> dict[str, Tensor]:
    choice = buckets(config.resolution_px, family.card.size_multiple_px)
    tensors: dict[str, Tensor] = {}
    total = len(pictures) + (config.class_pictures if config.prior_weight else 0)
    for number, picture in enumerate(pictures):
        path = run_dir / picture.file
        with Image.open(path, formats=("PNG", "JPEG")) as opened:
            bucket = bucket_of(opened.width, opened.height, choice)
        image = pixels(path, bucket)
        tensors[f"latents.{number}"] = family.encode_pictures(pipe, image[None])[0].cpu()
        if config.flip_augment:
            tensors[f"mirrored.{number}"] = family.encode_pictures(pipe, image.flip(-1)[None])[0].cpu()
        if config.background_weight < 1:
            height, width = tensors[f"latents.{number}"].shape[-2:]
            cells = (height, width)
            tensors[f"weights.{number}"] = weights(run_dir, picture, bucket, cells, config.background_weight)
        on_step(number + 1, total)
    # After the pictures, so that encoders which take turns on the device change places once.
    for number, picture in enumerate(pictures):
        # One prompt at a time, so that no caption's numbers depend on the length of another.
        for name, tensor in family.encode_prompts(pipe, [picture.caption])[0].items():
            tensors[f"prompt.{number}.{name}"] = tensor.cpu()
    spoken = {"empty": "", **({"class": config.class_noun} if config.prior_weight else {})}
    for which, text in spoken.items():
        for name, tensor in family.encode_prompts(pipe, [text])[0].items():
            tensors[f"prompt.{which}.{name}"] = tensor.cpu()
    if config.prior_weight:
        files = class_pictures.draw(
            run_dir,
            config,
            family=family,
            pipe=pipe,
            on_picture=lambda done: on_step(len(pictures) + done, total),
        )
        square = bucket_of(1, 1, choice)
        for number, file in enumerate(files):
            image = pixels(file, square)
            tensors[f"class.{number}"] = family.encode_pictures(pipe, image[None])[0].cpu()
    return tensors
