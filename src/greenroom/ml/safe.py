"""Reads and writes weights files: plain safetensors and nothing else.

A file's header is checked (see header.py) before a byte of its tensors is touched, so a pickle with a friendly
name or a header that lies is refused with a sentence. Knows nothing about LoRAs or key names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from greenroom.errors import StorageError, UnsafeFile
from greenroom.ml.header import TensorEntry, open_file, read_opened, short

MAX_LORA_BYTES = 4 * 1024**3

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def load(path: Path, *, max_bytes: int = MAX_LORA_BYTES) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a checked file, on the CPU, and its metadata.

    Raises UnsafeFile also when a tensor holds NaN or infinity: one such weight makes every picture black.
    """
    with open_file(path) as file:
        header = read_opened(file, path.name)
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise UnsafeFile(
                f"{path.name} is {size / 1e9:.1f} GB; a LoRA has less than {max_bytes / 1e9:.1f} GB. "
                "If it is a base model, add it as a base."
            )
        # NOTE: the bytes that were checked are the bytes that are used: one open file, read into memory once.
        data = bytearray(size - header.data_start)
        file.seek(header.data_start)
        if file.readinto(data) != len(data):  # type: ignore[attr-defined]
            raise UnsafeFile(f"{path.name} became shorter while it was read. Copy it again.")
    tensors = {name: _tensor(data, entry) for name, entry in header.tensors.items()}
    broken = [
        name for name, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)
    ]
    if broken:
        raise UnsafeFile(
            f"{path.name} holds NaN or infinite weights in {_some(broken)}: "
            "the training that wrote it broke down. Use an earlier checkpoint, or a lower learning rate."
        )
    return tensors, dict(header.metadata)


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write a safetensors file in one step (staged, fsynced, renamed) and return its sha256.

    NOTE: the safetensors package writes the metadata in an order that differs from process to process; here
    equal content gives equal bytes, so that a resumed run's file can be compared with an unbroken one's.
    """
    data = serialize(tensors, metadata)
    replace(path, data)
    return hashlib.sha256(data).hexdigest()


def serialize(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file: tensors and metadata sorted, the header padded to 8 bytes."""
    table: dict[str, Any] = {}
    if metadata:
        table["__metadata__"] = {key: metadata[key] for key in sorted(metadata)}
    chunks: list[bytes] = []
    position = 0
    # NOTE: wide types first, then names: the safetensors package's order, which keeps every tensor aligned.
    for name in sorted(tensors, key=lambda key: (-tensors[key].element_size(), key)):
        tensor = tensors[name].detach().to("cpu").contiguous()
        chunk = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        table[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + len(chunk)],
        }
        chunks.append(chunk)
        position += len(chunk)
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *chunks))


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a crash, sees either the old file or the whole new one."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(staged, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"Could not write {path.name}: {error.strerror}. "
            f"Free some space or make {path.parent} writable, then try again."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            staged.unlink()  # only there when something above went wrong, a stop signal included


def _fsync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call and needs none."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _tensor(data: bytearray, entry: TensorEntry) -> Tensor:
    dtype = DTYPES[entry.dtype]
    if entry.start == entry.end:
        return torch.empty(entry.shape, dtype=dtype)
    # Copied out, so that each tensor is aligned and none keeps the whole file alive.
    flat = torch.frombuffer(
        data, dtype=torch.uint8, count=entry.end - entry.start, offset=entry.start
    ).clone()
    return flat.view(dtype).reshape(entry.shape)


def _is_finite(tensor: Tensor) -> bool:
    if tensor.element_size() == 1:  # float8 has no isfinite of its own
        tensor = tensor.float()
    return bool(torch.isfinite(tensor).all())


def _some(names: list[str]) -> str:
    shown = ", ".join(short(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
