"""Toy bases and LoRAs that look trained, for the tests of export and drawing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from greenroom.ml import export, families, lora
from greenroom.ml.config import GenerateConfig, TrainConfig

CPU = torch.device("cpu")


def base(folder: Path, family_id: str) -> Path:
    """A saved toy base."""
    importlib.import_module(f"greenroom.ml.families.{family_id}.model").tiny(folder)
    return folder


def train_config(family_id: str, source: Path, **changes: Any) -> TrainConfig:
    """Alpha differs from rank, and their ratio is no power of two, so that a lost alpha cannot hide."""
    return TrainConfig(
        **{
            "name": "Kia",
            "trigger": "KIA_01",
            "base_family": family_id,
            "base_source": str(source),
            "resolution_px": 64,
            "steps": 30,
            "rank": 4,
            "alpha": 3.0,
            **changes,
        }
    )


def request(family_id: str, source: Path, **changes: Any) -> GenerateConfig:
    """A drawing of a few steps."""
    return GenerateConfig(
        **{
            "base_family": family_id,
            "base_source": str(source),
            "prompt": "KIA_01 laughing",
            "seed": 7,
            "width_px": 64,
            "height_px": 64,
            "steps": 3,
            "guidance": 3.0,
            **changes,
        }
    )


def attach_trained(family_id: str, pipe: Any, config: TrainConfig, seed: int = 1) -> dict[str, Tensor]:
    """Attach a LoRA as the training does, and move its weights as far as a training would."""
    family = families.get(family_id)
    weights = lora.attach(family.denoiser(pipe), family.card, config)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in sorted(weights.items()):
            weight.add_(torch.randn(weight.shape, generator=rng) * 0.3)
    return lora.snapshot(weights)


def exported(
    run_dir: Path,
    family_id: str,
    source: Path,
    *,
    seed: int = 1,
    thumbnail: Path | None = None,
    **changes: Any,
) -> Path:
    """A run folder's export of a LoRA that looks trained; returns the export folder."""
    family = families.get(family_id)
    config = train_config(family_id, source, **changes)
    pipe = family.load(source, CPU, torch.float32)
    weights = attach_trained(family_id, pipe, config, seed)
    write_export(run_dir, config, weights, thumbnail=thumbnail)
    return run_dir / export.FOLDER


def write_export(
    run_dir: Path, config: TrainConfig, weights: dict[str, Tensor], thumbnail: Path | None = None
) -> export.Exported:
    """Export as the end of a training does."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "manifest.json").write_text(
        json.dumps(
            {
                "pictures": [
                    {"file": f"pictures/{i:04d}.png", "sha256": "", "caption": "secret"} for i in range(5)
                ]
            }
        )
    )
    return export.write(
        run_dir,
        config,
        families.CARDS[config.base_family],
        weights,
        base_sha256="ba5e" * 16,
        steps=config.steps,
        losses=[0.5, 0.25],
        thumbnail=thumbnail,
    )


def same(one: Image.Image, other: Image.Image) -> bool:
    """Equal to the last bit of every pixel."""
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()
