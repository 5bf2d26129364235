"""Trains LoRAs of characters that the starter never saw, and measures whether its pictures are of them.

Goes through the project's own training and drawing. Knows nothing about the starter's own training.

Shape letters: N pictures, H W pixels, D numbers of an embedding.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image

from greenroom.errors import RunFailed
from greenroom.ml import export, generate, train
from greenroom.ml.clock import Clock
from greenroom.ml.config import GenerateConfig, LoraUse, TrainConfig
from greenroom.ml.events import Journal
from greenroom.ml.families.starter.card import CARD
from greenroom.ml.starter.data import (
    Attributes,
    Identity,
    Pixels,
    Scene,
    attributes,
    caption,
    expressions_of,
    render,
    sample_identity,
    sample_scene,
)
from greenroom.ml.warm import WarmBase

PICTURES = 12
TRIGGERS = ("KIA_01", "bel_ka", "Zorvix", "MIRO_7", "tavo3", "ohwx", "LUN_44", "Pelith")


@dataclass(frozen=True, kw_only=True)
class Character:
    """One who is trained: word, looks, the scenes it is trained on, and new ones that it is drawn in."""

    trigger: str
    identity: Identity
    known: tuple[Scene, ...]
    new: tuple[Scene, ...]


def characters(styles: Sequence[str], count: int, each: int, *, steady: bool) -> list[Character]:
    """Different characters of the held-out side, each with 12 scenes to learn from and `each` to be drawn in."""
    rng = Random("personalise")
    chosen: list[Character] = []
    while len(chosen) < count:
        identity = sample_identity(rng, styles, held_out=True)
        if any(identity.words == other.identity.words for other in chosen):
            continue
        known = [_scene_with(rng, identity, face, steady) for face in expressions_of(identity)][:PICTURES]
        known += [sample_scene(rng, identity, steady=steady) for _ in range(PICTURES - len(known))]
        new = [sample_scene(rng, identity, held_out=None, steady=steady) for _ in range(each)]
        trigger = TRIGGERS[len(chosen) % len(TRIGGERS)] + "x" * (len(chosen) // len(TRIGGERS))
        chosen.append(Character(trigger=trigger, identity=identity, known=tuple(known), new=tuple(new)))
    return chosen


def learn(character: Character, run_dir: Path, weights: Path, **changes: object) -> float:
    """Train its LoRA in `run_dir`, or go on with it; returns the seconds that it took, Python's start not counted."""
    done = run_dir / "seconds.json"
    if done.exists():
        return float(json.loads(done.read_text()))
    (run_dir / "pictures").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, scene in enumerate(character.known):
        file = run_dir / "pictures" / f"{number:04d}.png"
        Image.fromarray(render(character.identity, scene)).save(file)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append({"file": f"pictures/{file.name}", "sha256": sha256, "caption": prompt(character, scene)})
    (run_dir / "manifest.json").write_text(json.dumps({"pictures": lines}))
    # The numbers of the recipe for characters on the starter.
    facts: dict[str, object] = {
        "name": character.trigger,
        "trigger": character.trigger,
        "base_family": CARD.id,
        "base_source": str(weights),
        "resolution_px": CARD.native_px,
        "steps": 300,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "warmup_steps": 10,
        "lr_schedule": "cosine",
    }
    (run_dir / "config.json").write_text(TrainConfig.model_validate(facts | changes).model_dump_json())
    before = (
        Clock().seconds()
    )  # a run's clock counts from the start of its process, which here has done other things
    with open(os.devnull, "w") as nobody:
        journal = Journal(run_dir / "events.jsonl", nobody)
        ended = train.train(run_dir, journal, threading.Event())
        journal.close()
    seconds = round(ended.seconds - before, 1)
    done.write_text(json.dumps(seconds))
    return seconds


def prompt(character: Character, scene: Scene) -> str:
    """The trigger for everything that stays, and words for what changes, as a person would caption a set."""
    identity = character.identity
    shown = attributes(identity, scene)
    if identity.kind != "potted plant":  # whose noun is made of its parts
        shown = Attributes(
            style=identity.style, kind=identity.kind, expression=scene.expression, place=scene.place
        )
    return f"{character.trigger}, {caption(shown, Random(repr(asdict(scene))), complete=True)}"


def draw(
    base: WarmBase, text: str, file: Path, *, seed: int, steps: int | None, lora: Path | None = None
) -> None:
    """Draw one picture with one LoRA or none, unless it is there already."""
    if file.exists():
        return
    base.cast([LoraUse(file=str(lora))] if lora else [])
    request = GenerateConfig(
        base_family=CARD.id,
        base_source=str(base.source),
        prompt=text,
        seed=seed,
        width_px=CARD.native_px,
        height_px=CARD.native_px,
        steps=steps,
    )
    (picture,) = generate.draw(base.family, base.pipe, request, lambda _done, _of: None)
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_suffix(".part.png")
    picture.save(staged)
    os.replace(staged, file)


def lora_of(run_dir: Path) -> Path:
    return run_dir / export.FOLDER / "lora.safetensors"


def read(file: Path) -> Pixels:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def matched(shown: Sequence[Pixels], owners: Sequence[int], references: Sequence[Sequence[Pixels]]) -> float:
    """Per cent of pictures that lie nearest to their own character, by the cosine of centred embeddings.

    owners: which of `references` each picture should be of. A character's place is the mean of its references; both
    sides lose their own mean, as what all drawings share tells nothing.
    """
    flat = [picture for those in references for picture in those]
    vectors = embed([*flat, *shown])
    known, drawn = vectors[: len(flat)], vectors[len(flat) :]
    ends = np.cumsum([0, *map(len, references)])
    places = np.stack([known[a:b].mean(0) for a, b in pairwise(ends)])
    places, drawn = places - places.mean(0), drawn - drawn.mean(0)
    places /= np.linalg.norm(places, axis=1, keepdims=True) + 1e-9
    return float(100 * ((drawn @ places.T).argmax(1) == np.asarray(owners)).mean())


def embed(pictures: Sequence[Pixels]) -> npt.NDArray[np.float32]:
    """General image embeddings (N, D) of the figures, by the vision side, which is not imported here: a child."""
    crops = np.stack([_middle(picture) for picture in pictures])
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "pictures.npy", Path(folder) / "vectors.npy"
        np.save(given, crops)
        command = [sys.executable, "-m", "greenroom.vision.embedding", str(given), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunFailed(f"The pictures could not be embedded: {done.stderr.strip()[-300:]}")
        vectors: npt.NDArray[np.float32] = np.load(made)
    return vectors


def _middle(picture: Pixels) -> Pixels:
    """Where the figure stands, so that the place counts less."""
    side = picture.shape[0]
    if side > CARD.native_px:
        picture = np.asarray(Image.fromarray(picture).resize((CARD.native_px,) * 2, Image.Resampling.BOX))
        side = CARD.native_px
    return picture[side // 6 :, side // 5 : side - side // 5]


def _scene_with(rng: Random, identity: Identity, face: str, steady: bool) -> Scene:
    while True:
        scene = sample_scene(rng, identity, steady=steady)
        if scene.expression == face:
            return scene
