"""Trainings: started, followed, cancelled and resumed; their checkpoints and samples."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from greenroom.db.models import Checkpoint as CheckpointRow
from greenroom.db.models import RunState
from greenroom.db.models import Training as Row
from greenroom.errors import BadCursor, BadRecipe
from greenroom.ml.config import TrainConfig
from greenroom.studio import plans, scores, trainings
from greenroom.studio.states import LIVE
from greenroom.web.api import streams
from greenroom.web.api.common import (
    Cursor,
    Id,
    IdempotencyKey,
    Limit,
    Page,
    Sent,
    Told,
    create,
    picture_of,
    read_cursor,
    write_cursor,
)
from greenroom.web.api.streams import Event as Message
from greenroom.web.edge import Studio, settings_of, studio
from greenroom.web.pages import media

router = APIRouter(tags=["trainings"])

_MOST_AT_ONCE = 500
_NOT_FREE = {"name", "trigger", "kind", "base_family", "base_source", "created_at"}


class Training(Told):
    """One version of an actor: how far it is, or what came of it."""

    id: str = Field(examples=["trn_p4m8xw2k9vqa"])
    actor_id: str
    version: int = Field(examples=[1])
    state: RunState
    phase: str = Field(examples=["train"])
    step: int
    total_steps: int
    loss: float | None
    seconds: float
    seconds_left: float | None
    base: str
    recipe: str = Field(examples=["starter-character"])
    settings: dict[str, Any] = Field(description="Every value of the recipe as it was used.")
    pictures: int
    chosen_step: int | None
    error_code: str | None = Field(examples=[None])
    error: str | None = Field(description="What went wrong and what to do.", examples=[None])
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class NewTraining(Sent):
    """How to train; everything has a default."""

    base: str | None = Field(default=None, max_length=64, examples=["starter"])
    recipe: str | None = Field(default=None, max_length=64, examples=["starter-character"])
    settings: dict[str, Any] = Field(
        default_factory=dict,
        max_length=40,
        description="Values of the recipe to change, such as steps, rank, seed, sample_prompts.",
        examples=[{"steps": 400, "rank": 8}],
    )


class Choice(Sent):
    """The checkpoint that prompts and exports use."""

    chosen_step: int = Field(ge=0, le=2**31 - 1, examples=[300])


class Event(Told):
    """One thing that a training reported."""

    id: int
    event: str = Field(examples=["progress"])
    data: dict[str, Any]
    at: datetime


class Checkpoint(Told):
    """One saved step."""

    id: str = Field(examples=["chk_d6n2vq8w4kxm"])
    step: int
    scores: dict[str, Any] | None = Field(description='Null means "not measured".')
    samples: list[str] = Field(description="Paths of the pictures that were drawn at it.")
    created_at: datetime


class Losses(Told):
    """The loss curve."""

    steps: list[int]
    losses: list[float]


@router.get("/actors/{actor_id}/trainings")
def list_trainings(request: Request, actor_id: Id) -> Page[Training]:
    """Every version of an actor, newest first."""
    with studio(settings_of(request)) as open_:
        found = trainings.list_(open_.session, open_.actor(actor_id))
        return Page[Training](items=[told(row) for row in found])


@router.post("/actors/{actor_id}/trainings", status_code=201, response_model=Training)
def start_training(
    request: Request, actor_id: Id, new: NewTraining | None = None, key: IdempotencyKey = None
) -> Response:
    """Freeze the pictures and captions as a new version and queue it. 422 with `findings` when not ready."""
    asked = new or NewTraining()

    def make(open_: Studio) -> tuple[Training, str]:
        actor = open_.actor(actor_id)
        row = plans.start(
            open_.session, actor, base=asked.base, recipe=asked.recipe, **checked_settings(asked)
        )
        return told(row), f"/trainings/{row.id}"

    return create(request, key, asked, make)


@router.get("/trainings/{training_id}")
def get_training(request: Request, training_id: Id) -> Training:
    """One training."""
    with studio(settings_of(request)) as open_:
        return told(open_.training(training_id)[0])


@router.patch("/trainings/{training_id}")
def choose_step(request: Request, training_id: Id, choice: Choice) -> Training:
    """Use another checkpoint of a finished training than the one that the measures speak for."""
    with studio(settings_of(request)) as open_:
        row, _ = open_.training(training_id)
        scores.choose(open_.session, row, choice.chosen_step)
        return told(row)


@router.post("/trainings/{training_id}/cancel")
def cancel_training(request: Request, training_id: Id) -> Training:
    """Ask for its end: at once when it is queued, after its next step when it runs. What it saved is kept."""
    with studio(settings_of(request)) as open_:
        row, _ = open_.training(training_id)
        trainings.cancel(open_.session, row)
        open_.session.refresh(row)
        return told(row)


@router.post("/trainings/{training_id}/resume")
def resume_training(request: Request, training_id: Id) -> Training:
    """Go on where it was stopped or broke; only an actor's newest version can."""
    with studio(settings_of(request)) as open_:
        row, actor = open_.training(training_id)
        trainings.refuse_older(open_.session, actor, row)
        return told(trainings.resume(open_.session, actor).training)


@router.get("/trainings/{training_id}/events")
def list_events(request: Request, training_id: Id, limit: Limit = 100, cursor: Cursor = None) -> Page[Event]:
    """What it has reported, in order."""
    after = _number(read_cursor("events", cursor))
    with studio(settings_of(request)) as open_:
        row, _ = open_.training(training_id)
        found = trainings.events(open_.session, row.id, after=after, limit=limit + 1)
        items = [
            Event(id=event.id, event=str(event.json.get("event")), data=event.json, at=event.created_at)
            for event in found[:limit]
        ]
        more = write_cursor("events", items[-1].id) if len(found) > limit else None
        return Page[Event](items=items, next=more)


@router.get(
    "/trainings/{training_id}/events/stream",
    response_class=StreamingResponse,
    responses=streams.RESPONSE,
)
def stream_events(
    request: Request,
    training_id: Id,
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="Go on after this event.", examples=["17"])
    ] = None,
) -> StreamingResponse:
    """What it reports, live: progress, sample, saved, note, done, failed; then `end` with its state."""
    settings = settings_of(request)
    with studio(settings) as open_:
        open_.training(training_id)

    def look(last: str) -> tuple[Sequence[Message], bool]:
        with studio(settings) as open_:
            row, _ = open_.training(training_id)
            # The state is read first: whatever came before its end is among the events then.
            is_over = row.state not in LIVE
            found = trainings.events(
                open_.session, row.id, after=int(last) if last.isdigit() else 0, limit=_MOST_AT_ONCE
            )
            sent = [
                Message(id=str(event.id), name=str(event.json.get("event")), data=event.json)
                for event in found
            ]
            is_over = is_over and len(found) < _MOST_AT_ONCE
            if is_over:
                sent.append(Message(name="end", data={"state": row.state.value}))
            return sent, is_over

    return streams.stream(request, look)


@router.get("/trainings/{training_id}/losses")
def get_losses(request: Request, training_id: Id) -> Losses:
    """The loss at each step that was reported."""
    with studio(settings_of(request)) as open_:
        pairs = trainings.losses(open_.session, open_.training(training_id)[0])
    return Losses(steps=[step for step, _ in pairs], losses=[loss for _, loss in pairs])


@router.get("/trainings/{training_id}/checkpoints")
def list_checkpoints(request: Request, training_id: Id) -> Page[Checkpoint]:
    """Its saved steps, in order, with the samples drawn at each."""
    with studio(settings_of(request)) as open_:
        found = trainings.checkpoints(open_.session, open_.training(training_id)[0])
        return Page[Checkpoint](items=[_checkpoint(row) for row in found])


@router.get(
    "/checkpoints/{checkpoint_id}/samples/{index}",
    response_class=Response,
    responses=picture_of("image/png"),
)
def get_sample(request: Request, checkpoint_id: Id, index: int) -> Response:
    """One sample picture of a checkpoint; index counts from 0."""
    return media.sample(request, checkpoint_id, index)


def checked_settings(asked: NewTraining) -> dict[str, Any]:
    """The values to change, when all of them may be changed. Raises BadRecipe."""
    unknown = sorted(set(asked.settings) - (set(TrainConfig.model_fields) - _NOT_FREE))
    if unknown:
        raise BadRecipe(f"There is no setting {unknown[0][:60]!r} to change. Look at GET /recipes.")
    return asked.settings


def told(row: Row) -> Training:
    """A training as the API tells it."""
    hidden = {"base_source"}
    return Training(
        id=row.id,
        actor_id=row.actor_id,
        version=row.version,
        state=row.state,
        phase=row.phase,
        step=row.step,
        total_steps=row.total_steps,
        loss=row.loss,
        seconds=row.seconds,
        seconds_left=row.seconds_left,
        base=row.base,
        recipe=row.recipe,
        settings={key: value for key, value in row.config.items() if key not in hidden},
        pictures=len(row.manifest),
        chosen_step=row.chosen_step,
        error_code=row.error_code,
        error=row.error_text,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _checkpoint(row: CheckpointRow) -> Checkpoint:
    paths = [f"/api/v1/checkpoints/{row.id}/samples/{index}" for index in range(len(row.sample_keys))]
    return Checkpoint(id=row.id, step=row.step, scores=row.scores, samples=paths, created_at=row.created_at)


def _number(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadCursor("This cursor is none of ours. Begin with the first page.")
    return int(text)
