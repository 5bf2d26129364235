"""What was measured of a training's checkpoints, the word for it, and which of them is used.

Knows the records; how a score comes about is told in ml/select.py and ml/judge.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select as sql_select
from sqlalchemy.orm import Session

from greenroom.db.models import Checkpoint, RunState, Training
from greenroom.errors import WrongState
from greenroom.ml import select
from greenroom.ml.select import Scores
from greenroom.studio import near

NOT_MEASURED = "not measured"


def of(session: Session, training: Training) -> list[Scores]:
    """Every measured checkpoint of a training, in the order of the steps."""
    rows = session.scalars(
        sql_select(Checkpoint.scores).where(Checkpoint.training_id == training.id).order_by(Checkpoint.step)
    )
    return [found for row in rows if (found := parsed(row)) is not None]


def used(session: Session, training: Training | None) -> Scores | None:
    """The scores of the checkpoint that prompts use; None when it was not measured."""
    if training is None or training.chosen_step is None:
        return None
    return next((one for one in of(session, training) if one.step == training.chosen_step), None)


def best(session: Session, training: Training) -> int | None:
    """The step that the measures speak for, whichever is used; None when nothing was measured."""
    found = select.choose(of(session, training))
    return None if found is None else found.step


def word(scores: Scores | None) -> str:
    """excellent, good, weak or not measured."""
    return NOT_MEASURED if scores is None else select.word(scores.likeness, scores.adherence)


def choices(session: Session, training: Training) -> list[int]:
    """The steps whose weights were kept, in order."""
    return list(
        session.scalars(
            sql_select(Checkpoint.step)
            .where(Checkpoint.training_id == training.id, Checkpoint.key.is_not(None))
            .order_by(Checkpoint.step)
        )
    )


def choose(session: Session, training: Training, step: int) -> None:
    """Use another checkpoint of a finished training from now on, also for what is exported.

    Raises WrongState when the training is not done, or the weights of that step were not kept.
    """
    if training.state != RunState.DONE:
        raise WrongState(f"Version {training.version} is {training.state}. Let it end, then choose.")
    row = session.scalars(
        sql_select(Checkpoint).where(Checkpoint.training_id == training.id, Checkpoint.step == step)
    ).first()
    if row is None or row.key is None:
        kept = [str(one) for one in choices(session, training)]
        none = "None of this version were kept: train a new one to choose."
        hint = f"Choose {near.listed(kept, 'or')}." if kept else none
        raise WrongState(f"The weights of step {step} were not kept. {hint}")
    training.lora_key = row.key
    if training.kohya_key is not None:
        training.kohya_key = row.key.replace("lora.safetensors", "lora-kohya.safetensors")
    training.chosen_step = step
    session.flush()


def parsed(facts: Mapping[str, Any] | None) -> Scores | None:
    """The scores that a checkpoint's row holds; None also for what an older release measured in another way."""
    if facts is None:
        return None
    try:
        return Scores.model_validate(facts)
    except ValidationError:
        return None
