"""A finished training with measured checkpoints, as the worker leaves it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, Training
from greenroom.ml import events
from greenroom.ml.config import TrainConfig
from greenroom.ml.select import Scores
from greenroom.studio import jobs, trainings


def measured(step: int, likeness: float, **more: Any) -> events.Measured:
    facts: dict[str, Any] = {
        "step": step, "pictures": 24, "likeness": likeness, "likeness_low": likeness - 0.05, "floor": 0.1,
        "ceiling": 0.5, "adherence": 0.8, "base_adherence": 0.9, "diversity": 1.0, "copying": 0.1, "drift": 0.1,
        "score": likeness, "lower_bound": likeness - 0.05, "reference": "held out", **more,
    }  # fmt: skip
    return events.Measured(step=step, scores=Scores(**facts), sheet=f"measures/step-{step:06d}.png")


def finished(session: Session, actor: Actor, config: TrainConfig) -> Training:
    """150 steps, measured at 50, 100 and 150; step 100 is the best and in use; 50 was not kept."""
    training = trainings.start(session, actor, config)
    jobs.claim(session, "me:1")
    for event in (measured(50, 0.3), measured(100, 0.8), measured(150, 0.7)):
        trainings.record(session, training, event)
    trainings.complete(
        session, training, lora_key=files.export_key(actor.id, training.id, "lora.safetensors"),
        kohya_key=files.export_key(actor.id, training.id, "lora-kohya.safetensors"), steps=150, chosen_step=100,
    )  # fmt: skip
    for step in (100, 150):
        key = files.checkpoint_key(actor.id, training.id, step, "lora.safetensors")
        trainings.add_checkpoint_files(session, training, step, key=key)
    return training
