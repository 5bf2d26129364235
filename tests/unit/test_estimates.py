from __future__ import annotations

import json
import struct
from pathlib import Path

from sqlalchemy.orm import Session

from greenroom.db.models import Actor, RunState, Training, Workspace
from greenroom.ml.config import TrainConfig
from greenroom.studio import actors, bases, estimates, recipes
from greenroom.studio.bases import BaseInfo


def a_base(session: Session, folder: Path) -> BaseInfo:
    """A base of Stable Diffusion's layout whose headers speak of 100 million weights in four bytes; it has none."""
    shapes = {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": [5_000, 10_000],
        "conv_in.weight": [50_000_000],
    }
    for network in ("unet", "vae", "text_encoder"):
        (folder / network).mkdir(parents=True)
        table, at = {}, 0
        for name, shape in (shapes if network == "unet" else {"a.weight": [10]}).items():
            size = 4
            for side in shape:
                size *= side
            table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        header = json.dumps(table).encode()
        with (folder / network / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + at)  # a hole: it takes no disk
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return bases.add(session, "sparse", folder)


def config_of(base: BaseInfo) -> TrainConfig:
    return recipes.config(
        recipes.load("sd15-character"), name="K", trigger="K1", kind="character", base=base, steps=100
    )


def test_memory_is_told_before_anything_is_loaded(session: Session, tmp_path: Path) -> None:
    base = a_base(session, tmp_path / "base")
    found = estimates.training(session, base, config_of(base))
    assert found is not None
    assert found.memory_bytes > 100_000_000 * 2  # in bfloat16
    assert found.least_bytes < found.memory_bytes
    assert found.rungs
    assert found.seconds is None
    assert "after its first steps" in found.sentence()


def test_time_is_told_from_the_last_training_that_can_be_compared(
    session: Session, workspace: Workspace, tmp_path: Path
) -> None:
    base = a_base(session, tmp_path / "base")
    config = config_of(base)
    made = actors.create(session, workspace, kind="character", name="Kia", trigger="KIA_1", base="sparse")
    session.add(finished(made, config, seconds=600.0))
    session.flush()
    twice = config.model_copy(update={"steps": 200})
    found = estimates.training(session, base, twice)
    assert found is not None
    assert found.seconds is not None
    assert abs(found.seconds - 1200) < 1
    assert "20 minutes, by your last training on sparse" in found.sentence()


def test_a_base_whose_files_are_gone_has_no_estimate(session: Session, tmp_path: Path) -> None:
    base = a_base(session, tmp_path / "base")
    config = config_of(base)
    (tmp_path / "base" / "unet" / "model.safetensors").write_bytes(b"")
    assert estimates.training(session, base, config) is None


def finished(actor: Actor, config: TrainConfig, seconds: float) -> Training:
    return Training(
        actor_id=actor.id,
        version=1,
        base=actor.base,
        config=config.model_dump(mode="json"),
        manifest=[],
        state=RunState.DONE,
        seconds=seconds,
    )
