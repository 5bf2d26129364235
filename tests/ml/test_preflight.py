"""What is looked at before a run starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import make

from greenroom.errors import OutOfMemory, StorageError
from greenroom.ml import families, lora, preflight
from greenroom.ml.config import TrainConfig, read_train

CPU = torch.device("cpu")


def config(source: Path, run: Path, **changes: Any) -> TrainConfig:
    return read_train(make(run, "starter", source, **changes))


class TestIdentity:
    def test_does_not_depend_on_where_the_base_lies(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        copy = shutil.copytree(tiny_bases["sd15"], tmp_path / "elsewhere")
        assert preflight.base_identity(copy) == preflight.base_identity(tiny_bases["sd15"])

    @pytest.mark.parametrize(
        "name", ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
    )
    def test_sees_one_changed_byte(self, tmp_path: Path, tiny_bases: dict[str, Path], name: str) -> None:
        copy = shutil.copytree(tiny_bases["sd15"], tmp_path / "copy")
        data = bytearray((copy / name).read_bytes())
        data[-2] ^= 1
        (copy / name).write_bytes(data)
        assert preflight.base_identity(copy) != preflight.base_identity(tiny_bases["sd15"])

    def test_samples_the_start_and_the_end_of_large_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preflight, "HASH_WHOLE_BELOW", 1000)
        monkeypatch.setattr(preflight, "SAMPLE_BYTES", 10)
        file = tmp_path / "large.safetensors"
        seen = set()
        for changed in (None, 0, 4999):
            data = bytearray(5000)
            if changed is not None:
                data[changed] = 1
            file.write_bytes(data)
            seen.add(preflight.base_identity(tmp_path))
        assert len(seen) == 3


class TestMemory:
    def test_counts_the_weights_that_a_lora_will_have(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        for family_id, source in tiny_bases.items():
            run = read_train(make(tmp_path / family_id, family_id, source))
            family = families.get(family_id)
            need = preflight.memory(source, family.card, run, torch.float32)
            pipe = family.load(source, CPU, torch.float32)
            weights = lora.attach(family.denoiser(pipe), family.card, run)
            assert need.lora == 4 * 4 * sum(weight.numel() for weight in weights.values())

    def test_grows_with_what_costs_memory(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        source = tiny_bases["starter"]
        card = families.CARDS["starter"]
        small = config(source, tmp_path / "run", batch_size=2)

        def total(number: torch.dtype = torch.float32, **changes: Any) -> int:
            return preflight.memory(source, card, small.model_copy(update=changes), number).total

        assert total(batch_size=4) > total()
        assert total(resolution_px=128) > total()
        assert total(rank=16) > total()
        assert total(ema_decay=0.9) > total()
        assert total(gradient_checkpointing=True) < total()
        assert total(torch.bfloat16) < total()

    def test_too_much_is_refused_with_what_would_help(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        source = tiny_bases["starter"]
        run = config(source, tmp_path / "run", max_memory_gb=0.1)
        need = preflight.memory(source, families.CARDS["starter"], run, torch.float32)
        with pytest.raises(
            OutOfMemory, match=r"0\.1 GB can be used.*smaller batch or gradient checkpointing"
        ):
            preflight.check_memory(need, run, CPU)
        preflight.check_memory(need, run.model_copy(update={"max_memory_gb": None}), CPU)

    def test_a_run_whose_checkpoints_cannot_fit_is_refused(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        run = config(tiny_bases["starter"], tmp_path / "run")
        need = preflight.Memory(weights=0, lora=10**15, activations=0, runtime=0)
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
