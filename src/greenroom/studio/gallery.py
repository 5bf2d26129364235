"""The gallery: actors as cards, a page at a time, with what a card shows. Changes nothing.

Asks a fixed number of questions for a page, however many actors there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session, defer

from greenroom.db.models import Actor, ActorState, Checkpoint, Picture, Training, Workspace
from greenroom.studio import scores, triggers


@dataclass(frozen=True, kw_only=True)
class Card:
    """One actor of the gallery."""

    actor: Actor
    pictures: int
    newest: Training | None
    active: Training | None
    face: str | None
    """Id of the picture or checkpoint that shows it: pic_… or chk_…."""
    word: str = scores.NOT_MEASURED
    """How like it is: excellent, good, weak or not measured."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some cards, newest first, and the id to ask for the next ones with."""

    cards: list[Card]
    next: str | None


def page(
    session: Session,
    workspace: Workspace,
    *,
    search: str = "",
    state: str = "",
    deleted: bool = False,
    after: str | None = None,
    limit: int = 48,
) -> Page:
    """A page of the gallery; with `deleted`, of the trash.

    search: part of a name or trigger. state: one of ActorState. after: id of the last actor of the page before.
    """
    wanted = (
        select(Actor)
        .where(
            Actor.workspace_id == workspace.id,
            Actor.deleted_at.is_not(None) if deleted else Actor.deleted_at.is_(None),
        )
        .order_by(Actor.created_at.desc(), Actor.id.desc())
        .limit(limit + 1)
    )
    if search.strip():
        words = search.strip().removeprefix("@")
        wanted = wanted.where(
            or_(
                Actor.name.icontains(words, autoescape=True),
                Actor.trigger_key.contains(triggers.key(words), autoescape=True),
            )
        )
    if state in list(ActorState):
        wanted = wanted.where(Actor.state == ActorState(state))
    last = session.get(Actor, after) if after else None
    if last is not None and last.workspace_id == workspace.id:
        wanted = wanted.where(tuple_(Actor.created_at, Actor.id) < tuple_(last.created_at, last.id))
    found = list(session.scalars(wanted))
    shown = found[:limit]
    return Page(cards=cards(session, shown), next=shown[-1].id if len(found) > limit else None)


def cards(session: Session, actors: list[Actor]) -> list[Card]:
    """What the cards of these actors show, in their order."""
    ids = [actor.id for actor in actors]
    counts = {
        actor_id: (count, first)
        for actor_id, count, first in session.execute(
            select(Picture.actor_id, func.count(), func.min(Picture.position))
            .where(Picture.actor_id.in_(ids), Picture.removed_at.is_(None))
            .group_by(Picture.actor_id)
        )
    }
    first_pictures: dict[str, str] = {}
    for actor_id, picture_id in session.execute(
        select(Picture.actor_id, Picture.id).where(
            Picture.removed_at.is_(None),
            tuple_(Picture.actor_id, Picture.position).in_(
                [(actor_id, first) for actor_id, (_, first) in counts.items()]
            ),
        )
    ):
        first_pictures.setdefault(actor_id, picture_id)
    versions: dict[str, list[Training]] = {}
    for training in session.scalars(
        select(Training)
        .where(Training.actor_id.in_(ids))
        .order_by(Training.version.desc())
        # What went into a version may be large, and no card shows it.
        .options(defer(Training.manifest), defer(Training.config))
    ):
        versions.setdefault(training.actor_id, []).append(training)
    active_ids = [actor.active_training_id for actor in actors if actor.active_training_id]
    faces: dict[str, str] = {}
    measured: dict[tuple[str, int], dict[str, Any] | None] = {}
    for training_id, step, checkpoint_id, sample_keys, score in session.execute(
        select(
            Checkpoint.training_id, Checkpoint.step, Checkpoint.id, Checkpoint.sample_keys, Checkpoint.scores
        )
        .where(Checkpoint.training_id.in_(active_ids))
        .order_by(Checkpoint.step)
    ):
        if sample_keys:
            faces[training_id] = checkpoint_id
        measured[training_id, step] = score
    made = []
    for actor in actors:
        mine = versions.get(actor.id, [])
        active = next((row for row in mine if row.id == actor.active_training_id), None)
        chosen = measured.get((active.id, active.chosen_step or -1)) if active else None
        made.append(
            Card(
                actor=actor,
                pictures=counts.get(actor.id, (0, 0))[0],
                newest=mine[0] if mine else None,
                active=active,
                word=scores.word(scores.parsed(chosen)),
                # A character's own picture is its best likeness; a style is best shown by what it draws.
                face=(faces.get(actor.active_training_id or "") if actor.kind == "style" else None)
                or first_pictures.get(actor.id)
                or faces.get(actor.active_training_id or ""),
            )
        )
    return made
