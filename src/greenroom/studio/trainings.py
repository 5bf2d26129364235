"""Trainings: started from a frozen set, resumed, cancelled, and told what the run reports.

Knows the queue and what goes into a run folder; knows nothing about how the run is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from greenroom.db.models import (
    Actor,
    Checkpoint,
    Job,
    JobKind,
    RunState,
    Training,
    TrainingEvent,
)
from greenroom.errors import AlreadyTraining, ChangedDataset, Conflict, NotReady, UnknownTraining, WrongState
from greenroom.ml.config import TrainConfig
from greenroom.studio import captions, checks, jobs, states


@dataclass(frozen=True, kw_only=True)
class Started:
    """A training that waits for a worker, and whether it goes on from an earlier try."""

    training: Training
    job: Job
    resumed: bool


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What goes into the run folder of a training."""

    config: dict[str, Any]
    """config.json"""
    manifest: dict[str, Any]
    """manifest.json"""
    files: dict[str, str]
    """Path in the run folder → key in the store."""


def start(session: Session, actor: Actor, config: TrainConfig, *, recipe: str = "") -> Training:
    """Freeze the actor's pictures and captions as a new version and queue its training.

    Raises NotReady, with the blocking findings, when the checks fail, and AlreadyTraining when the actor has
    a training that is queued or running.
    """
    return _start(session, actor, config, recipe).training


def resume_or_start(
    session: Session, actor: Actor, config: TrainConfig, *, recipe: str = "", new_version: bool = False
) -> Started:
    """Go on with the actor's unfinished training when it is this very one, else start a new version.

    new_version: never go on with an old one.
    Raises ChangedDataset when the unfinished training began with other pictures or captions, AlreadyTraining
    when a living worker is at it or another one is queued, and what `start` raises.
    """
    jobs.requeue_expired(session)
    last = latest(session, actor)
    if last is None or last.state == RunState.DONE:
        return _start(session, actor, config, recipe)
    is_same_set = _essence(last.manifest) == _essence(freeze(session, actor))
    is_same = is_same_set and _identity(last.config) == _identity(config.model_dump(mode="json"))
    if last.state in states.LIVE:
        if is_same and not new_version and last.state == RunState.QUEUED:
            return Started(training=last, job=_job(session, last), resumed=True)
        raise _already(actor, last)
    if new_version:
        return _start(session, actor, config, recipe)
    if not is_same_set:
        raise ChangedDataset(
            f"The pictures or captions of {actor.name} were changed since version {last.version} ended at "
            f"step {last.step}. Resume that as it was, or ask for a new version to train the changed ones."
        )
    return _again(session, actor, last) if is_same else _start(session, actor, config, recipe)


def resume(session: Session, actor: Actor) -> Started:
    """Go on with the actor's newest unfinished training as it was frozen, whatever has changed since.

    Raises WrongState when there is none, AlreadyTraining when a living worker is at it.
    """
    jobs.requeue_expired(session)
    last = latest(session, actor)
    if last is None or last.state == RunState.DONE:
        what = "was never trained" if last is None else f"is trained (version {last.version})"
        raise WrongState(f"{actor.name} {what}: there is nothing to go on with. Start a training instead.")
    if last.state == RunState.RUNNING:
        raise _already(actor, last)
    if last.state == RunState.QUEUED:
        return Started(training=last, job=_job(session, last), resumed=True)
    return _again(session, actor, last)


def refuse_older(session: Session, actor: Actor, training: Training) -> None:
    """Raise WrongState unless the training is the actor's newest: an older one is never gone on with."""
    newest = latest(session, actor)
    if newest is not None and newest.id != training.id:
        raise WrongState(
            f"Version {training.version} of {actor.name} is not the newest one. Go on with version "
            f"{newest.version}, or start a new training."
        )


def cancel(session: Session, training: Training) -> None:
    """Stop a training: at once when it is queued, after its next step when it runs; what it saved is kept."""
    job = jobs.newest(session, training.id)
    if job is not None:
        jobs.request_cancel(session, job)


def refuse_live(session: Session, actor: Actor, remedy: str) -> None:
    """Raise AlreadyTraining when the actor has a training that is queued or running."""
    live = session.scalars(
        select(Training).where(Training.actor_id == actor.id, Training.state.in_(states.LIVE))
    ).first()
    if live is not None:
        raise AlreadyTraining(f"{actor.name} is in training (version {live.version}). {remedy}.")


def find(session: Session, training_id: str) -> Training:
    """The training as it is in the database now. Raises UnknownTraining."""
    training = session.get(Training, training_id, populate_existing=True)
    if training is None:
        raise UnknownTraining(f"There is no training {training_id!r}. Look it up again.")
    return training


def list_(session: Session, actor: Actor) -> list[Training]:
    """Every version of an actor, newest first."""
    return list(session.scalars(_versions(actor)))


def latest(session: Session, actor: Actor) -> Training | None:
    """The newest version of an actor, finished or not."""
    return session.scalars(_versions(actor).limit(1)).first()


def job(session: Session, training: Training) -> Job | None:
    """The newest job of a training."""
    return jobs.newest(session, training.id)


def checkpoints(session: Session, training: Training) -> list[Checkpoint]:
    """The saved steps of a training, in order."""
    return list(
        session.scalars(
            select(Checkpoint).where(Checkpoint.training_id == training.id).order_by(Checkpoint.step)
        )
    )


def events(
    session: Session, training_id: str, *, after: int = 0, limit: int | None = None
) -> list[TrainingEvent]:
    """What a training has reported, in order, since the event of that id; at most `limit` of it."""
    return list(
        session.scalars(
            select(TrainingEvent)
            .where(TrainingEvent.training_id == training_id, TrainingEvent.id > after)
            .order_by(TrainingEvent.id)
            .limit(limit)
        )
    )


def freeze(session: Session, actor: Actor) -> list[dict[str, Any]]:
    """The actor's pictures and captions as they are now; one without a caption gets the trigger alone."""
    in_force = captions.all_(session, actor)
    frozen = []
    for picture in captions.actor_pictures(session, actor):
        caption = in_force.get(picture.id)
        frozen.append(
            {
                "picture_id": picture.id,
                "key": picture.key,
                "sha256": picture.sha256,
                "pixels_sha256": picture.pixels_sha256,
                "caption": (caption.text if caption else "") or actor.trigger,
            }
        )
    return frozen


def inputs(training: Training) -> Inputs:
    """Everything that the run folder of a training needs to begin."""
    named = [(f"pictures/{number:04d}.png", line) for number, line in enumerate(training.manifest, start=1)]
    return Inputs(
        config=dict(training.config),
        manifest={
            "pictures": [
                {"file": file, "sha256": line["sha256"], "caption": line["caption"]} for file, line in named
            ]
        },
        files={file: line["key"] for file, line in named},
    )


def record(session: Session, training: Training, event: Mapping[str, Any] | BaseModel) -> None:
    """Keep an event of the run, and what it says about how far the training is."""
    said = event.model_dump(mode="json") if isinstance(event, BaseModel) else dict(event)
    row = _here(session, training)
    session.add(TrainingEvent(training_id=row.id, json=said))
    if said["event"] == "progress":
        row.phase = said["phase"]
        row.seconds, row.seconds_left = said["seconds"], said.get("seconds_left")
        # In the other phases a step is a picture or a file, not a step of the training.
        if said["phase"] == "train":
            row.step, row.total_steps = said["step"], said["total_steps"]
            row.loss = row.loss if said.get("loss") is None else said["loss"]
    elif said["event"] == "saved":
        _checkpoint(session, row, said["step"])
    elif said["event"] == "measured":
        _checkpoint(session, row, said["step"]).scores = said["scores"]
    session.flush()


def losses(session: Session, training: Training) -> list[tuple[int, float]]:
    """(step, loss) as the run reported them; a step that was repeated after a crash counts once."""
    said: dict[int, float] = {}
    for event in session.scalars(
        select(TrainingEvent.json).where(TrainingEvent.training_id == training.id).order_by(TrainingEvent.id)
    ):
        if event.get("phase") == "train" and event.get("loss") is not None:
            said[int(event["step"])] = float(event["loss"])
    return sorted(said.items())


def newest_event(session: Session, training: Training) -> int:
    """Id of the last event that the run reported; 0 before the first."""
    newest = select(func.max(TrainingEvent.id)).where(TrainingEvent.training_id == training.id)
    return session.scalar(newest) or 0


def add_checkpoint_files(
    session: Session,
    training: Training,
    step: int,
    *,
    key: str | None = None,
    sample_keys: Sequence[str] = (),
) -> Checkpoint:
    """Note where a checkpoint's files are in the store; a key that is None stays as it was."""
    row = _checkpoint(session, training, step)
    row.key = key or row.key
    if sample_keys:
        row.sample_keys = list(sample_keys)
    session.flush()
    return row


def complete(
    session: Session,
    training: Training,
    *,
    lora_key: str,
    kohya_key: str | None = None,
    steps: int | None = None,
    chosen_step: int | None = None,
    seconds: float | None = None,
) -> None:
    """The training's files are in the store: it is done, its actor Trained, and this version in use.

    steps: how many were made; None: all. chosen_step: the one that the weights are from; None: the last.
    Raises Conflict when no worker is at it.
    """
    row = _here(session, training)
    running = jobs.newest(session, row.id)
    if running is None or running.state != RunState.RUNNING:
        raise Conflict(
            f"The training {row.id} is not running, so it cannot be completed. Nothing is to be done."
        )
    made = row.total_steps if steps is None else steps
    row.lora_key, row.kohya_key = lora_key, kohya_key
    row.chosen_step = made if chosen_step is None else chosen_step
    row.seconds = row.seconds if seconds is None else seconds
    row.seconds_left = 0.0
    row.step = made
    actor = session.get_one(Actor, row.actor_id)
    actor.active_training_id, actor.base = row.id, row.base
    done = {
        "event": "done",
        "lora": lora_key,
        "kohya": kohya_key,
        "steps": row.step,
        "seconds": row.seconds,
        "chosen_step": row.chosen_step,
    }
    session.add(TrainingEvent(training_id=row.id, json=done))
    jobs.finish(session, running)


def _start(session: Session, actor: Actor, config: TrainConfig, recipe: str) -> Started:
    row = session.get_one(Actor, actor.id, populate_existing=True)
    if row.deleted_at is not None:
        raise WrongState(f"{row.name} is in the trash. Restore it first.")
    # Told before the checks: while one runs, nothing that they find matters.
    before = latest(session, row)
    if before is not None and before.state in states.LIVE:
        raise _already(row, before)
    if blocking := checks.blocking(checks.review_set(session, row)):
        said = " ".join(f"{finding.message} {finding.remedy}" for finding in blocking[:3])
        more = f" And {len(blocking) - 3} more." if len(blocking) > 3 else ""
        raise NotReady(f"{row.name} is not ready to train. {said}{more}", blocking)
    newest_version = session.scalar(select(func.max(Training.version)).where(Training.actor_id == row.id))
    training = Training(
        actor_id=row.id,
        version=(newest_version or 0) + 1,
        recipe=recipe,
        base=row.base,
        config=config.model_dump(mode="json"),
        manifest=freeze(session, row),
        total_steps=config.steps,
    )
    try:
        with session.begin_nested():
            session.add(training)
            session.flush()
            queued = jobs.add(session, JobKind.TRAIN, training.id)
            jobs.follow(session, queued)
    except IntegrityError as error:
        # The database allows one live training per actor: somebody else started one since we looked.
        raise _already(row, None) from error
    return Started(training=training, job=queued, resumed=False)


def _again(session: Session, actor: Actor, training: Training) -> Started:
    """Queue a broken or stopped training once more: the same id, so the same run folder."""
    try:
        with session.begin_nested():
            queued = jobs.add(session, JobKind.TRAIN, training.id)
            jobs.follow(session, queued)
    except IntegrityError as error:
        raise _already(actor, training) from error
    return Started(training=training, job=queued, resumed=True)


def _job(session: Session, training: Training) -> Job:
    found = jobs.newest(session, training.id)
    assert found is not None, "a live training has a job: they are written in one transaction"
    return found


def _already(actor: Actor, live: Training | None) -> AlreadyTraining:
    where = f" (version {live.version}, step {live.step} of {live.total_steps})" if live else ""
    return AlreadyTraining(
        f"{actor.name} is in training already{where}. Let it end, or cancel it, and then start the next one."
    )


def _here(session: Session, training: Training) -> Training:
    """The row of this session, whatever copy of it the caller holds."""
    return training if training in session else find(session, training.id)


def _checkpoint(session: Session, training: Training, step: int) -> Checkpoint:
    row = session.scalars(
        select(Checkpoint).where(Checkpoint.training_id == training.id, Checkpoint.step == step)
    ).first()
    if row is None:
        row = Checkpoint(training_id=training.id, step=step)
        session.add(row)
    return row


def _versions(actor: Actor) -> Select[Training]:
    return select(Training).where(Training.actor_id == actor.id).order_by(Training.version.desc())


def _essence(manifest: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What of a manifest reaches the training: pixels and captions, in their order."""
    return [(line["pixels_sha256"], line["caption"]) for line in manifest]


def _identity(config: Mapping[str, Any]) -> str:
    return TrainConfig.model_validate(config).model_copy(update={"created_at": None}).identity()
