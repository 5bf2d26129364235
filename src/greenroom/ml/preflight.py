"""Looks before the leap: which device and number format, whether the run fits in memory and on disk.

What it settles stands in the run's run.json, so that every later start computes the same. Knows no training.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from greenroom.errors import BadInput, OutOfMemory, StorageError
from greenroom.ml import safe
from greenroom.ml.config import TrainConfig, read_train
from greenroom.ml.families import estimate
from greenroom.ml.families.card import Card
from greenroom.ml.families.estimate import Fit, Memory, Rung

RESERVE = 0.9
"""Share of the free memory that a run may plan with; the rest is for fragments and what starts meanwhile."""


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
    on = device(config.device)
    fresh = {"device": on.type, "dtype": str(dtype(config.dtype, on)), "threads": torch.get_num_threads()}
    facts = _run_facts(run_dir)
    warning = None
    if not fresh.keys() <= facts.keys():
        facts = {**facts, **fresh}
    elif facts["device"] != on.type:
        warning = f"The run began on {facts['device']} and goes on on {on.type}: its bytes will differ."
        facts = {**facts, **fresh}
    if "bfloat16" in facts.get("rungs", []):
        facts["dtype"] = str(torch.bfloat16)
    _write_facts(run_dir, facts)
    torch.set_num_threads(int(facts["threads"]))
    if on.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        # It would fill fresh memory with NaN, which costs time and finds nothing that the tests do not.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    number = getattr(torch, str(facts["dtype"]).removeprefix("torch."))
    return Settled(device=on, dtype=number, threads=int(facts["threads"])), warning


def device(wanted: str = "auto") -> torch.device:
    """The device of that name, "auto" being the best there is. Raises BadInput when this machine has none."""
    there = {
        "cuda": torch.cuda.is_available(),  # ROCm calls itself so as well
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    best = next(name for name, is_there in there.items() if is_there)
    if not there.get(wanted, wanted == "auto"):
        raise BadInput(f"This machine has no {wanted} device for torch. Use {best}, or auto.")
    return torch.device(best if wanted == "auto" else wanted)


def dtype(wanted: str, on: torch.device) -> torch.dtype:
    """The number format of the base: bfloat16 where the device multiplies it faster than float32."""
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    if on.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if on.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def settle_memory(
    run_dir: Path, source: Path, card: Card, config: TrainConfig, on: Settled
) -> tuple[Fit, Settled]:
    """The config as it is trained: with the rungs of the memory ladder that this run needs, kept in run.json.

    What the run took at its first start, or after memory ran out, it takes again, so its bytes stay the same.
    Raises OutOfMemory, with what would help, when it does not fit with all of them.
    """
    free = free_bytes(on.device) * RESERVE
    if on.device.type == "cpu":
        free += estimate.RUNTIME_BYTES  # this process holds that already
    limit = min(free, config.max_memory_gb * 1e9) if config.max_memory_gb else free
    found = estimate.fit(
        estimate.sizes(source, card),
        card,
        config,
        on.dtype.itemsize,
        limit_bytes=limit,
        device=on.device.type,
        first=_run_facts(run_dir).get("rungs", []),
    )
    if not found.fits:
        raise OutOfMemory(_too_much(found, limit))
    _keep_rungs(run_dir, found.rungs)
    is_halved = any(rung.name == "bfloat16" for rung in found.rungs)
    return found, replace(on, dtype=torch.bfloat16) if is_halved else on


def climb(run_dir: Path) -> Rung:
    """Note in run.json that the run takes one rung more, since memory ran out; at its next start it does.

    Raises OutOfMemory when there is none left, or, with the rung to take, when the config forbids the ladder.
    """
    config = read_train(run_dir)
    on, _ = settle(run_dir, config)
    had = set(_run_facts(run_dir).get("rungs", []))
    taken = estimate.applied(config, [each for each in estimate.LADDER if each.name in had])
    rung = estimate.next_rung(taken, on.dtype.itemsize, on.device.type)
    kept = "Memory ran out while training; the last checkpoint is kept."
    if rung is None:
        raise OutOfMemory(
            f"{kept} Every measure that could help here is taken. Choose a smaller batch or a lower resolution, "
            "or close other programs."
        )
    if not config.memory_ladder:
        setting = ", ".join(f"{key} = {json.dumps(value)}" for key, value in rung.changes.items())
        raise OutOfMemory(f"{kept} Take {rung.words} ({setting}), or allow it with memory_ladder = true.")
    _keep_rungs(run_dir, [each for each in estimate.LADDER if each.name in {*had, rung.name}])
    return rung


def check_package(config: TrainConfig) -> None:
    """Raise BadInput when the config asks for numbers that only an optional package computes with."""
    wanted = [
        f"{field} = {value!r}"
        for field, value, plain in (
            ("optimizer", config.optimizer, "adamw"),
            ("base_precision", config.base_precision, "full"),
        )
        if value != plain
    ]
    if wanted and not estimate.has_quant_package():
        raise BadInput(
            f"{' and '.join(wanted)} needs the package {estimate.QUANT_PACKAGE}. "
            "Install it with: pip install 'greenroom[quant]'."
        )


def _too_much(found: Fit, limit: float) -> str:
    config = found.config
    ideas = ["a smaller batch"] if config.batch_size > 1 else []
    if not config.memory_ladder:
        ideas.append("the memory ladder (memory_ladder = true)")
    elif not estimate.has_quant_package():
        ideas.append(
            "the package bitsandbytes (pip install 'greenroom[quant]'), which makes the base smaller"
        )
    ideas.append("a lower resolution")
    measures = f", with {' and '.join(rung.words for rung in found.rungs)}" if found.rungs else ""
    return (
        f"This training needs about {found.need.total / 1e9:.1f} GB of memory{measures}, and {limit / 1e9:.1f} GB "
        f"can be used. Choose {' or '.join(ideas)}, or close other programs."
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


def free_bytes(on: torch.device) -> float:
    """What the device has free now, in bytes."""
    if on.type == "cuda":
        return float(torch.cuda.mem_get_info(on)[0])
    return float(psutil.virtual_memory().available)


def _run_facts(run_dir: Path) -> dict[str, Any]:
    try:
        facts = json.loads((run_dir / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write_facts(run_dir: Path, facts: dict[str, Any]) -> None:
    if facts != _run_facts(run_dir):
        safe.replace(run_dir / "run.json", json.dumps(facts).encode())


def _keep_rungs(run_dir: Path, rungs: Sequence[Rung]) -> None:
    facts = {**_run_facts(run_dir), "rungs": [rung.name for rung in rungs]}
    if "bfloat16" in facts["rungs"]:
        facts["dtype"] = str(torch.bfloat16)
    _write_facts(run_dir, facts)
