"""Checks the header of a safetensors file, of any size, without torch and without reading a tensor.

Length, shapes, number types and offsets are checked, so a pickle with a friendly name, a file that was cut off
or a header that lies is refused with a sentence. Knows nothing about what the tensors are for.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from greenroom.errors import UnsafeFile

MAX_HEADER_BYTES = 16 * 1024 * 1024  # the format allows 100 MB; FLUX.1's is 0.1 MB, a thumbnail adds 0.02
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one number of each type that is read."""

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

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


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
    with open_file(path) as file:
        return read_opened(file, path.name)


def open_file(path: Path) -> BinaryIO:
    """The file, if it is a plain one; raises UnsafeFile otherwise."""
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


def read_opened(file: BinaryIO, name: str) -> Header:
    """As read_header, of a file that is open at its beginning; `name` is what errors call it."""
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
        raise _lies(file_name, f"the entry of tensor {short(name)} is malformed")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _lies(file_name, f"tensor {short(name)} has the unknown number type {short(str(dtype))}")
    if not _are_counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise _lies(file_name, f"tensor {short(name)} has an impossible shape")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise _lies(file_name, f"tensor {short(name)} has impossible offsets")
    expected = prod(shape) * ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != expected:
        raise _lies(
            file_name,
            f"tensor {short(name)} claims a shape of {expected:,} bytes but has {offsets[1] - offsets[0]:,}",
        )
    return TensorEntry(dtype=dtype, shape=tuple(shape), start=offsets[0], end=offsets[1])


def _are_counts(value: Any) -> bool:
    # NOTE: the type is compared, because True is an int for isinstance.
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**62 for item in value)


def _check_offsets(file_name: str, tensors: Mapping[str, TensorEntry], data_bytes: int) -> None:
    position = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start < position:
            raise _lies(file_name, f"tensor {short(name)} overlaps the one before it")
        if entry.start > position:
            gap = entry.start - position
            raise _lies(file_name, f"{gap:,} unexplained bytes lie before tensor {short(name)}")
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


def _lies(file_name: str, what: str) -> UnsafeFile:
    return UnsafeFile(f"{file_name} is not a sound safetensors file: {what}. Download or export it again.")


def short(text: str) -> str:
    """A name in quotes, cut where it is very long."""
    return repr(text if len(text) <= 80 else text[:77] + "…")
