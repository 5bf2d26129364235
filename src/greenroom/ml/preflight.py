"""Looks before the leap: which device and number format, whether the run fits in memory and on disk.

The figures are estimates from measured constants and the sizes in the base's own headers. Knows no training.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from greenroom.errors import OutOfMemory, StorageError
from greenroom.ml import safe
from greenroom.ml.config import TrainConfig
from greenroom.ml.families.card import Card
from greenroom.ml.families.loading import weight_files

RESERVE = 0.9
"""Share of the free memory that a run may plan with; the rest is for fragments and what starts meanwhile."""

RUNTIME_BYTES = 450_000_000
"""Measured: torch, diffusers and transformers, imported and warmed up on a CPU."""

SAMPLE_BYTES = 1 << 20
SAMPLES = 64
HASH_WHOLE_BELOW = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a run is expected to need at its peak, in bytes."""

    weights: int
    lora: int
    activations: int
    runtime: int

    @property
    def total(self) -> int:
        return self.weights + self.lora + self.activations + self.runtime


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What the first start of a run settles, and every later start keeps: sums depend on all three."""

    device: torch.device
    dtype: torch.dtype
    threads: int


def settle(run_dir: Path, config: TrainConfig) -> tuple[Settled, str | None]:
    """Read the run's run.json, or write it at the first start; then make torch compute accordingly.

    Also returns a sentence when this machine cannot do what the run began with, so its bytes will differ.
    """
    on = _device()
    fresh = {"device": on.type, "dtype": str(dtype(config.dtype, on)), "threads": torch.get_num_threads()}
    file = run_dir / "run.json"
    warning = None
    try:
        facts = json.loads(file.read_bytes())
        if facts["device"] != on.type:
            warning = f"The run began on {facts['device']} and goes on on {on.type}: its bytes will differ."
            facts = fresh
    except (OSError, ValueError, KeyError, TypeError):
        facts = fresh
    if facts is fresh:
        safe.replace(file, json.dumps(fresh).encode())
    torch.set_num_threads(int(facts["threads"]))
    if on.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        # It would fill fresh memory with NaN, which costs time and finds nothing that the tests do not.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    number = getattr(torch, str(facts["dtype"]).removeprefix("torch."))
    return Settled(device=on, dtype=number, threads=int(facts["threads"])), warning


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def dtype(wanted: str, on: torch.device) -> torch.dtype:
    """The number format of the base: bfloat16 where the device multiplies it faster than float32."""
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    if on.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if on.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def base_identity(source: Path) -> str:
    """One sha256 that tells this base from another, wherever its folder lies.

    Small files are hashed whole. Of a larger one: name, size and 64 evenly spread samples of a MiB, the first
    with the header, so a base of 20 GB takes a fraction of a second. A file that was changed only between the
    samples goes unnoticed; nothing but malice does that.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in source.rglob("*") if path.suffix in {".json", ".safetensors"}):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(source).as_posix()}\0{size}\0".encode())
        with open(file, "rb") as opened:
            if size <= HASH_WHOLE_BELOW:
                while chunk := opened.read(SAMPLE_BYTES):
                    digest.update(chunk)
            else:
                for index in range(SAMPLES):
                    opened.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
                    digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def memory(source: Path, card: Card, config: TrainConfig, number: torch.dtype) -> Memory:
    """The estimate for one run; at least the denoiser and one batch must fit at once."""
    largest = parameters = lora = 0
    for component in sorted(path for path in source.iterdir() if path.is_dir()):
        entries = [
            (name, entry)
            for file in weight_files(component)
            for name, entry in safe.read_header(file).tensors.items()
        ]
        elements = sum(_count(entry.shape) for _, entry in entries)
        parameters += elements
        if component.name == card.denoiser:
            largest = elements
            linears = {
                name.removesuffix(".weight"): entry.shape
                for name, entry in entries
                if name.endswith(".weight") and len(entry.shape) == 2
            }
            lora = sum(config.rank * sum(linears[layer]) for layer in card.lora_layers(linears))
    scale = (config.resolution_px / card.native_px) ** 2 * config.batch_size * number.itemsize / 4
    if config.gradient_checkpointing:
        scale *= card.checkpointed_share
    copies = 4 + (1 if config.ema_decay else 0)  # weight, gradient and AdamW's two moments, in float32
    # Encoders are let go after the cache, so the peak is either everything loaded or the denoiser at work.
    working = largest * number.itemsize + lora * 4 * copies + int(card.activation_bytes * scale)
    loaded = parameters * number.itemsize
    return Memory(
        weights=largest * number.itemsize + max(0, loaded - working),
        lora=lora * 4 * copies,
        activations=int(card.activation_bytes * scale),
        runtime=RUNTIME_BYTES,
    )


def check_memory(need: Memory, config: TrainConfig, on: torch.device) -> None:
    """Raise OutOfMemory, with what would make it fit, when the run needs more than is free."""
    free = _free_bytes(on) * RESERVE
    if on.type == "cpu":
        free += RUNTIME_BYTES  # this process holds that already
    limit = min(free, config.max_memory_gb * 1e9) if config.max_memory_gb else free
    if need.total <= limit:
        return
    ideas = []
    if config.batch_size > 1:
        ideas.append("a smaller batch")
    if not config.gradient_checkpointing:
        ideas.append("gradient checkpointing")
    ideas.append("a lower resolution")
    raise OutOfMemory(
        f"This training needs about {need.total / 1e9:.1f} GB of memory and {limit / 1e9:.1f} GB can be "
        f"used. Choose {' or '.join(ideas)}, or close other programs."
    )


def check_disk(run_dir: Path, need: Memory, config: TrainConfig) -> None:
    """Raise StorageError when the checkpoints of the run would not fit on the disk."""
    bytes_needed = need.lora * (config.keep_checkpoints + 2) + 20_000_000
    free = shutil.disk_usage(run_dir).free
    if free < bytes_needed:
        raise StorageError(
            f"The checkpoints of this training need {bytes_needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB "
            f"are free at {run_dir}. Make room, or keep fewer checkpoints."
        )


def _cpu_multiplies_bfloat16() -> bool:
    # NOTE: without these instructions oneDNN emulates bfloat16, and that is slower than float32.
    has = torch.cpu.get_capabilities()
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))


def _free_bytes(on: torch.device) -> float:
    if on.type == "cuda":
        return float(torch.cuda.mem_get_info(on)[0])
    return float(psutil.virtual_memory().available)


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
