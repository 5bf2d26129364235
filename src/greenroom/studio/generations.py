"""Generations: a prompt with actors in it, resolved and queued, and the pictures that came of it.

Knows prompts, actors and bases; knows nothing about drawing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from greenroom.db.models import (
    Actor,
    Generation,
    Job,
    JobKind,
    MadePicture,
    RunState,
    Training,
    Workspace,
    now,
)
from greenroom.errors import (
    BadPrompt,
    Conflict,
    UnknownGeneration,
    UnknownPicture,
    UnknownTrigger,
    WrongState,
)
from greenroom.ml.config import GenerateConfig, LoraUse
from greenroom.ml.families import CARDS
from greenroom.studio import bases, caption_files, jobs, near, triggers
from greenroom.studio.bases import BaseInfo

MAX_PROMPT_CHARS = 2_000
MOST_ACTORS = 8
_SEEDS = 2**32
"""Drawn seeds stay below this: other tools take no larger ones."""
# The @ begins a word: in "kia@example.org" it names nobody.
_NAMED = re.compile(r"(?<![\w.-])@+([\w-]+)")
_WORD = re.compile(r"[\w-]+")


class Request(BaseModel):
    """What a person asks for. None means: as the base does it, and for the seed: any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS)]
    negative: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] = ""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63 - 64)] | None = None
    width_px: Annotated[int, Field(ge=32, le=2048)] | None = None
    height_px: Annotated[int, Field(ge=32, le=2048)] | None = None
    steps: Annotated[int, Field(ge=1, le=200)] | None = None
    guidance: Annotated[float, Field(ge=0, le=30)] | None = None
    weight: Annotated[float, Field(ge=-2, le=2)] = 1.0
    """How strongly every actor acts: 1 as trained."""
    base: str | None = None


class CastMember(BaseModel):
    """One actor of a picture, pinned to the version in use when it was asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor_id: str
    name: str
    trigger: str
    training_id: str
    version: int
    lora_key: str
    weight: float


class Plan(BaseModel):
    """A request with everything decided: what `Generation.request` holds as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: Request
    prompt: str
    """As the base gets it: without @."""
    negative: str
    base: str
    seed: int
    width_px: int
    height_px: int
    cast: tuple[CastMember, ...]


def request(**asked: object) -> Request:
    """A Request from plain values. Raises BadPrompt for one that is out of range."""
    try:
        return Request.model_validate(asked)
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0]) if problem["loc"] else "The request"
        raise BadPrompt(
            f"{field} = {str(problem['input'])[:60]!r} cannot be drawn: {problem['msg']}."
        ) from error


def start(session: Session, workspace: Workspace, request: Request) -> Generation:
    """Resolve a request and queue it.

    Raises UnknownTrigger with near ones, WrongState for an actor that is not trained, BadPrompt for actors of
    different bases or a size that the base cannot draw, and UnknownBase or BaseMissing.
    """
    plan = resolve(session, workspace, request)
    generation = Generation(workspace_id=workspace.id, request=plan.model_dump(mode="json"))
    session.add(generation)
    session.flush()
    jobs.add(session, JobKind.GENERATE, generation.id)
    return generation


def resolve(session: Session, workspace: Workspace, request: Request) -> Plan:
    """Decide everything that the request leaves open; writes nothing. Raises what `start` raises."""
    text = caption_files.clean(request.prompt)
    if not text:
        raise BadPrompt("The prompt is empty. Say what should be drawn, such as: @KIA_01 laughing, in space.")
    cast = tuple(_member(session, actor, request.weight) for actor in _named(session, workspace, text))
    base = _base(session, request, cast)
    width, height = _size(request, base)
    return Plan(
        request=request,
        prompt=_spoken(text, cast),
        negative=caption_files.clean(request.negative),
        base=base.id,
        seed=secrets.randbelow(_SEEDS) if request.seed is None else request.seed,
        width_px=width,
        height_px=height,
        cast=cast,
    )


def list_(
    session: Session, workspace: Workspace, *, before: str | None = None, limit: int = 48
) -> list[Generation]:
    """Requests of a workspace, newest first. before: id of the last one of the page before."""
    newest_first = (Generation.created_at.desc(), Generation.id.desc())
    wanted = select(Generation).where(Generation.workspace_id == workspace.id).order_by(*newest_first)
    last = session.get(Generation, before) if before else None
    if last is not None and last.workspace_id == workspace.id:
        wanted = wanted.where(tuple_(Generation.created_at, Generation.id) < tuple_(last.created_at, last.id))
    return list(session.scalars(wanted.limit(limit)))


def find(session: Session, generation_id: str) -> Generation:
    """The generation as it is in the database now. Raises UnknownGeneration."""
    generation = session.get(Generation, generation_id, populate_existing=True)
    if generation is None:
        raise UnknownGeneration(f"There is no generation {generation_id!r}. Look it up again.")
    return generation


def plan(generation: Generation) -> Plan:
    """The request with everything decided."""
    return Plan.model_validate(generation.request)


def config(
    session: Session, generation: Generation, lora_files: Mapping[str, Path], out_dir: Path
) -> GenerateConfig:
    """What the drawing child is told. lora_files: training id → safetensors file on this machine."""
    decided = plan(generation)
    base = bases.find(session, decided.base)
    return GenerateConfig(
        base_family=base.family,
        base_source=base.source,
        prompt=decided.prompt,
        negative=decided.negative,
        loras=tuple(
            LoraUse(file=str(lora_files[member.training_id]), weight=member.weight, trigger=member.trigger)
            for member in decided.cast
        ),
        count=decided.request.count,
        seed=decided.seed,
        width_px=decided.width_px,
        height_px=decided.height_px,
        steps=decided.request.steps,
        guidance=decided.request.guidance,
        out_dir=str(out_dir),
        actors=tuple(
            {
                "id": member.actor_id,
                "name": member.name,
                "trigger": member.trigger,
                "version": str(member.version),
            }
            for member in decided.cast
        ),
    )


def job(session: Session, generation: Generation) -> Job:
    """The newest job of a generation."""
    found = jobs.newest(session, generation.id)
    assert found is not None, "start queues one in the same transaction"
    return found


def add_picture(
    session: Session,
    generation: Generation,
    *,
    key: str,
    seed: int,
    prompt: str,
    width_px: int,
    height_px: int,
) -> MadePicture:
    """Note a picture whose file is in the store; the same key again changes nothing."""
    made = session.scalars(
        select(MadePicture).where(MadePicture.generation_id == generation.id, MadePicture.key == key)
    ).first()
    if made is None:
        made = MadePicture(
            workspace_id=generation.workspace_id,
            generation_id=generation.id,
            key=key,
            seed=seed,
            prompt=prompt,
            width_px=width_px,
            height_px=height_px,
        )
        session.add(made)
        session.flush()
    return made


def pictures(session: Session, generation: Generation, *, by_age: bool = False) -> list[MadePicture]:
    """What a generation drew, without deleted ones, by seed or by when it came."""
    order = (MadePicture.created_at, MadePicture.id) if by_age else (MadePicture.seed, MadePicture.created_at)
    return list(
        session.scalars(
            select(MadePicture)
            .where(MadePicture.generation_id == generation.id, MadePicture.deleted_at.is_(None))
            .order_by(*order)
        )
    )


def recent(
    session: Session, workspace: Workspace, *, search: str = "", before: str | None = None, limit: int = 48
) -> list[MadePicture]:
    """Pictures that were drawn, newest first, without deleted ones.

    search: words that the prompt must hold. before: id of the last picture of the page before.
    """
    # Along one index, newest first: it ends after `limit` rows, however many there are.
    wanted = (
        select(MadePicture)
        .where(MadePicture.workspace_id == workspace.id, MadePicture.deleted_at.is_(None))
        .order_by(MadePicture.created_at.desc(), MadePicture.id.desc())
        .limit(limit)
    )
    for word in search.split()[:8]:
        wanted = wanted.where(MadePicture.prompt.icontains(word, autoescape=True))
    last = session.get(MadePicture, before) if before else None
    if last is not None and last.workspace_id == workspace.id:
        wanted = wanted.where(
            tuple_(MadePicture.created_at, MadePicture.id) < tuple_(last.created_at, last.id)
        )
    return list(session.scalars(wanted))


def find_picture(session: Session, workspace: Workspace, picture_id: str) -> MadePicture:
    """A picture that was drawn, deleted or not. Raises UnknownPicture."""
    made = session.get(MadePicture, picture_id)
    if made is None or made.workspace_id != workspace.id:
        raise UnknownPicture(f"There is no picture {picture_id[:40]!r}. Look it up again.")
    return made


def delete_picture(session: Session, made: MadePicture) -> None:
    """Hide a picture; its file stays, so that it can be restored."""
    made.deleted_at = made.deleted_at or now()
    session.flush()


def restore_picture(session: Session, made: MadePicture) -> None:
    """Show a deleted picture again."""
    made.deleted_at = None
    session.flush()


def complete(session: Session, generation: Generation) -> None:
    """Every picture is in the store. Raises Conflict when no worker is at it."""
    running = job(session, generation)
    if running.state != RunState.RUNNING:
        raise Conflict(f"The generation {generation.id} is not running. Nothing is to be done.")
    jobs.finish(session, running)


def _named(session: Session, workspace: Workspace, text: str) -> list[Actor]:
    """The actors of a prompt, in the order of their first mention: @TRIGGER, or the trigger as a word."""
    # A trigger always stands as a whole run of these letters, so only the actors of the text's words are read.
    words = {triggers.key(word) for word in _WORD.findall(text)}
    actors = session.scalars(
        select(Actor).where(
            Actor.workspace_id == workspace.id, Actor.deleted_at.is_(None), Actor.trigger_key.in_(words)
        )
    ).all()
    by_key = {actor.trigger_key: actor for actor in actors}
    found: dict[str, tuple[int, Actor]] = {}
    for mention in _NAMED.finditer(text):
        actor = by_key.get(triggers.key(mention[1]))
        if actor is None:
            raise UnknownTrigger(
                f"No actor has the trigger @{mention[1]}. {_hint(session, workspace, mention[1])}"
            )
        found.setdefault(actor.id, (mention.start(), actor))
    for actor in actors:
        at = triggers.position(actor.trigger, text)
        if at is not None:
            found[actor.id] = min(found.get(actor.id, (at, actor)), (at, actor), key=lambda pair: pair[0])
    if len(found) > MOST_ACTORS:
        raise BadPrompt(
            f"The prompt names {len(found)} actors; at most {MOST_ACTORS} can stand in one picture."
        )
    return [actor for _, actor in sorted(found.values(), key=lambda pair: pair[0])]


def _hint(session: Session, workspace: Workspace, word: str) -> str:
    live = (Actor.workspace_id == workspace.id, Actor.deleted_at.is_(None))
    known = session.execute(select(Actor.name, Actor.trigger).where(*live)).all()
    # Somebody may well have written the name in place of the trigger.
    called = [f"@{trigger}" for name, trigger in known if name.lower() == word.lower()]
    if called:
        return f"The trigger of {word} is {near.listed(called[:5], 'or')}."
    return near.sentence(word, [f"@{trigger}" for _, trigger in known], "No actor is trained yet.")


def _member(session: Session, actor: Actor, weight: float) -> CastMember:
    training = session.get(Training, actor.active_training_id) if actor.active_training_id else None
    if training is None or training.lora_key is None:
        raise WrongState(
            f"{actor.name} (@{actor.trigger}) is {actor.state}, not trained yet. Train it, then draw with it."
        )
    return CastMember(
        actor_id=actor.id,
        name=actor.name,
        trigger=actor.trigger,
        training_id=training.id,
        version=training.version,
        lora_key=training.lora_key,
        weight=weight,
    )


def _base(session: Session, request: Request, cast: tuple[CastMember, ...]) -> BaseInfo:
    made_on = {member.name: session.get_one(Training, member.training_id).base for member in cast}
    if len(set(made_on.values())) > 1:
        said = near.listed([f"{name} on {base}" for name, base in made_on.items()])
        raise BadPrompt(
            f"These actors are trained on different bases: {said}. Draw them one by one, or retrain one."
        )
    chosen = bases.find(session, request.base or next(iter(made_on.values()), bases.STARTER))
    for name, base_id in made_on.items():
        family = bases.find(session, base_id).family
        if chosen.family != family:
            raise BadPrompt(
                f"{name} is trained on {base_id}; its LoRA does not fit {chosen.id}, of another family. "
                f"Use {base_id}, or leave the base out."
            )
    return chosen


def _size(request: Request, base: BaseInfo) -> tuple[int, int]:
    multiple = CARDS[base.family].size_multiple_px
    width = request.width_px or request.height_px or base.native_px
    height = request.height_px or request.width_px or base.native_px
    for side in (width, height):
        if side % multiple:
            below = max(side // multiple, 1) * multiple
            raise BadPrompt(
                f"{base.id} draws sizes that are multiples of {multiple}; {side} is none. "
                f"Use {below} or {below + multiple}."
            )
    return width, height


def _spoken(text: str, cast: tuple[CastMember, ...]) -> str:
    """The prompt as the actors were trained on it: no @, and each trigger in its own letters."""
    spelled = {triggers.key(member.trigger): member.trigger for member in cast}
    return _NAMED.sub(lambda mention: spelled[triggers.key(mention[1])], text)
