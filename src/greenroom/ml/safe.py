"""Reads and writes weights files: plain safetensors and nothing else.

A file's header is checked (length, shapes, dtypes, offsets) before a byte of its tensors is touched, so a
pickle with a friendly name or a header that lies is refused with a sentence. Knows nothing about LoRAs or key
names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from greenroom.errors import StorageError, UnsafeFile

MAX_HEADER_BYTES = 16 * 1024 * 1024  # the format allows 100 MB; FLUX.1's is 0.1 MB, a thumbnail adds 0.02
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
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

# What people hand over by mistake, told by its first bytes.
FOREIGN = (
    (b"PK\x03\x04", "a zip archive, as PyTorch's pickle files (.pt, .bin, .ckpt) are"),
    (b"\x80", "a Python pickle, which could run any program"),
    (b"GGUF", "a GGUF file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (b"<", "a web page or XML text"),
)


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor as the header describes it; start and end count from the beginning of the tensor data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """A checked header: the tensors lie one after the other, without overlap or gap, to the file's end."""

    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]
    data_start: int


def read_header(path: Path) -> Header:
    """Check a safetensors file of any size and return its header; the tensors are not read.

    Raises UnsafeFile for everything that is not a well-formed safetensors file.
    """
    with _open(path) as file:
        return _read_header(file, path.name)


def load(path: Path, *, max_bytes: int = MAX_LORA_BYTES) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a checked file, on the CPU, and its metadata.

    Raises UnsafeFile also when a tensor holds NaN or infinity: one such weight makes every picture black.
    """
    with _open(path) as file:
        header = _read_header(file, path.name)
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


def _open(path: Path) -> BinaryIO:
    try:
        # NOTE: O_NONBLOCK, or opening a named pipe would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UnsafeFile(
            f"{path.name} cannot be read: {error.strerror}. Give the path of a .safetensors file."
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeFile(f"{path.name} is not a file. Give the path of a .safetensors file.")
    return os.fdopen(descriptor, "rb")


def _read_header(file: BinaryIO, name: str) -> Header:
    size = os.fstat(file.fileno()).st_size
    start = file.read(64)
    # A true header's length is small, so its eight bytes end in zeros and its text begins with a brace.
    length = int.from_bytes(start[:8], "little")
    if len(start) < 10 or start[8:9] != b"{":
        what = next((what for magic, what in FOREIGN if start.startswith(magic)), "some other kind of file")
        raise UnsafeFile(
            f"{name} is not a safetensors file but {what if start else 'empty'}. "
            "Only safetensors files are loaded; convert it with the tool that wrote it."
        )
    if length > MAX_HEADER_BYTES:
        raise _lies(name, f"its header claims {length:,} bytes and the limit is {MAX_HEADER_BYTES:,}")
    if length > size - 8:
        raise _lies(name, f"its header claims {length:,} bytes, but the whole file has {size:,}")
    file.seek(8)
    try:
        table = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_no_duplicates)
    except RecursionError:
        raise _lies(name, "its header is nested too deeply") from None
    except ValueError as error:
        raise _lies(name, f"its header is not valid JSON ({error})") from None
    if not isinstance(table, dict):
        raise _lies(name, "its header is not a table of tensors")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _lies(name, "its metadata are not texts")
    if len(table) > MAX_TENSORS:
        raise _lies(name, f"it lists {len(table):,} tensors and the limit is {MAX_TENSORS:,}")
    tensors = {key: _entry(name, key, value) for key, value in table.items()}
    _check_offsets(name, tensors, data_bytes=size - 8 - length)
    return Header(metadata=metadata, tensors=tensors, data_start=8 + length)


def _entry(file_name: str, name: str, value: Any) -> TensorEntry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _lies(file_name, f"the entry of tensor {_short(name)} is malformed")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _lies(file_name, f"tensor {_short(name)} has the unknown number type {_short(str(dtype))}")
    if not _are_counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise _lies(file_name, f"tensor {_short(name)} has an impossible shape")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise _lies(file_name, f"tensor {_short(name)} has impossible offsets")
    expected = prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != expected:
        raise _lies(
            file_name,
            f"tensor {_short(name)} claims a shape of {expected:,} bytes but has {offsets[1] - offsets[0]:,}",
        )
    return TensorEntry(dtype=dtype, shape=tuple(shape), start=offsets[0], end=offsets[1])


def _are_counts(value: Any) -> bool:
    # NOTE: the type is compared, because True is an int for isinstance.
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**62 for item in value)


def _check_offsets(file_name: str, tensors: Mapping[str, TensorEntry], data_bytes: int) -> None:
    position = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start < position:
            raise _lies(file_name, f"tensor {_short(name)} overlaps the one before it")
        if entry.start > position:
            gap = entry.start - position
            raise _lies(file_name, f"{gap:,} unexplained bytes lie before tensor {_short(name)}")
        position = entry.end
    if position > data_bytes:
        raise _lies(
            file_name, f"it is cut off: its tensors need {position:,} bytes, {data_bytes:,} are there"
        )
    if position < data_bytes:
        raise _lies(file_name, f"{data_bytes - position:,} unexplained bytes follow its tensors")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands in it twice")
    return table


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


def _lies(file_name: str, what: str) -> UnsafeFile:
    return UnsafeFile(f"{file_name} is not a sound safetensors file: {what}. Download or export it again.")


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")


def _some(names: list[str]) -> str:
    shown = ", ".join(_short(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
