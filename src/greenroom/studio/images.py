"""Turns uploads into clean training pictures of an actor, with a verdict for each file.

Knows files, pictures and the captions that came beside them; knows nothing about training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, Caption, CaptionSource, Picture, new_id, now
from greenroom.errors import BadCaption, TooFewImages, TooManyImages, UnknownPicture
from greenroom.settings import current
from greenroom.studio import captions, triggers, uploads
from greenroom.studio.inspecting import Accepted, Inspected, Refused, display_name, inspect, inspect_all
from greenroom.studio.uploads import Upload

__all__ = [
    "Accepted",
    "Refused",
    "Upload",
    "Verdict",
    "add",
    "add_folder",
    "display_name",
    "find",
    "inspect",
    "list_",
    "restore",
]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one file."""

    name: str
    accepted: bool
    reason: str = ""
    """Why it was refused and what to do; empty when it was accepted."""
    notes: tuple[str, ...] = ()
    """What was changed or left out on the way in."""
    twin: str | None = None
    """Name of the picture that it repeats."""
    caption: str | None = None
    """The caption in force, trigger included; None when it has none."""
    trigger_added: bool = False
    picture: Picture | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One upload after inspection: twins are refused, too."""

    upload: Upload
    result: Inspected
    twin: str | None = None


def list_(session: Session, actor: Actor) -> list[Picture]:
    """The actor's pictures in their order, without those taken out."""
    return captions.actor_pictures(session, actor)


def add_folder(session: Session, store: files.Store, actor: Actor, folder: Path) -> list[Verdict]:
    """Import a folder: a verdict for each file, one bad file never costs the others.

    Raises TooFewImages or TooManyImages, and then writes nothing, when the actor would end up with fewer than
    5 or more than 50 pictures.
    """
    with store.scratch() as scratch:
        present = list_(session, actor)
        judged = judge(uploads.in_folder(folder), scratch, existing=present)
        check_count(judged, where=str(folder), others=len(present))
        return keep(session, store, actor, judged)


def add(session: Session, store: files.Store, actor: Actor, given: Sequence[Upload]) -> list[Verdict]:
    """Add some files to an actor's set; it may be too small while it is a draft, but never too large.

    Raises TooManyImages, and then writes nothing.
    """
    with store.scratch() as scratch:
        present = list_(session, actor)
        judged = judge(given, scratch, existing=present)
        _check_most(len(present) + _accepted(judged), actor.name)
        return keep(session, store, actor, judged)


def remove(session: Session, picture: Picture) -> None:
    """Take a picture out of the set; its file stays for the versions that used it."""
    picture.removed_at = now()
    session.flush()


def find(session: Session, actor: Actor, picture_id: str, *, removed: bool = False) -> Picture:
    """A picture of the actor's set; with `removed`, one that was taken out too. Raises UnknownPicture."""
    picture = session.get(Picture, picture_id)
    if picture is None or picture.actor_id != actor.id or (picture.removed_at is not None and not removed):
        raise UnknownPicture(f"{actor.name} has no picture {picture_id[:40]!r}. Look at the set again.")
    return picture


def restore(session: Session, actor: Actor, picture: Picture) -> None:
    """Put a picture that was taken out back into the set. Raises TooManyImages."""
    if picture.removed_at is not None:
        _check_most(len(list_(session, actor)) + 1, actor.name)
        picture.removed_at = None
        session.flush()


def judge(given: Sequence[Upload], scratch: Path | None, *, existing: Iterable[Picture] = ()) -> list[Judged]:
    """Inspect uploads and find repeats, among themselves and of existing pictures. Writes to `scratch` only.

    Stops as soon as more are accepted than an actor may have: the rest need not be decoded.
    """
    twins: dict[str, str] = {}
    for picture in existing:
        twins[picture.pixels_sha256] = twins[picture.upload_sha256] = picture.original_name
    judged: list[Judged] = []
    results = inspect_all([(upload.path, upload.name) for upload in given], out=scratch)
    for upload, result in zip(given, results, strict=False):
        twin = None
        if isinstance(result, Accepted):
            twin = twins.get(result.upload_sha256) or twins.get(result.pixels_sha256)
            twins[result.pixels_sha256] = twins[result.upload_sha256] = twin or result.name
        if twin is not None:
            reason = f"It is the same picture as {twin}, which would then count twice. Leave it out."
            judged.append(Judged(upload=upload, result=Refused(name=result.name, reason=reason), twin=twin))
        else:
            judged.append(Judged(upload=upload, result=result))
        if _accepted(judged) > current().max_pictures:
            break
    return judged


def check_count(judged: Sequence[Judged], *, where: str, others: int = 0) -> None:
    """Raise TooFewImages or TooManyImages when the set would be out of bounds; names what was refused.

    others: how many pictures the set has beside the judged ones.
    """
    total = _accepted(judged) + others
    _check_most(total, where)
    fewest = current().min_pictures
    if total < fewest:
        refused = [item.result for item in judged if isinstance(item.result, Refused)]
        reasons = "".join(f" {result.name}: {result.reason}" for result in refused[:3])
        more = f" ({len(refused) - 3} more were refused.)" if len(refused) > 3 else ""
        missing = fewest - total
        raise TooFewImages(
            f"{where} has {total} usable picture{'' if total == 1 else 's'}, and an actor needs {fewest}. "
            f"Add {missing} more.{reasons}{more}"
        )


def keep(session: Session, store: files.Store, actor: Actor, judged: Sequence[Judged]) -> list[Verdict]:
    """Put the accepted pictures into the store and the database, and say what became of each file.

    The files are written before the rows, so that a row never lacks its file; when something breaks they are
    removed again.
    """
    position = 1 + (
        session.scalar(select(func.max(Picture.position)).where(Picture.actor_id == actor.id)) or 0
    )
    written: list[str] = []
    rows: dict[int, Picture] = {}
    try:
        for index, item in enumerate(judged):
            if isinstance(item.result, Accepted):
                rows[index] = _stored(store, actor, item.result, position + len(rows), written)
        session.add_all(rows.values())
        session.flush()
        return [_verdict(session, actor, item, rows.get(index)) for index, item in enumerate(judged)]
    except BaseException:
        # Also on Ctrl-C: the session rolls back, so these files would belong to nobody.
        for key in written:
            store.delete(key)
        raise


def standing(session: Session, actor: Actor, names: Mapping[str, str]) -> list[Verdict]:
    """Verdicts for pictures that are in already; `names` gives a file's present name by its sha256."""
    in_force = captions.all_(session, actor)
    return [
        Verdict(
            name=names.get(picture.upload_sha256, picture.original_name),
            accepted=True,
            notes=tuple(picture.notes),
            caption=in_force[picture.id].text if picture.id in in_force else None,
            picture=picture,
        )
        for picture in list_(session, actor)
    ]


def _accepted(judged: Sequence[Judged]) -> int:
    return sum(isinstance(item.result, Accepted) for item in judged)


def _check_most(total: int, where: str) -> None:
    most = current().max_pictures
    if total > most:
        raise TooManyImages(
            f"{where} has more than {most} pictures, and {most} are the most that an actor may have. "
            "Keep the best ones and take the others out."
        )


def _stored(store: files.Store, actor: Actor, result: Accepted, position: int, written: list[str]) -> Picture:
    assert result.png is not None
    assert result.thumbnail is not None
    assert result.sha256 is not None
    picture_id = new_id("pic")
    key, thumbnail_key = files.picture_key(actor.id, picture_id), files.thumbnail_key(actor.id, picture_id)
    for where, file in ((key, result.png), (thumbnail_key, result.thumbnail)):
        written.append(where)
        store.put(where, file)
        file.unlink()
    return Picture(
        id=picture_id,
        actor_id=actor.id,
        sha256=result.sha256,
        pixels_sha256=result.pixels_sha256,
        upload_sha256=result.upload_sha256,
        size_bytes=result.size_bytes,
        width_px=result.width_px,
        height_px=result.height_px,
        original_name=result.name,
        notes=list(result.notes),
        key=key,
        thumbnail_key=thumbnail_key,
        position=position,
    )


def _verdict(session: Session, actor: Actor, item: Judged, picture: Picture | None) -> Verdict:
    if isinstance(item.result, Refused):
        return Verdict(name=item.result.name, accepted=False, reason=item.result.reason, twin=item.twin)
    assert picture is not None
    verdict = Verdict(name=item.result.name, accepted=True, notes=item.result.notes, picture=picture)
    beside = item.upload.caption
    if beside.problem:
        return replace(verdict, notes=(*verdict.notes, beside.problem))
    if not beside.text:
        return verdict
    try:
        text, added = take_caption(session, actor, picture, beside.text)
    except BadCaption as error:
        return replace(verdict, notes=(*verdict.notes, f"its caption was left out: {error}"))
    notes = (*verdict.notes, f"{actor.trigger} was put in front of its caption") if added else verdict.notes
    return replace(verdict, caption=text, trigger_added=added, notes=notes)


def take_caption(session: Session, actor: Actor, picture: Picture, given: str) -> tuple[str, bool]:
    """Keep a caption as it came and, if the trigger is missing, once more with it; both count as uploaded."""
    text, added = triggers.ensure_in_caption(actor.trigger, given)
    captions.checked(text)  # before anything is written: both wordings are kept, or none
    for wording in dict.fromkeys([given, text]):
        captions.set_(session, picture, wording, source=CaptionSource.UPLOADED)
    return text, added


def uploaded_text(session: Session, picture: Picture) -> str:
    """The newest caption that came with the picture's file; empty when none did."""
    newest = (
        select(Caption.text)
        .where(Caption.picture_id == picture.id, Caption.source == CaptionSource.UPLOADED)
        .order_by(Caption.revision.desc())
        .limit(1)
    )
    return session.scalar(newest) or ""
