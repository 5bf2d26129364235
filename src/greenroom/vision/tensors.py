"""Reads and writes safetensors files as numpy arrays: float16 and float32, which is all that our weights are.

The format is a length, a JSON header and raw bytes, so reading it needs no library that would bring torch's
ecosystem into the studio. Every offset is checked; nothing in the file is ever executed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_TYPES: Mapping[str, tuple[str, int]] = {"F16": ("<f2", 2), "F32": ("<f4", 4)}
_MOST_HEADER_BYTES = 1_000_000


def read(file: Path) -> dict[str, Array]:
    """Every tensor of a file as float32. Raises ValueError when it is not a whole file of floats."""
    return parse(file.read_bytes())


def parse(raw: bytes) -> dict[str, Array]:
    """As read, from the bytes of a file."""
    if len(raw) < 8:
        raise ValueError("too short")
    (size,) = struct.unpack("<Q", raw[:8])
    if size > min(_MOST_HEADER_BYTES, len(raw) - 8):
        raise ValueError("its header is longer than the file")
    header = json.loads(raw[8 : 8 + size])
    body = memoryview(raw)[8 + size :]
    header.pop("__metadata__", None)
    return {name: _tensor(body, **facts) for name, facts in header.items()}


def write(file: Path, tensors: Mapping[str, npt.NDArray[np.generic]], *, metadata: Mapping[str, str]) -> None:
    """Write tensors as float16, in the order of their names, so that the same tensors give the same bytes."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    blocks, offset = [], 0
    for name in sorted(tensors):
        half = np.ascontiguousarray(tensors[name], dtype="<f2")
        block = half.tobytes()
        header[name] = {
            "dtype": "F16",
            "shape": list(half.shape),
            "data_offsets": [offset, offset + len(block)],
        }
        blocks.append(block)
        offset += len(block)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    file.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(blocks))


def _tensor(body: memoryview, *, dtype: str, shape: list[int], data_offsets: list[int]) -> Array:
    begin, end = data_offsets
    if dtype not in _TYPES:
        raise ValueError(f"it holds {dtype}, not plain floats")
    kind, width = _TYPES[dtype]
    count = int(np.prod(shape, dtype=np.int64))
    if not 0 <= begin <= end <= len(body) or end - begin != count * width:
        raise ValueError("its offsets do not fit its shapes")
    return np.frombuffer(body[begin:end], dtype=kind).reshape(shape).astype(np.float32)
