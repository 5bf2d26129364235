"""Only sound safetensors files are opened, and equal content gives equal bytes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenroom.errors import StorageError, UnsafeFile
from greenroom.ml import header, safe


def sound() -> dict[str, torch.Tensor]:
    return {
        "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a": torch.ones(3, dtype=torch.bfloat16),
        "count": torch.tensor(7, dtype=torch.int64),
        "none": torch.empty(0, 4),
    }


def raw(table: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(start: int, end: int, shape: list[Any] | None = None, dtype: Any = "F32") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - start) // 4] if shape is None else shape,
        "data_offsets": [start, end],
    }


def refused(tmp_path: Path, data: bytes) -> str:
    file = tmp_path / "actor.safetensors"
    file.write_bytes(data)
    with pytest.raises(UnsafeFile) as caught:
        header.read_header(file)
    with pytest.raises(UnsafeFile):
        safe.load(file)
    return str(caught.value)


def test_what_is_saved_is_loaded_by_us_and_by_the_safetensors_package(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    safe.save(file, sound(), {"title": "Kia ☂"})
    tensors, metadata = safe.load(file)
    theirs = safetensors.torch.load_file(file)
    assert metadata == {"title": "Kia ☂"}
    for name, tensor in sound().items():
        assert tensors[name].dtype == theirs[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        assert torch.equal(tensors[name], tensor)
        assert torch.equal(theirs[name], tensor)


def test_files_of_the_safetensors_package_are_loaded(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    safetensors.torch.save_file(sound(), file, {"format": "pt"})
    tensors, metadata = safe.load(file)
    assert metadata == {"format": "pt"}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in sound().items())


def test_equal_content_gives_equal_bytes_in_every_process_and_order() -> None:
    code = (
        "import torch, hashlib; from greenroom.ml import safe;"
        "t={'b': torch.ones(2), 'a': torch.zeros(3)}; m={str(i): 'x' for i in range(50)};"
        "print(hashlib.sha256(safe.serialize(t, m)).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
    one = safe.serialize(sound(), {"x": "1", "y": "2"})
    other = safe.serialize(dict(reversed(sound().items())), {"y": "2", "x": "1"})
    assert one == other


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps({"weight": [1.0]}), "pickle"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (b"GGUF" + bytes(60), "GGUF"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(60), "7z"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "empty"),
        (b"\x01", "some other kind"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refused(tmp_path, data)


def test_a_pickle_by_torch_under_a_safe_name_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    file = tmp_path / "actor.safetensors"
    torch.save(Evil(), file)
    with pytest.raises(UnsafeFile, match="zip archive"):
        safe.load(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (raw({"a": entry(0, 4)}, bytes(4), length=10**6), "whole file has"),
        (raw({"a": entry(0, 4)}, bytes(4), length=2**63), "limit"),
        (raw({"a": entry(0, 4)}, bytes(4), length=5), "JSON"),
        (raw(b'{"a": ' + b"[" * 200_000), "JSON|nested"),
        (raw(b'{"\xff": 1}'), "JSON"),
        (raw(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":1}', b"x"), "twice"),
        (raw({"__metadata__": {"a": 1}}), "metadata"),
        (raw({"__metadata__": [1]}), "metadata"),
        (raw({"a": [1]}), "malformed"),
        (raw({"a": entry(0, 4) | {"extra": 1}}, bytes(4)), "malformed"),
        (raw({"a": entry(0, 4, dtype="F31")}, bytes(4)), "number type"),
        (raw({"a": entry(0, 4, dtype=["F32"])}, bytes(4)), "number type"),
        (raw({"a": entry(0, 4, shape=[True])}, bytes(4)), "shape"),
        (raw({"a": entry(0, 4, shape=[-1])}, bytes(4)), "shape"),
        (raw({"a": entry(0, 4, shape=[1.0])}, bytes(4)), "shape"),
        (raw({"a": entry(0, 4, shape=[1] * 9)}, bytes(4)), "shape"),
        (raw({"a": entry(0, 4, shape=[2**40, 2**40])}, bytes(4)), "claims a shape"),
        (raw({"a": entry(0, 8, shape=[1])}, bytes(8)), "claims a shape"),
        (raw({"a": entry(4, 0, shape=[0])}, bytes(4)), "claims a shape"),
        (raw({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "overlaps"),
        (raw({"a": entry(0, 4), "b": entry(0, 4)}, bytes(4)), "overlaps"),
        (raw({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), "unexplained"),
        (raw({"a": entry(0, 4)}, bytes(8)), "unexplained"),
        (raw({"a": entry(0, 40)}, bytes(8)), "cut off"),
        (raw({"a": entry(0, 2**42)}, bytes(8)), "cut off"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    message = refused(tmp_path, data)
    assert any(word in message for word in words.split("|")), message


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    whole = safe.serialize(sound(), {})
    for length in range(len(whole)):
        assert refused(tmp_path, whole[:length])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_file_is_loaded_or_refused_but_never_anything_else(
    tmp_path: Path, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(safe.serialize(sound(), {"title": "Kia"}))
    for position, value in flips:
        data[position % len(data)] = value
    file = tmp_path / "x.safetensors"
    file.write_bytes(data)
    try:
        ours, _ = safe.load(file)
    except UnsafeFile:
        return
    theirs = safetensors.torch.load_file(file)  # what we let through, the format's own reader reads the same
    assert ours.keys() == theirs.keys()
    assert all(_bits(ours[name]) == _bits(theirs[name]) for name in ours)


def _bits(tensor: torch.Tensor) -> bytes:
    return bytes(np.asarray(tensor.reshape(-1).view(torch.uint8))) if tensor.numel() else b""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_broken_weights_are_named(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    file = tmp_path / "actor.safetensors"
    weights = torch.zeros(4)
    weights[2] = value
    safe.save(file, {"good": torch.ones(2), "layers.3.lora_B": weights.to(dtype)}, {})
    with pytest.raises(UnsafeFile, match=r"NaN.*'layers\.3\.lora_B'"):
        safe.load(file)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match="No such file"):
        safe.load(tmp_path / "none.safetensors")
    with pytest.raises(UnsafeFile):
        safe.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeFile, match="not a file"):  # and does not wait for a writer
        safe.load(tmp_path / "pipe")


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "base.safetensors"
    safe.save(file, {"a": torch.zeros(1000)}, {})
    with pytest.raises(UnsafeFile, match="base model"):
        safe.load(file, max_bytes=1000)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    safe.save(file, {"a": torch.zeros(1)}, {})
    before = file.read_bytes()
    blocker = tmp_path / "folder"
    blocker.mkdir()
    (blocker / "inside").touch()
    with pytest.raises(StorageError, match="Free some space"):
        safe.replace(blocker, b"new")  # a file cannot replace a folder
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "x.safetensors"]
