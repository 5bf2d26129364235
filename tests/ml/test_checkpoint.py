"""A checkpoint is there completely or not at all, and only goes back into the run it came from."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from greenroom.errors import ChangedDataset, StorageError
from greenroom.ml import checkpoint
from greenroom.ml.checkpoint import Checkpoint, Identity

RUN = Identity(dataset="d" * 64, config="c" * 64, base="b" * 64)


def at(step: int) -> Checkpoint:
    tensors = {"lora": {"a": torch.full((3, 2), float(step))}, "optimizer": {"a.exp_avg": torch.ones(3, 2)}}
    return Checkpoint(step=step, tensors=tensors, state={"losses": [0.25] * step, "seconds": 1.5})


def save(run: Path, step: int, keep: int = 4) -> Path:
    return checkpoint.save(run, at(step), RUN, keep)


def folders(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_the_newest_comes_back_whole(tmp_path: Path) -> None:
    save(tmp_path, 2)
    save(tmp_path, 10)
    found, complaints = checkpoint.newest(tmp_path, RUN)
    assert found is not None
    assert (found.step, found.state, complaints) == (10, at(10).state, [])
    assert torch.equal(found.tensors["lora"]["a"], at(10).tensors["lora"]["a"])


def test_a_new_run_has_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path, RUN) == (None, [])


def test_old_ones_go_once_the_new_one_stands(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=2)
    assert folders(tmp_path) == ["step-000003", "step-000004"]


@pytest.mark.parametrize("name", ["lora.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_corrupt_one_is_named_and_the_one_before_is_used(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2) / name
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        file.unlink()
    found, complaints = checkpoint.newest(tmp_path, RUN)
    assert found is not None
    assert found.step == 1
    assert len(complaints) == 1
    assert "step-000002" in complaints[0]
    assert folders(tmp_path) == ["corrupt-step-000002", "step-000001"]


def test_a_corrupt_newer_one_does_not_push_out_good_ones(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 9) / "state.json").unlink()
    checkpoint.newest(tmp_path, RUN)
    save(tmp_path, 2, keep=1)
    assert folders(tmp_path) == ["corrupt-step-000009", "step-000002"]


def test_a_flipped_bit_in_the_manifest_is_never_taken_for_another_run(tmp_path: Path) -> None:
    sound = (save(tmp_path / "sound", 1) / "manifest.json").read_bytes()
    for position in range(0, len(sound), 9):
        run = tmp_path / str(position)
        flipped = bytearray(sound)
        flipped[position] ^= 4
        (save(run, 1) / "manifest.json").write_bytes(flipped)
        # It would raise ChangedDataset here if it believed the flipped bit.
        found, complaints = checkpoint.newest(run, RUN)
        assert (found is None) == (len(complaints) == 1)


def test_a_half_written_one_is_swept_away(tmp_path: Path) -> None:
    save(tmp_path, 1)
    staged = tmp_path / "checkpoints" / ".tmp-step-000002"
    staged.mkdir()
    (staged / "lora.safetensors").write_bytes(b"half")
    found, complaints = checkpoint.newest(tmp_path, RUN)
    assert found is not None
    assert (found.step, complaints) == (1, [])
    assert folders(tmp_path) == ["step-000001"]


@pytest.mark.parametrize(
    ("field", "word"), [("dataset", "pictures or captions"), ("config", "settings"), ("base", "base model")]
)
def test_another_run_is_refused_with_the_reason_and_keeps_everything(
    tmp_path: Path, field: str, word: str
) -> None:
    save(tmp_path, 3)
    other = Identity(**{**vars(RUN), field: "0" * 64})
    with pytest.raises(ChangedDataset, match=word):
        checkpoint.newest(tmp_path, other)
    assert folders(tmp_path) == ["step-000003"]
    assert checkpoint.newest(tmp_path, RUN)[0] is not None


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The system refuses larger files, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_told_and_the_last_good_state_stays(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with no_file_above(100), pytest.raises(StorageError, match="disk is full"):
        save(tmp_path, 2, keep=1)
    assert folders(tmp_path) == ["step-000001"]
    found, complaints = checkpoint.newest(tmp_path, RUN)
    assert found is not None
    assert (found.step, complaints) == (1, [])


def test_freeze_and_thaw_put_adamw_back_exactly(tmp_path: Path) -> None:
    def fresh() -> tuple[dict[str, nn.Parameter], torch.optim.AdamW, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        weights = {"a": nn.Parameter(torch.randn(4, 3)), "b": nn.Parameter(torch.randn(5))}
        optimizer = torch.optim.AdamW(weights.values(), lr=0.1, fused=True)
        return weights, optimizer, {name: weight.detach().clone() for name, weight in weights.items()}

    def step(weights: dict[str, nn.Parameter], optimizer: torch.optim.AdamW, number: int) -> None:
        for weight in weights.values():
            weight.grad = torch.cos(weight.detach() * number)
        optimizer.step()

    whole, whole_optimizer, _ = fresh()
    for number in range(6):
        step(whole, whole_optimizer, number)
    first, first_optimizer, average = fresh()
    for number in range(3):
        step(first, first_optimizer, number)
    average["a"].fill_(7)
    checkpoint.save(tmp_path, checkpoint.freeze(3, first, first_optimizer, average, {"losses": []}), RUN, 1)
    begun, _ = checkpoint.newest(tmp_path, RUN)
    assert begun is not None
    second, second_optimizer, average_again = fresh()
    checkpoint.thaw(begun, second, second_optimizer, average_again)
    assert torch.equal(average_again["a"], average["a"])
    for number in range(3, 6):
        step(second, second_optimizer, number)
    for name in whole:
        assert torch.equal(whole[name], second[name])
