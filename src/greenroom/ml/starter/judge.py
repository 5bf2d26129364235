"""Reads the attributes off a drawing: a small network that learns them from renders, to evaluate the starter with.

Learns in a few minutes on a CPU. Knows the words that captions use; nothing about how a picture came to be.

Shape letters: B batch, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from greenroom.ml.starter import codec, parts, places
from greenroom.ml.starter.captions import EXPRESSIONS, Attributes
from greenroom.ml.starter.data import (
    STYLES,
    attributes,
    read_attributes,
    render,
    sample_identity,
    sample_scene,
)
from greenroom.ml.starter.optimizer import Muon

HEADS: Mapping[str, tuple[str, ...]] = {
    "style": tuple(STYLES),
    "hair colour": tuple(parts.HAIR_COLOURS),
    "skin": tuple(parts.SKINS),
    "body colour": tuple(parts.BODY_COLOURS),
    "expression": tuple(EXPRESSIONS),
    "ground": (*places.SCENES, "plain", *places.PATTERNS),
}
"""What is read, and the words for it."""

GROUND_COLOURS = tuple(places.COLOURS)
"""Any number of these stand behind; which of two is the ground and which the ink cannot be seen in stripes."""

FIGURES = ("style", "hair colour", "skin or body colour", "expression", "background")
"""What is reported."""

BATCH = 32
GRID = 4  # cells a side in which the picture's features are averaged
RATE = 3e-3
_NOT_THERE = -100  # what cross_entropy passes over


class Network(nn.Module):
    """128 px pictures in [-1, 1] -> a row of numbers for each head and for the ground's colours. 0.8 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _layer(3, 32, kernel=4, stride=2),
            _layer(32, 64, stride=2),
            _layer(64, 96, stride=2),
            _layer(96, 96),
            _layer(96, 160, stride=2),
            _layer(160, 160),
        )
        self.heads = nn.Linear((GRID**2 + 1) * 160, sum(map(len, HEADS.values())) + len(GROUND_COLOURS))

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 2720) what the heads read from."""
        seen = self.layers(pixels)
        # Where something stands tells much: a brow that is raised is above one that is not.
        return torch.cat([seen.amax((2, 3)), F.adaptive_avg_pool2d(seen, GRID).flatten(1)], dim=1)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        pooled = self.features(pixels)
        sizes = [*map(len, HEADS.values()), len(GROUND_COLOURS)]
        return dict(zip([*HEADS, "ground colours"], self.heads(pooled).split(sizes, dim=1), strict=True))


class Judge:
    """A trained network."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval().requires_grad_(False)

    def right(self, pixels: Tensor, wanted: Sequence[Attributes]) -> list[dict[str, bool]]:
        """For each picture, (B, 3, 128, 128) in [-1, 1], which of FIGURES are as wanted, where it has them."""
        answers: list[dict[str, bool]] = []
        for start in range(0, len(wanted), BATCH):
            read = self.network(pixels[start : start + BATCH])
            answers += [
                right_of({name: rows[i] for name, rows in read.items()}, each)
                for i, each in enumerate(wanted[start : start + BATCH])
            ]
        return answers

    def save(self, path: Path) -> None:
        save_file({k: v.contiguous() for k, v in self.network.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path) -> Judge:
        network = Network()
        network.load_state_dict(load_file(path))
        return cls(network)


def learn(
    folders: Sequence[Path], styles: Sequence[str], samples: int, on_step: Callable[[int, int], None]
) -> Judge:
    """Train on every render of these folders' shards; half of each batch is of these styles.

    Half of the pictures are seen as the components keep them, so that the judge gets used to pictures that were
    latents once.
    """
    torch.manual_seed(0)
    pictures: list[tuple[Any, int]] = []
    described: list[Attributes] = []
    for folder in folders:
        for path in sorted(folder.glob("shard-*.npy")):
            shard = np.load(path, mmap_mode="r")
            found = read_attributes(path.with_suffix(".jsonl"))
            pictures += [(shard, row) for row in range(len(found))]
            described += found
    basis, mean = codec.components(folders[0])
    network = Network().train()
    muon = Muon([p for p in network.parameters() if p.ndim == 4], lr=RATE)
    adam = torch.optim.AdamW([p for p in network.parameters() if p.ndim != 4], lr=RATE, weight_decay=0.01)
    steps = max(1, samples // BATCH)
    every = np.arange(len(described))
    focus = np.array([i for i in every if described[i].style in styles] or every)
    half = BATCH // 2
    rng = np.random.default_rng(0)
    for step in range(steps):
        chosen = rng.permutation(np.concatenate([rng.choice(every, half), rng.choice(focus, half)])).tolist()
        renders = np.stack([pictures[i][0][pictures[i][1]] for i in chosen])
        pixels = codec.to_pixels(renders)
        pixels[:half] = codec.linear_decode(codec.encode(renders[:half], basis, mean), basis, mean)
        for optimizer in (muon, adam):
            optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50, 1.02 - step / steps)
        loss = _loss(network(pixels), [described[i] for i in chosen])
        network.zero_grad()
        loss.backward()
        muon.step()
        adam.step()
        on_step(step + 1, steps)
    return Judge(network)


def held_out(styles: Sequence[str], count: int, *, steady: bool) -> list[tuple[Tensor, Attributes]]:
    """Renders of characters that training never sees, at any place; pictures (3, 128, 128) in [-1, 1]."""
    drawn = []
    for i in range(count):
        rng = Random(f"held out/{i}")
        identity = sample_identity(rng, styles, held_out=True)
        scene = sample_scene(rng, identity, held_out=None, steady=steady)
        picture = codec.to_pixels(render(identity, scene, 2 * codec.PICTURE_PX)[None])[0]
        drawn.append((picture, attributes(identity, scene)))
    return drawn


def shares(answers: Sequence[Mapping[str, bool]]) -> dict[str, float]:
    """Per cent right of each of FIGURES, of the pictures that have it."""
    counted = {name: [each[name] for each in answers if name in each] for name in FIGURES}
    return {name: round(100 * sum(them) / len(them), 1) for name, them in counted.items() if them}


def _layer(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _words(a: Attributes) -> dict[str, str | None]:
    """What each head should say of it."""
    return {
        "style": a.style,
        "hair colour": a.hair_colour,
        "skin": a.skin,
        "body colour": a.body_colour,
        "expression": a.expression,
        "ground": a.place.split(":")[0],
    }


def _loss(read: dict[str, Tensor], wanted: Sequence[Attributes]) -> Tensor:
    total = torch.zeros(())
    words = [_words(each) for each in wanted]
    for head, classes in HEADS.items():
        said = [each[head] for each in words]
        target = torch.tensor([_NOT_THERE if word is None else classes.index(word) for word in said])
        if (target != _NOT_THERE).any():
            total = total + (2 if head == "expression" else 1) * F.cross_entropy(read[head], target)
    colours = [each.place.split(":")[1:] for each in wanted]
    there = torch.tensor([[float(colour in those) for colour in GROUND_COLOURS] for those in colours])
    is_flat = torch.tensor([bool(those) for those in colours])
    if is_flat.any():
        total = total + 4 * F.binary_cross_entropy_with_logits(
            read["ground colours"][is_flat], there[is_flat]
        )
    return total


def right_of(read: Mapping[str, Tensor], wanted: Attributes) -> dict[str, bool]:
    """Of one picture; `read` has a row for each head."""
    words = _words(wanted)
    is_right = {
        head: classes[int(read[head].argmax())] == words[head]
        for head, classes in HEADS.items()
        if words[head] is not None
    }
    colours = wanted.place.split(":")[1:]
    seen = {GROUND_COLOURS[int(i)] for i in read["ground colours"].topk(len(colours)).indices}
    answers = {
        "style": is_right["style"],
        "expression": is_right["expression"],
        "background": is_right["ground"] and seen == set(colours),
    }
    if "hair colour" in is_right:
        answers["hair colour"] = is_right["hair colour"]
    for name in ("skin", "body colour"):
        if name in is_right:
            answers["skin or body colour"] = is_right[name]
    return answers
