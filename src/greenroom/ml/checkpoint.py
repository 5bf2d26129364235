"""Saves and finds the exact state of a run. A checkpoint is there completely or not at all.

A folder `checkpoints/step-000100` is written under a staged name, each file fsynced, its manifest (sha256 of
each file) last, and then renamed. There is no pickle in it: weights are safetensors, everything else is JSON.
Random numbers need no state: every step derives its generator, and its pictures, from (seed, step).
Knows LoRA weights and optimizers; nothing about bases or the loop.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from greenroom.errors import ChangedDataset, GreenroomError, StorageError
from greenroom.ml import lora, safe
from greenroom.ml import optimizer as optimizers

FOLDER = "checkpoints"
STAGED = ".tmp-"
FORMAT = 1
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a run's weights come from; each is a sha256."""

    dataset: str
    config: str
    base: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state after `step` steps.

    tensors: file stem -> named tensors ("lora", "optimizer", "ema"). state: anything JSON, such as losses.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: dict[str, Any]


def save(run_dir: Path, checkpoint: Checkpoint, identity: Identity, keep: int) -> Path:
    """Write the checkpoint, then drop all but the newest `keep`. Returns its folder.

    Raises StorageError when the disk is full or read-only; the checkpoints before it are then still there.
    """
    root = run_dir / FOLDER
    final = root / f"step-{checkpoint.step:06d}"
    staged = root / f"{STAGED}{final.name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove(staged)
        staged.mkdir()
        files = {f"{stem}.safetensors": safe.serialize(part, {}) for stem, part in checkpoint.tensors.items()}
        files["state.json"] = json.dumps(checkpoint.state).encode()
        for name, data in files.items():
            _write(staged / name, data)
        manifest = {
            "format": FORMAT,
            "step": checkpoint.step,
            "identity": vars(identity),
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        manifest["seal"] = _seal(manifest)
        _write(staged / "manifest.json", json.dumps(manifest, indent=2).encode())
        _sync_folder(staged)
        os.replace(staged, final)
        _sync_folder(root)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        why = "the disk is full" if error.errno in _FULL else str(error.strerror)
        raise StorageError(
            f"The checkpoint of step {checkpoint.step} could not be written: {why}. The checkpoints "
            "before it are kept; make room and start the same training again."
        ) from error
    for old in _folders(run_dir)[keep:]:
        doomed = root / f"{STAGED}old-{old.name}"
        _remove(doomed)
        os.replace(old, doomed)  # a half-removed folder must not pass for a checkpoint
        _remove(doomed)
    return final


def newest(run_dir: Path, identity: Identity) -> tuple[Checkpoint | None, list[str]]:
    """The newest sound checkpoint, and a sentence about each corrupt one, which is put aside as `corrupt-…`.

    Raises ChangedDataset when the run began with other pictures, settings or another base.
    """
    for leftover in (run_dir / FOLDER).glob(f"{STAGED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    complaints: list[str] = []
    for folder in _folders(run_dir):
        try:
            return _read(folder, identity), complaints
        except _CorruptError as error:
            aside = folder.with_name(f"corrupt-{folder.name}")
            _remove(aside)
            os.replace(folder, aside)
            complaints.append(f"Checkpoint {folder.name} is corrupt ({error}); the one before it is used.")
    return None, complaints


def freeze(
    step: int,
    weights: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None,
    state: dict[str, Any],
) -> Checkpoint:
    """The state after `step` steps, as it lies in memory: write it before the next one changes it."""
    tensors: dict[str, Mapping[str, Tensor]] = {
        "lora": weights,
        "optimizer": optimizers.moments(optimizer, weights),
    }
    if average is not None:
        tensors["ema"] = average
    return Checkpoint(step=step, tensors=tensors, state=state)


def thaw(
    begun: Checkpoint,
    weights: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor] | None,
) -> None:
    """Put a checkpoint back into a LoRA that was attached anew and an optimizer that has made no step."""
    lora.restore(weights, begun.tensors["lora"])
    optimizers.restore(optimizer, weights, begun.tensors["optimizer"], begun.step)
    if average is not None:
        for name, mean in average.items():
            mean.copy_(begun.tensors["ema"][name])


class _CorruptError(Exception):
    """Says what is wrong with a checkpoint's files."""


def _read(folder: Path, identity: Identity) -> Checkpoint:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        listed, step, began = manifest["files"], int(manifest["step"]), Identity(**manifest["identity"])
        seal = manifest.pop("seal")
        data = {Path(name).name: (folder / Path(name).name).read_bytes() for name in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _CorruptError(f"{type(error).__name__}: {error}") from error
    if seal != _seal(manifest):
        raise _CorruptError("its manifest was changed")
    for name, content in data.items():
        if hashlib.sha256(content).hexdigest() != listed[name]:
            raise _CorruptError(f"{name} has other bytes than its manifest says")
    _check_same(began, identity)
    try:
        tensors = {
            name.removesuffix(".safetensors"): safe.load(folder / name)[0]
            for name in data
            if name.endswith(".safetensors")
        }
        state = json.loads(data["state.json"])
    except (GreenroomError, ValueError, KeyError) as error:
        raise _CorruptError(str(error)) from error
    return Checkpoint(step=step, tensors=tensors, state=state)


def _seal(manifest: Mapping[str, Any]) -> str:
    """sha256 over the manifest itself, so that a flipped bit in it is told from another dataset."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _check_same(began: Identity, now: Identity) -> None:
    words = {"dataset": "pictures or captions", "config": "settings", "base": "base model"}
    changed = [word for field, word in words.items() if getattr(began, field) != getattr(now, field)]
    if changed:
        raise ChangedDataset(
            f"The {' and the '.join(changed)} differ from those this run began with, so it cannot go on; its "
            "checkpoints are kept. Put them back, or start a new training."
        )


def _folders(run_dir: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted((run_dir / FOLDER).glob("step-[0-9]*"), key=lambda path: path.name, reverse=True)


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no such call and needs none
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
