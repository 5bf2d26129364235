"""Captions: every edit is kept, the newest is in force, and a bulk edit can be previewed and undone.

Knows the trigger rules only through triggers.py, and of generated captions only what a captioner says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from greenroom import files
from greenroom.captioners import CAPTIONERS, LENGTHS
from greenroom.db.models import Actor, Caption, CaptionSource, Picture, new_id
from greenroom.errors import BadCaption, EditedMeanwhile, NotFound
from greenroom.settings import current
from greenroom.studio import caption_files, looks, triggers


@dataclass(frozen=True, kw_only=True)
class Change:
    """One caption of a bulk edit, as it was and as it will be."""

    picture: Picture
    before: str
    after: str


def latest(session: Session, picture: Picture) -> Caption | None:
    """The caption in force, None when the picture has none."""
    return session.scalars(_newest_first(picture).limit(1)).first()


def all_(session: Session, actor: Actor) -> dict[str, Caption]:
    """The captions in force of an actor's pictures, by picture id; pictures without one are absent."""
    newest = (
        select(Caption.picture_id, func.max(Caption.revision).label("revision"))
        .join(Picture, Picture.id == Caption.picture_id)
        .where(Picture.actor_id == actor.id, Picture.removed_at.is_(None))
        .group_by(Caption.picture_id)
        .subquery()
    )
    in_force = select(Caption).join(
        newest, (Caption.picture_id == newest.c.picture_id) & (Caption.revision == newest.c.revision)
    )
    return {caption.picture_id: caption for caption in session.scalars(in_force)}


def history(session: Session, picture: Picture) -> list[Caption]:
    """Every wording of a picture's caption, newest first."""
    return list(session.scalars(_newest_first(picture)))


def set_(
    session: Session,
    picture: Picture,
    text: str,
    *,
    source: CaptionSource = CaptionSource.EDITED,
    expected_revision: int | None = None,
) -> Caption:
    """Give a picture a new caption; the same text again writes nothing.

    expected_revision: the revision that the person saw (0 for none).
    Raises EditedMeanwhile when it is no longer the newest, BadCaption when the text is too long.
    """
    cleaned = checked(text)
    before = latest(session, picture)
    if expected_revision is not None and expected_revision != (before.revision if before else 0):
        now = f"It now reads: {before.text!r}" if before else "It now has no caption"
        raise EditedMeanwhile(
            f"The caption of {picture.original_name} was changed meanwhile. {now}. Look and save again."
        )
    if before is not None and before.text == cleaned:
        return before
    return _write(session, picture, cleaned, source, before)


def checked(text: str) -> str:
    """The text as it will be kept: one line, no control characters. Raises BadCaption when it is too long."""
    cleaned = caption_files.clean(text)
    most = current().max_caption_chars
    if len(cleaned) > most:
        raise BadCaption(f"The caption has {len(cleaned)} characters; at most {most} are kept. Shorten it.")
    return cleaned


def preview_prepend_trigger(session: Session, actor: Actor) -> list[Change]:
    """What prepend_trigger would change; pictures without a caption stay without one."""
    return _changes(session, actor, lambda text: triggers.ensure_in_caption(actor.trigger, text)[0])


def prepend_trigger(session: Session, actor: Actor) -> list[Change]:
    """Put the trigger in front of each caption that lacks it, as one bulk edit."""
    return _apply(session, preview_prepend_trigger(session, actor))


def preview_trigger(session: Session, actor: Actor) -> list[Change]:
    """What give_trigger would change: an empty caption becomes the trigger alone."""
    in_force = all_(session, actor)
    found = []
    for picture in actor_pictures(session, actor):
        before = in_force[picture.id].text if picture.id in in_force else ""
        after, is_added = triggers.ensure_in_caption(actor.trigger, before)
        if is_added:
            found.append(Change(picture=picture, before=before, after=checked(after)))
    return found


def give_trigger(session: Session, actor: Actor) -> list[Change]:
    """Put the trigger into every caption that lacks it, the empty ones too, as one bulk edit."""
    return _apply(session, preview_trigger(session, actor), CaptionSource.EDITED)


def preview_replace(session: Session, actor: Actor, find: str, replace: str) -> list[Change]:
    """What replace would change. Raises BadCaption for an empty `find` or a result that is too long."""
    if not find:
        raise BadCaption("There is nothing to find. Give the text that should be replaced.")
    return _changes(session, actor, lambda text: text.replace(find, replace))


def replace(session: Session, actor: Actor, find: str, replace: str) -> list[Change]:
    """Replace a text in every caption of an actor, letter by letter, as one bulk edit."""
    return _apply(session, preview_replace(session, actor, find, replace))


def preview_prepend(session: Session, actor: Actor, words: str) -> list[Change]:
    """What prepend would change. Raises BadCaption when there is nothing to put in front."""
    front = caption_files.clean(words).rstrip(", ")
    if not front:
        raise BadCaption("There is nothing to put in front. Give the words.")

    def change(text: str) -> str:
        # The trigger keeps its place at the very front.
        if text == actor.trigger or text.startswith(f"{actor.trigger},"):
            rest = text.removeprefix(actor.trigger).lstrip(", ")
            return ", ".join(part for part in (actor.trigger, front, rest) if part)
        return f"{front}, {text}"

    return _changes(session, actor, change)


def prepend(session: Session, actor: Actor, words: str) -> list[Change]:
    """Put words in front of every caption, after the trigger, as one bulk edit."""
    return _apply(session, preview_prepend(session, actor, words))


def set_all(session: Session, texts: Sequence[tuple[Picture, str]], *, source: CaptionSource) -> list[Change]:
    """Give many pictures new captions as one bulk edit that can be undone as a whole."""
    changes = []
    for picture, text in texts:
        before = latest(session, picture)
        after = checked(text)
        if before is None or before.text != after:
            changes.append(Change(picture=picture, before=before.text if before else "", after=after))
    return _apply(session, changes, source)


def preview_generate(
    session: Session,
    store: files.Store,
    actor: Actor,
    pictures: Sequence[Picture] | None = None,
    *,
    captioner: str = "composed",
    length: str = "full",
) -> list[Change]:
    """What generate would change, told first; a picture of which nothing is sure is left out.

    pictures: those to caption anew; None means those without a caption.
    Raises BadCaption for an unknown captioner or length.
    """
    if captioner not in CAPTIONERS:
        raise BadCaption(f"There is no captioner {captioner!r}; there are {', '.join(CAPTIONERS)}.")
    if length not in LENGTHS:
        raise BadCaption(f"A caption is {' or '.join(LENGTHS)}, not {length!r}.")
    in_force = all_(session, actor)
    if pictures is None:
        pictures = [
            picture
            for picture in actor_pictures(session, actor)
            if picture.id not in in_force or not in_force[picture.id].text
        ]
    changes = []
    for picture in pictures:
        look = looks.of(store, picture)
        said = CAPTIONERS[captioner](look, kind=actor.kind, length=length) if look else ""
        before = in_force[picture.id].text if picture.id in in_force else ""
        after = checked(triggers.ensure_in_caption(actor.trigger, said)[0]) if said else before
        if after != before:
            changes.append(Change(picture=picture, before=before, after=after))
    return changes


def generate(
    session: Session,
    store: files.Store,
    actor: Actor,
    pictures: Sequence[Picture] | None = None,
    *,
    captioner: str = "composed",
    length: str = "full",
) -> list[Change]:
    """Write captions from what the pictures show, trigger in front, as one bulk edit that can be undone.

    They are marked as generated until a person edits them. Arguments and errors are those of preview_generate.
    """
    changes = preview_generate(session, store, actor, pictures, captioner=captioner, length=length)
    return _apply(session, changes, CaptionSource.GENERATED)


def undo(session: Session, actor: Actor) -> list[Change]:
    """Take back the newest bulk edit that still stands; captions edited since then stay as they are.

    Raises NotFound when there is none.
    """
    undone = aliased(Caption)
    batch = session.scalars(
        select(Caption.batch)
        .join(Picture, Picture.id == Caption.picture_id)
        .where(
            Picture.actor_id == actor.id,
            Caption.batch.is_not(None),
            ~select(undone.id).where(undone.undoes == Caption.batch).exists(),
        )
        .order_by(Caption.created_at.desc())
        .limit(1)
    ).first()
    if batch is None:
        raise NotFound(f"{actor.name} has no bulk edit of captions to undo.")
    changes = []
    for picture in actor_pictures(session, actor):
        wordings = history(session, picture)
        if not wordings or wordings[0].batch != batch:
            continue
        newest = wordings[0]
        edit = next(index for index, row in enumerate(wordings) if row.batch == batch and row.undoes is None)
        before = wordings[edit + 1] if edit + 1 < len(wordings) else None
        # A picture that had no caption gets an empty one: history is never deleted.
        text, source = (before.text, before.source) if before else ("", newest.source)
        # It stands for the wording that it brings back, so that the edit behind that can be undone next.
        _write(session, picture, text, source, newest, batch=before.batch if before else None, undoes=batch)
        changes.append(Change(picture=picture, before=newest.text, after=text))
    if not changes:
        raise NotFound(
            f"Every caption of {actor.name}'s last bulk edit was edited since. Change them one by one."
        )
    return changes


def actor_pictures(session: Session, actor: Actor) -> list[Picture]:
    """The actor's pictures in their order, without those taken out."""
    return list(
        session.scalars(
            select(Picture)
            .where(Picture.actor_id == actor.id, Picture.removed_at.is_(None))
            .order_by(Picture.position, Picture.id)
        )
    )


def _newest_first(picture: Picture) -> Select[Caption]:
    return select(Caption).where(Caption.picture_id == picture.id).order_by(Caption.revision.desc())


def _changes(session: Session, actor: Actor, change: Callable[[str], str]) -> list[Change]:
    captions = all_(session, actor)
    found = []
    for picture in actor_pictures(session, actor):
        before = captions[picture.id].text if picture.id in captions else ""
        after = checked(change(before)) if before else ""
        if after != before:
            found.append(Change(picture=picture, before=before, after=after))
    return found


def _apply(session: Session, changes: Sequence[Change], source: CaptionSource | None = None) -> list[Change]:
    """Write the changes under one batch id; without a source each caption keeps its own."""
    batch = new_id("bat")
    for change in changes:
        before = latest(session, change.picture)
        kept = before.source if before else CaptionSource.EDITED
        _write(session, change.picture, change.after, source or kept, before, batch=batch)
    return list(changes)


def _write(
    session: Session,
    picture: Picture,
    text: str,
    source: CaptionSource,
    before: Caption | None,
    *,
    batch: str | None = None,
    undoes: str | None = None,
) -> Caption:
    row = Caption(
        picture_id=picture.id,
        revision=(before.revision if before else 0) + 1,
        text=text,
        source=source,
        batch=batch,
        undoes=undoes,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        # (picture, revision) is unique: somebody saved between our look and our write.
        raise EditedMeanwhile(
            f"The caption of {picture.original_name} was changed meanwhile. Look at it and save again."
        ) from error
    return row
