"""What a training will need, from the headers of its base and the facts of its card. Imports no torch.

The figures are estimates: weights and LoRA are counted, activations and arithmetic scale from the card's count
at the base's own size. Knows no device; the caller says how much is free and how fast it is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenroom.ml.config import TrainConfig
from greenroom.ml.families.card import Card
from greenroom.ml.families.loading import weight_files
from greenroom.ml.header import read_header

RUNTIME_BYTES = 450_000_000
"""Measured: torch, diffusers and transformers, imported and warmed up on a CPU."""

NF4_BYTES = 0.5 + 4 / 64
"""Of one weight in four bits, with the float32 scale that 64 of them share."""

SMALL_ENCODERS_BYTES = 256_000_000
"""Encoders smaller than this stay where they are: loading them again would cost more than they do."""

QUANT_PACKAGE = "bitsandbytes"


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to need less memory: the fields of TrainConfig that it sets, and what it costs."""

    name: str
    words: str
    changes: dict[str, Any]
    needs_package: bool = False


LADDER = (
    Rung(name="bfloat16", words="the base in bfloat16", changes={"dtype": "bfloat16"}),
    Rung(
        name="gradient_checkpointing",
        words="gradient checkpointing, a third to a half slower",
        changes={"gradient_checkpointing": True},
    ),
    Rung(
        name="adamw8bit",
        words="the optimizer's moments in 8 bits",
        changes={"optimizer": "adamw8bit"},
        needs_package=True,
    ),
    Rung(
        name="offload_encoders",
        words="one network on the device at a time",
        changes={"offload_encoders": True},
    ),
    Rung(
        name="nf4",
        words="the frozen base in 4 bits, which it then draws samples with",
        changes={"base_precision": "nf4"},
        needs_package=True,
    ),
)
"""In the order in which they are taken. The base in 4 bits comes last: nothing else changes what is learned on."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the headers of a base say, in numbers of weights."""

    denoiser: int
    in_blocks: int
    """Those of them that stand in matrices of the repeated blocks, which nf4 makes small."""
    others: tuple[int, ...]
    """Of each other network."""
    lora_per_rank: int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a run is expected to need on its device at its peak, in bytes."""

    weights: int
    lora: int
    activations: int
    runtime: int = RUNTIME_BYTES

    @property
    def total(self) -> int:
        return self.weights + self.lora + self.activations + self.runtime


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The config that fits into what is free, or the one that needs least, and the rungs that led to it."""

    config: TrainConfig
    need: Memory
    rungs: tuple[Rung, ...] = field(default=())
    fits: bool = True


def sizes(source: Path, card: Card) -> Sizes:
    """Read the headers of a diffusers folder. Raises UnsafeFile for a file that is not sound."""
    denoiser = in_blocks = lora = 0
    others = []
    for network in sorted(path for path in source.iterdir() if path.is_dir()):
        entries = [pair for file in weight_files(network) for pair in read_header(file).tensors.items()]
        count = sum(entry.elements for _, entry in entries)
        if network.name != card.denoiser:
            others.append(count)
            continue
        denoiser = count
        matrices = {
            name.removesuffix(".weight"): entry
            for name, entry in entries
            if name.endswith(".weight") and len(entry.shape) == 2
        }
        in_blocks = sum(entry.elements for path, entry in matrices.items() if stands_in_block(path))
        lora = sum(sum(matrices[path].shape) for path in card.lora_layers(matrices))
    return Sizes(denoiser=denoiser, in_blocks=in_blocks, others=tuple(others), lora_per_rank=lora)


def stands_in_block(path: str) -> bool:
    """True for a layer of one of many alike blocks, as transformer_blocks.3.attn.to_q."""
    return any(part.isdecimal() for part in path.split("."))


def memory(base: Sizes, card: Card, config: TrainConfig, item_bytes: int, *, device: str = "cuda") -> Memory:
    """The estimate for one run whose base has numbers of `item_bytes`: the largest of its three phases.

    Captions and pictures are read by the encoders, with the denoiser there too unless they are offloaded; then
    the denoiser trains alone (encoders that are small stay); then samples need the encoders once more. A CPU
    holds everything while it loads, whatever is offloaded later, and lets encoders go for good.
    """
    plain = base.denoiser * item_bytes
    denoiser = plain
    if config.base_precision == "nf4":
        denoiser = int((base.denoiser - base.in_blocks) * item_bytes + base.in_blocks * NF4_BYTES)
    # The weight and its gradient in float32, and AdamW's two moments.
    moments = 2 if config.optimizer == "adamw8bit" else 8
    lora = base.lora_per_rank * config.rank * (8 + moments + (4 if config.ema_decay else 0))
    scale = (config.resolution_px / card.native_px) ** 2 * config.batch_size * item_bytes / 4
    activations = int(card.activation_bytes * scale * _share(card, config))
    encoders = sum(base.others) * item_bytes
    kept = encoders if encoders < SMALL_ENCODERS_BYTES else 0
    working = denoiser + kept + lora + activations
    if device == "cpu":
        peak = max(plain + encoders, working)
    elif config.offload_encoders:
        peak = max(max(base.others, default=0) * item_bytes + lora, working)
    else:
        peak = max(denoiser + encoders + (lora if config.sample_prompts else 0), working)
    return Memory(weights=peak - lora - activations, lora=lora, activations=activations)


def fit(
    base: Sizes,
    card: Card,
    config: TrainConfig,
    item_bytes: int,
    *,
    limit_bytes: float,
    device: str = "cuda",
    first: Iterable[str] = (),
) -> Fit:
    """Take rungs of the ladder, in order, until the run fits; those that do not help are left out.

    first: names of rungs that are taken whatever they bring, such as those that an earlier try had to take.
    """

    def with_rungs(rungs: list[Rung]) -> tuple[TrainConfig, int, Memory]:
        changed = applied(config, rungs)
        size = 2 if any(rung.name == "bfloat16" for rung in rungs) else item_bytes
        return changed, size, memory(base, card, changed, size, device=device)

    taken = [rung for rung in LADDER if rung.name in set(first)]
    fixed = list(taken)
    settled, size, need = with_rungs(taken)
    while need.total > limit_bytes and config.memory_ladder:
        helping = (
            rung
            for rung in _climbable(settled, size, device)
            if with_rungs([*taken, rung])[2].total < need.total
        )
        if (rung := next(helping, None)) is None:
            return Fit(config=settled, need=need, rungs=tuple(taken), fits=False)
        taken.append(rung)
        settled, size, need = with_rungs(taken)
    # What a later rung made needless goes again, the dearest first.
    for rung in sorted(taken, key=LADDER.index, reverse=True):
        rest = [each for each in taken if each is not rung]
        if rung not in fixed and with_rungs(rest)[2].total <= limit_bytes:
            taken = rest
    settled, _, need = with_rungs(taken)
    return Fit(config=settled, need=need, rungs=tuple(taken), fits=need.total <= limit_bytes)


def next_rung(config: TrainConfig, item_bytes: int, device: str) -> Rung | None:
    """The rung to take when memory ran out although the estimate fitted; None at the top of the ladder."""
    return next(_climbable(config, item_bytes, device), None)


def applied(config: TrainConfig, rungs: Iterable[Rung]) -> TrainConfig:
    """The config with what the rungs change."""
    return config.model_copy(update={key: value for rung in rungs for key, value in rung.changes.items()})


def has_quant_package() -> bool:
    """Whether what the rungs adamw8bit and nf4 need is installed; it is not imported."""
    return importlib.util.find_spec(QUANT_PACKAGE) is not None


def flops(base: Sizes, card: Card, config: TrainConfig) -> float:
    """The arithmetic of the whole run: forward, backward through frozen weights, and again if checkpointed.

    It grows with the picture's area, though the share of attention in it grows faster.
    """
    once = card.forward_flops
    if once is None:
        once = 2.0 * base.denoiser * ((card.native_px / card.size_multiple_px) ** 2 + card.text_max_tokens)
    passes = 3 if config.gradient_checkpointing else 2
    size = (config.resolution_px / card.native_px) ** 2
    return once * size * config.batch_size * config.steps * passes


def _share(card: Card, config: TrainConfig) -> float:
    return card.checkpointed_share if config.gradient_checkpointing else 1.0


def _climbable(config: TrainConfig, item_bytes: int, device: str) -> Iterator[Rung]:
    """The rungs that are still to take here, in order."""
    for rung in LADDER:
        if rung.name == "bfloat16":
            if config.dtype != "auto" or item_bytes != 4:
                continue
        elif all(getattr(config, key) == value for key, value in rung.changes.items()):
            continue
        if rung.needs_package and not (has_quant_package() and device in {"cuda", "cpu"}):
            continue
        if rung.name == "offload_encoders" and device == "cpu":
            continue  # a CPU lets its encoders go anyway
        yield rung
