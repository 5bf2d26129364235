"""Class pictures that keep the class as it was, and a loss that looks at the subject first; both off by default."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from run_folders import configure, exported, make
from run_folders import train_here as run

from greenroom.errors import Cancelled, ChangedDataset
from greenroom.ml import data, families, safe
from greenroom.ml.config import TrainConfig
from greenroom.ml.data import Bucket, Picture
from greenroom.ml.events import Progress

CPU = torch.device("cpu")
FAMILIES = sorted(families.CARDS)
PRIOR = {
    "prior_weight": 1.0,
    "class_noun": "a person",
    "class_pictures": 2,
    "steps": 4,
    "checkpoint_every": 2,
}


@pytest.fixture(autouse=True)
def _restore_torch() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def config_of(family_id: str, **changes: Any) -> TrainConfig:
    given = {"name": "K", "trigger": "K", "base_family": family_id, "base_source": "x", "steps": 9}
    return TrainConfig(**{**given, "resolution_px": 64, **changes})


class TestClassPictures:
    def test_a_run_draws_them_once_and_learns_from_them(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        plain = make(tmp_path / "plain", "sd15", tiny_bases["sd15"], steps=4, checkpoint_every=2)
        run(plain)
        folder = make(tmp_path / "prior", "sd15", tiny_bases["sd15"], **PRIOR)
        _, told = run(folder)
        drawn = {file.name: file.stat().st_mtime_ns for file in (folder / "class").iterdir()}
        assert sorted(drawn) == ["0000.png", "0001.png"]
        cached = [line for line in told if isinstance(line, Progress) and line.phase == "cache"]
        assert (cached[-1].step, cached[-1].total_steps) == (8, 8)  # six pictures and two of the class
        with (
            Image.open(folder / "class" / "0000.png") as first,
            Image.open(folder / "class" / "0001.png") as second,
        ):
            assert first.tobytes() != second.tobytes()
        assert exported(folder)["lora.safetensors"] != exported(plain)["lora.safetensors"]
        run(folder)
        assert {file.name: file.stat().st_mtime_ns for file in (folder / "class").iterdir()} == drawn

    def test_a_resumed_run_ends_with_the_very_bytes(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        everything = {**PRIOR, "background_weight": 0.3, "flip_augment": True}
        whole = with_boxes(make(tmp_path / "whole", "flux1", tiny_bases["flux1"], **everything))
        run(whole)
        broken = with_boxes(make(tmp_path / "broken", "flux1", tiny_bases["flux1"], **everything))
        with pytest.raises(Cancelled):
            run(broken, stop_at='"event":"saved","step":2')
        run(broken)
        assert exported(broken) == exported(whole)

    def test_it_needs_a_name_for_the_class(self) -> None:
        with pytest.raises(ValidationError, match="prior_weight needs class_noun"):
            config_of("sd15", prior_weight=1.0)

    def test_off_is_off(self) -> None:
        before = config_of("sd15").identity()
        assert config_of("sd15", prior_weight=0.0, class_noun="", background_weight=1.0).identity() == before
        assert config_of("sd15", background_weight=0.5).identity() != before


class TestWeights:
    def run_with(self, tmp_path: Path, size: tuple[int, int], **facts: Any) -> tuple[Path, Picture]:
        Image.new("RGB", size).save(tmp_path / "a.png")
        return tmp_path, Picture(file="a.png", sha256="", caption="", **facts)

    def test_a_box_counts_and_the_rest_counts_less(self, tmp_path: Path) -> None:
        folder, picture = self.run_with(tmp_path, (64, 64), box=(0.0, 0.0, 0.5, 1.0))
        found = data.weights(folder, picture, Bucket(64, 64), (8, 8), 0.25)
        assert found.shape == (1, 8, 8)
        assert float(found.mean()) == pytest.approx(1.0)
        assert torch.allclose(found[0, :, :4] / found[0, :, 4:], torch.tensor(4.0))

    def test_a_mask_is_cropped_as_its_picture_is(self, tmp_path: Path) -> None:
        mask = Image.new("L", (128, 64))
        mask.paste(255, (0, 0, 32, 64))  # the quarter that a square crop leaves out
        mask.save(tmp_path / "mask.png")
        folder, picture = self.run_with(tmp_path, (128, 64), mask="mask.png")
        square = data.weights(folder, picture, Bucket(64, 64), (8, 8), 0.0)
        assert torch.equal(square, torch.ones(1, 8, 8))  # nothing of it is left, so all counts alike
        wide = data.weights(folder, picture, Bucket(128, 64), (8, 16), 0.0)
        assert wide[0, :, :4].min() > 3
        assert wide[0, :, 5:].max() == 0

    def test_a_picture_without_either_counts_alike(self, tmp_path: Path) -> None:
        folder, picture = self.run_with(tmp_path, (64, 64))
        assert torch.equal(data.weights(folder, picture, Bucket(64, 64), (8, 8), 0.1), torch.ones(1, 8, 8))

    @pytest.mark.parametrize("family_id", FAMILIES)
    def test_every_family_weighs_its_cells(self, family_id: str, tiny_bases: dict[str, Path]) -> None:
        family = families.get(family_id)
        pipe: Any = family.load(tiny_bases[family_id], CPU, torch.float32)
        latents = family.encode_pictures(pipe, torch.rand(2, 3, 64, 64, generator=rng(0)) * 2 - 1)
        prompts = family.encode_prompts(pipe, ["", "KIA_01"])

        def loss(weights: torch.Tensor | None) -> float:
            return float(family.loss(pipe, latents, prompts, config_of(family_id), rng(1), weights))

        height, width = latents.shape[-2:]
        even = torch.ones(2, 1, height, width)
        assert loss(even) == pytest.approx(loss(None), rel=1e-5)
        left, right = even.clone(), even.clone()
        left[..., width // 2 :], right[..., : width // 2] = 0, 0
        assert (loss(2 * left) + loss(2 * right)) / 2 == pytest.approx(loss(None), rel=1e-4)
        assert loss(2 * left) != pytest.approx(loss(2 * right), rel=1e-3)

    def test_a_changed_mask_is_another_dataset(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        folder = make(tmp_path / "run", "sd15", tiny_bases["sd15"])
        before = data.identity(data.read_manifest(folder))
        with_boxes(folder)
        assert data.identity(data.read_manifest(folder)) != before
        manifest = json.loads((folder / "manifest.json").read_text())
        Image.new("L", (64, 64)).save(folder / "mask.png")
        mask_sha256 = hashlib.sha256((folder / "mask.png").read_bytes()).hexdigest()
        manifest["pictures"][0] |= {"mask": "mask.png", "mask_sha256": mask_sha256}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        data.read_manifest(folder)
        (folder / "mask.png").write_bytes(b"other")
        with pytest.raises(ChangedDataset, match=r"mask\.png"):
            data.read_manifest(folder)

    def test_a_weighted_run_learns_something_else(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        short = {"steps": 2, "checkpoint_every": 2, "warmup_steps": 0}
        folder = with_boxes(make(tmp_path / "run", "sd15", tiny_bases["sd15"], **short))
        run(folder)
        even = exported(folder)["lora.safetensors"]
        other = with_boxes(make(tmp_path / "other", "sd15", tiny_bases["sd15"], **short))
        configure(other, "sd15", tiny_bases["sd15"], background_weight=0.1, **short)
        run(other)
        assert exported(other)["lora.safetensors"] != even
        tensors, _ = safe.load(other / "cache" / "cache.safetensors")
        assert "weights.0" in tensors


def with_boxes(folder: Path) -> Path:
    """The run's manifest with a face box for each picture."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for picture in manifest["pictures"]:
        picture["box"] = [0.25, 0.0, 0.75, 0.5]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
