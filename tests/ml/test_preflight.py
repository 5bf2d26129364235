"""What is looked at before a run starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import make

from greenroom.errors import BadInput, StorageError
from greenroom.ml import families, lora, preflight
from greenroom.ml.config import TrainConfig, read_train
from greenroom.ml.families import estimate, loading

CPU = torch.device("cpu")


def config(source: Path, run: Path, **changes: Any) -> TrainConfig:
    return read_train(make(run, "starter", source, **changes))


class TestIdentity:
    def test_does_not_depend_on_where_the_base_lies(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        copy = shutil.copytree(tiny_bases["sd15"], tmp_path / "elsewhere")
        assert loading.identity(copy) == loading.identity(tiny_bases["sd15"])

    @pytest.mark.parametrize(
        "name", ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
    )
    def test_sees_one_changed_byte(self, tmp_path: Path, tiny_bases: dict[str, Path], name: str) -> None:
        copy = shutil.copytree(tiny_bases["sd15"], tmp_path / "copy")
        data = bytearray((copy / name).read_bytes())
        data[-2] ^= 1
        (copy / name).write_bytes(data)
        assert loading.identity(copy) != loading.identity(tiny_bases["sd15"])

    def test_samples_the_start_and_the_end_of_large_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loading, "HASH_WHOLE_BELOW", 1000)
        monkeypatch.setattr(loading, "SAMPLE_BYTES", 10)
        file = tmp_path / "large.safetensors"
        seen = set()
        for changed in (None, 0, 4999):
            data = bytearray(5000)
            if changed is not None:
                data[changed] = 1
            file.write_bytes(data)
            seen.add(loading.identity(tmp_path))
        assert len(seen) == 3


class TestMemory:
    def test_counts_the_weights_that_a_lora_will_have(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        for family_id, source in tiny_bases.items():
            run = read_train(make(tmp_path / family_id, family_id, source))
            family = families.get(family_id)
            need = estimate.memory(estimate.sizes(source, family.card), family.card, run, 4)
            pipe = family.load(source, CPU, torch.float32)
            weights = lora.attach(family.denoiser(pipe), family.card, run)
            assert need.lora == 4 * 4 * sum(weight.numel() for weight in weights.values())

    def test_grows_with_what_costs_memory(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        source = tiny_bases["starter"]
        card = families.CARDS["starter"]
        small = config(source, tmp_path / "run", batch_size=2)

        base = estimate.sizes(source, card)

        def total(item_bytes: int = 4, **changes: Any) -> int:
            return estimate.memory(base, card, small.model_copy(update=changes), item_bytes).total

        assert total(batch_size=4) > total()
        assert total(resolution_px=128) > total()
        assert total(rank=16) > total()
        assert total(ema_decay=0.9) > total()
        assert total(gradient_checkpointing=True) < total()
        assert total(optimizer="adamw8bit") < total()
        assert total(base_precision="nf4") < total()
        assert total(2) < total()

    def test_a_run_whose_checkpoints_cannot_fit_is_refused(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        run = config(tiny_bases["starter"], tmp_path / "run")
        need = estimate.Memory(weights=0, lora=10**15, activations=0, runtime=0)
        with pytest.raises(StorageError, match="Make room"):
            preflight.check_disk(tmp_path, need, run)


class TestSettle:
    @pytest.fixture(autouse=True)
    def _restore_torch(self) -> Any:
        threads = torch.get_num_threads()
        yield
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)

    def test_the_first_start_decides_the_threads(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        run = config(tiny_bases["starter"], tmp_path / "run")
        torch.set_num_threads(2)
        first, warning = preflight.settle(tmp_path / "run", run)
        torch.set_num_threads(1)
        second, _ = preflight.settle(tmp_path / "run", run)
        assert warning is None
        assert first == second
        assert torch.get_num_threads() == 2

    def test_another_device_is_told(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        run = config(tiny_bases["starter"], tmp_path / "run")
        (tmp_path / "run" / "run.json").write_text(
            json.dumps({"device": "abacus", "dtype": "torch.float32", "threads": 1})
        )
        settled, warning = preflight.settle(tmp_path / "run", run)
        assert settled.device.type != "abacus"
        assert warning is not None
        assert "abacus" in warning

    def test_a_damaged_file_is_written_anew(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        run = config(tiny_bases["starter"], tmp_path / "run")
        (tmp_path / "run" / "run.json").write_text("{")
        preflight.settle(tmp_path / "run", run)
        assert json.loads((tmp_path / "run" / "run.json").read_text())["threads"] >= 1


@pytest.mark.parametrize(("wanted", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_named_number_format_is_kept(wanted: str, expected: torch.dtype) -> None:
    assert preflight.dtype(wanted, CPU) == expected


def test_a_device_that_is_not_there_is_named() -> None:
    assert preflight.device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match=r"no cuda device.*Use "):
            preflight.device("cuda")
