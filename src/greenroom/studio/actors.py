"""Actors: made, found, renamed, deleted, restored and erased. Knows nothing about how they are trained."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Select, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, ActorKind, Job, Training, Workspace, now
from greenroom.errors import BadName, Conflict, TriggerTaken, UnknownActor, WrongState, WrongUse
from greenroom.studio import bases, images, intake, near, trainings, triggers, uploads
from greenroom.studio.images import Verdict

MAX_NAME_CHARS = 100
TRASH_DAYS = 30
"""How long the trash promises to keep; nothing is erased before the person empties it."""


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What came of a folder: the actor, a verdict for each file, and whether anything was new."""

    actor: Actor
    verdicts: list[Verdict]
    created: bool
    unchanged: bool
    """True when the actor had these very pictures and captions before."""


def create(
    session: Session, workspace: Workspace, *, kind: str, name: str, trigger: str, base: str = bases.STARTER
) -> Actor:
    """A new actor in Draft.

    Raises BadName, BadTrigger, UnknownBase, or TriggerTaken when a live actor of the workspace has it.
    """
    bases.find(session, base)
    if kind not in list(ActorKind):
        raise WrongUse(f"There is no kind {kind!r}. Use {near.listed(list(ActorKind), 'or')}.")
    actor = Actor(
        workspace_id=workspace.id,
        kind=ActorKind(kind),
        name=checked_name(name),
        trigger=triggers.check(trigger),
        trigger_key=triggers.key(trigger),
        base=base,
    )
    _refuse_taken(session, workspace.id, trigger)
    try:
        with session.begin_nested():
            session.add(actor)
    except IntegrityError as error:
        raise _taken(trigger, "another actor") from error
    return actor


def find(session: Session, workspace: Workspace, ref: str, *, deleted: bool = False) -> Actor:
    """The actor of that id, trigger or name, in this order; `@` in front is fine.

    deleted: look in the trash instead.
    Raises UnknownActor with near ones, or Conflict when several have the name.
    """
    wanted = ref.removeprefix("@")
    scope = _scope(workspace, deleted)
    matching = session.scalars(
        scope.where(
            or_(
                Actor.id == wanted,
                Actor.trigger_key == triggers.key(wanted),
                func.lower(Actor.name) == wanted.lower(),
            )
        )
    ).all()
    for fits in (
        [actor for actor in matching if actor.id == wanted],
        [actor for actor in matching if actor.trigger == wanted],
        [actor for actor in matching if actor.trigger_key == triggers.key(wanted)],
        [actor for actor in matching if actor.name == wanted],
        matching,
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            # In the trash several may have had one trigger after the other.
            which = near.listed([f"{actor.trigger} ({actor.id})" for actor in fits[:5]])
            raise Conflict(
                f"{len(fits)} actors are called {wanted!r}: {which}. Name the one you mean by its id."
            )
    known = [word for actor in session.scalars(scope) for word in (actor.name, actor.trigger)]
    where = "in the trash" if deleted else "here"
    hint = near.sentence(wanted, dict.fromkeys(known), "There is none yet: train one first.")
    raise UnknownActor(f"There is no actor {wanted[:80]!r} {where}. {hint}")


def list_(session: Session, workspace: Workspace, *, deleted: bool = False) -> list[Actor]:
    """The actors of a workspace, newest first; with `deleted`, those in the trash."""
    newest_first = _scope(workspace, deleted).order_by(Actor.created_at.desc(), Actor.id)
    return list(session.scalars(newest_first))


def rename(session: Session, actor: Actor, name: str) -> None:
    """Give an actor another name; its trigger stays. Raises BadName."""
    actor.name = checked_name(name)
    session.flush()


def check_trigger(session: Session, workspace: Workspace, trigger: str) -> str:
    """The trigger itself when a new actor of the workspace could have it. Raises BadTrigger or TriggerTaken."""
    triggers.check(trigger)
    _refuse_taken(session, workspace.id, trigger)
    return trigger


def set_base(session: Session, actor: Actor, base_id: str) -> None:
    """Choose the base that the next version is trained on. Raises UnknownBase, BaseMissing, AlreadyTraining."""
    if actor.base == base_id:
        return
    trainings.refuse_live(session, actor, "Let it end or cancel it before it gets another base")
    actor.base = bases.find(session, base_id).id
    session.flush()


def use_version(session: Session, actor: Actor, training: Training) -> None:
    """Make prompts use that version from now on. Raises WrongState when it has no weights."""
    if training.actor_id != actor.id or training.lora_key is None:
        raise WrongState(
            f"Version {training.version} of {actor.name} is {training.state} and has no weights. "
            "Choose a version that is done."
        )
    actor.active_training_id = training.id
    session.flush()


def delete(session: Session, actor: Actor) -> None:
    """Move an actor to the trash; nothing is erased and its trigger is free. Raises AlreadyTraining."""
    trainings.refuse_live(session, actor, "Cancel the training first, then delete it")
    actor.deleted_at = actor.deleted_at or now()
    session.flush()


def restore(session: Session, actor: Actor) -> None:
    """Take an actor out of the trash. Raises TriggerTaken when a live actor has its trigger by now."""
    if actor.deleted_at is None:
        return
    _refuse_taken(session, actor.workspace_id, actor.trigger)
    try:
        with session.begin_nested():
            actor.deleted_at = None
    except IntegrityError as error:
        raise _taken(actor.trigger, "another actor") from error


def purge(session: Session, store: files.Store, actor: Actor) -> int:
    """Erase a deleted actor: pictures, captions, trainings and weights. Returns how many files went.

    Raises WrongState when it is not in the trash.
    """
    if actor.deleted_at is None:
        raise WrongState(f"{actor.name} is not in the trash. Delete it first; then it can be erased.")
    trainings.refuse_live(session, actor, "Cancel the training first")
    runs = select(Training.id).where(Training.actor_id == actor.id)
    session.execute(sql_delete(Job).where(Job.target_id.in_(runs)))
    # Pictures, captions, trainings, checkpoints and events go along with it: ON DELETE CASCADE.
    session.delete(actor)
    session.flush()
    return store.delete_prefix(files.actor_prefix(actor.id))


def find_or_create_for_folder(
    session: Session,
    store: files.Store,
    workspace: Workspace,
    folder: Path,
    *,
    kind: str,
    name: str,
    trigger: str,
    base: str = bases.STARTER,
    new_version: bool = False,
) -> Intake:
    """The actor of that trigger with the pictures of a folder; the same call again changes nothing.

    new_version: folder and base may differ from what the actor was trained on, and take over.
    Raises what `create` and `images.add_folder` raise, TriggerTaken when the actor is of another name, kind
    or base, and ChangedDataset when the folder differs from what was trained on and new_version is false.
    """
    # The words are judged first: a typing error should not wait for fifty pictures to be decoded.
    triggers.check(trigger)
    shown_name = checked_name(name)
    bases.find(session, base)
    actor = session.scalars(
        _scope(workspace, False).where(Actor.trigger_key == triggers.key(trigger))
    ).first()
    if actor is None:
        with store.scratch() as scratch:
            judged = images.judge(uploads.in_folder(folder), scratch)
            images.check_count(judged, where=str(folder))
            actor = create(session, workspace, kind=kind, name=name, trigger=trigger, base=base)
            verdicts = images.keep(session, store, actor, judged)
        return Intake(actor=actor, verdicts=verdicts, created=True, unchanged=False)
    _refuse_other(actor, shown_name, kind, trigger)
    if actor.base != base:
        if not new_version:
            raise TriggerTaken(
                f"{actor.name} is made on the base {actor.base}, not {base}. Name that base, ask for a new "
                "version, or use another trigger."
            )
        trainings.refuse_live(session, actor, "Let it end or cancel it before it gets another base")
        actor.base = base
    verdicts, unchanged = intake.compare(session, store, actor, folder, new_version=new_version)
    return Intake(actor=actor, verdicts=verdicts, created=False, unchanged=unchanged)


def checked_name(name: str) -> str:
    """The name as it will be kept. Raises BadName."""
    shown = " ".join(name.split())
    if len(shown) > MAX_NAME_CHARS:
        raise BadName(f"The name has {len(shown)} characters; at most {MAX_NAME_CHARS} are kept. Shorten it.")
    wrong = next((char for char in shown if not _can_stand_in_a_name(char)), None)
    if wrong is not None:
        raise BadName(
            f"The name {shown!r} holds {wrong!r}. Other programs show the name as a title, so it is kept to "
            "letters, digits and punctuation other than slashes. Leave it out."
        )
    if not any(char.isalnum() for char in shown):
        raise BadName(
            f"The name {shown!r} has no letter or digit. Give one that can be read out, such as KIA."
        )
    return shown


def _can_stand_in_a_name(char: str) -> bool:
    """Not a slash, an emoji or another pictograph, a control or direction mark, or half a character."""
    if char in "\u200c\u200d":  # joiners: Persian and Indic spelling needs them
        return True
    return char not in "/\\" and unicodedata.category(char) not in {"Cc", "Cf", "Cn", "Co", "Cs", "So"}


def _refuse_other(actor: Actor, name: str, kind: str, trigger: str) -> None:
    if actor.name != name:
        raise TriggerTaken(
            f"The trigger {trigger} belongs to {actor.name}. Use another trigger, or that name to go on."
        )
    if actor.kind != kind:
        raise TriggerTaken(f"{actor.name} ({trigger}) is a {actor.kind}, not a {kind}. Use another trigger.")
    if actor.trigger != trigger:
        raise TriggerTaken(
            f"The trigger of {actor.name} is written {actor.trigger}, not {trigger}. Write it like that."
        )


def _refuse_taken(session: Session, workspace_id: str, trigger: str) -> None:
    taken_by = session.scalar(
        select(Actor.name).where(
            Actor.workspace_id == workspace_id,
            Actor.trigger_key == triggers.key(trigger),
            Actor.deleted_at.is_(None),
        )
    )
    if taken_by is not None:
        raise _taken(trigger, taken_by)


def _taken(trigger: str, by: str) -> TriggerTaken:
    return TriggerTaken(
        f"The trigger {trigger} is taken by {by}. Choose another, such as {triggers.suggest(trigger + 'B')}."
    )


def _scope(workspace: Workspace, deleted: bool) -> Select[Actor]:
    return select(Actor).where(
        Actor.workspace_id == workspace.id,
        Actor.deleted_at.is_not(None) if deleted else Actor.deleted_at.is_(None),
    )
