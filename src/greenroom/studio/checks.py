"""What is wrong, doubtful or worth knowing about a set of pictures, as one list for everybody who shows it.

Tells by itself what inspection and captions say; what the pictures show is measured by vision and judged in
advice.py. Whether a training may start is told from the database alone, and no look at a picture blocks it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor
from greenroom.errors import TooManyImages
from greenroom.settings import current
from greenroom.studio import advice, bases, captions, images, looks, triggers, uploads
from greenroom.studio.findings import Finding, Level
from greenroom.studio.images import Accepted, Refused

__all__ = ["Finding", "Level", "blocking", "review", "review_folder", "review_set"]


def review(session: Session, store: files.Store, actor: Actor) -> list[Finding]:
    """Every finding about an actor's set, blocking ones first, with a look at each picture.

    The first look takes up to a second a picture; later ones are kept.
    """
    lost = [
        Finding(
            code="picture_lost",
            level=Level.BLOCKS,
            picture=picture.original_name,
            picture_id=picture.id,
            message=f"The file of {picture.original_name} is gone from the store.",
            remedy="Restore it from a backup, or remove the picture and add it again.",
        )
        for picture in images.list_(session, actor)
        if not store.exists(picture.key)
    ]
    seen = [
        advice.Seen(name=picture.original_name, picture_id=picture.id, look=look)
        for picture in images.list_(session, actor)
        if (look := looks.of(store, picture)) is not None
    ]
    base = next((base for base in bases.list_(session) if base.id == actor.base), None)
    shown = advice.on(seen, kind=actor.kind, native_px=base.native_px if base else bases.starter().native_px)
    return _sorted([*lost, *review_set(session, actor), *shown, *_not_measured()])


def review_set(session: Session, actor: Actor) -> list[Finding]:
    """Every finding that the database alone can tell."""
    pictures = images.list_(session, actor)
    in_force = captions.all_(session, actor)
    base = next((base for base in bases.list_(session) if base.id == actor.base), None)
    found = _count(len(pictures))
    for picture in pictures:
        name, caption = picture.original_name, in_force.get(picture.id)
        found += _size(name, picture.width_px, picture.height_px, base.native_px if base else 0, picture.id)
        found += _notes(name, picture.notes, picture.id)
        found += _caption(name, caption.text if caption else "", actor.trigger, picture.id)
    return _sorted(found)


def review_folder(
    folder: Path, *, trigger: str | None = None, native_px: int | None = None, kind: str = "character"
) -> list[Finding]:
    """Every finding about a folder that is not in the studio yet, with a look at each picture; keeps nothing.

    trigger: also look for it in the captions. native_px: warn below this size (None: the starter's).
    kind: character or style; a style needs no faces and may show many characters.
    Raises BadInput when there is no such folder or nothing in it, BadTrigger for a trigger that cannot be.
    """
    if trigger is not None:
        triggers.check(trigger)
    size_px = native_px or bases.starter().native_px
    try:
        given = uploads.in_folder(folder)
        # Only pictures that the decoding child has written anew are opened here.
        with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
            judged = images.judge(given, Path(scratch))
            shown = advice.on(_seen(judged), kind=kind, native_px=size_px)
    except TooManyImages as error:
        return [
            Finding(
                code="too_many_pictures",
                level=Level.BLOCKS,
                threshold=current().max_pictures,
                message=str(error),
                remedy="Keep the best ones and take the others out.",
            )
        ]
    found = _count(sum(isinstance(item.result, Accepted) for item in judged))
    for item in judged:
        result, beside = item.result, item.upload.caption
        if isinstance(result, Refused):
            found.append(_refused(result, item.twin))
            continue
        found += _size(result.name, result.width_px, result.height_px, size_px)
        found += _notes(result.name, result.notes)
        if beside.problem:
            found.append(_unreadable_caption(result.name, beside.problem))
        else:
            found += _caption(result.name, beside.text, trigger)
    orphans = [_orphan(file) for file in uploads.orphans(folder)]
    return _sorted([*found, *orphans, *shown, *_not_measured()])


def blocking(findings: Sequence[Finding]) -> list[Finding]:
    """Those that must be mended before a training can start."""
    return [finding for finding in findings if finding.level == Level.BLOCKS]


def _seen(judged: Sequence[images.Judged]) -> list[advice.Seen]:
    from greenroom.vision import look

    return [
        advice.Seen(name=item.result.name, look=look.at(look.read(item.result.png)))
        for item in judged
        if isinstance(item.result, Accepted) and item.result.png is not None
    ]


def _not_measured() -> list[Finding]:
    from greenroom.vision import models

    return advice.not_measured(models.not_ready(), models.REMEDY)


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    order = list(Level)
    return sorted(findings, key=lambda finding: order.index(finding.level))


def _count(total: int) -> list[Finding]:
    fewest, most = current().min_pictures, current().max_pictures
    if total < fewest:
        return [
            Finding(
                code="too_few_pictures",
                level=Level.BLOCKS,
                value=total,
                threshold=fewest,
                message=f"There are {total} usable pictures; an actor needs at least {fewest}.",
                remedy=f"Add {fewest - total} more.",
            )
        ]
    if total > most:
        return [
            Finding(
                code="too_many_pictures",
                level=Level.BLOCKS,
                value=total,
                threshold=most,
                message=f"There are more than {most} usable pictures, the most that an actor may have.",
                remedy="Keep the best ones and take the others out.",
            )
        ]
    return []


def _refused(result: Refused, twin: str | None) -> Finding:
    # One that is refused costs the set nothing but itself, so it never blocks.
    return Finding(
        code="duplicate" if twin else "unusable_picture",
        level=Level.WARNS,
        picture=result.name,
        value=twin,
        message=result.reason,
        remedy="Leave it out." if twin else "Mend or replace the file; without that it is left out.",
    )


def _size(name: str, width: int, height: int, native_px: int, picture_id: str | None = None) -> list[Finding]:
    side = min(width, height)
    if side >= native_px:
        return []
    return [
        Finding(
            code="small_picture",
            level=Level.WARNS,
            picture=name,
            picture_id=picture_id,
            value=side,
            threshold=native_px,
            message=f"{name} has {width}×{height} pixels; the base draws {native_px}: it may turn out soft.",
            remedy="Use a larger original if there is one.",
        )
    ]


def _notes(name: str, notes: Sequence[str], picture_id: str | None = None) -> list[Finding]:
    return [
        Finding(
            code="picture_converted",
            level=Level.INFORMS,
            picture=name,
            picture_id=picture_id,
            message=f"{name}: {note}.",
            remedy="Nothing, if it still looks as it should.",
        )
        for note in notes
    ]


def _unreadable_caption(name: str, problem: str) -> Finding:
    return Finding(
        code="unreadable_caption",
        level=Level.WARNS,
        picture=name,
        message=f"{name}: {problem}.",
        remedy="Save the .txt file as UTF-8 with a short text.",
    )


def _caption(name: str, text: str, trigger: str | None, picture_id: str | None = None) -> list[Finding]:
    if not text:
        return [
            Finding(
                code="no_caption",
                level=Level.WARNS,
                picture=name,
                picture_id=picture_id,
                message=f"{name} has no caption; it would be trained with the trigger alone.",
                remedy="Say in a few words what should vary: the expression, the pose, the place.",
            )
        ]
    if trigger is None or triggers.is_in(trigger, text):
        return []
    # On the way in from a folder the trigger is put in front; in the studio a person has taken it out.
    return [
        Finding(
            code="missing_trigger",
            level=Level.BLOCKS if picture_id else Level.INFORMS,
            picture=name,
            picture_id=picture_id,
            threshold=trigger,
            message=f"The caption of {name} does not have the trigger {trigger}.",
            remedy="Put it in front of the caption."
            if picture_id
            else "Nothing: it is put in front when you train.",
        )
    ]


def _orphan(file: Path) -> Finding:
    return Finding(
        code="caption_without_picture",
        level=Level.INFORMS,
        value=images.display_name(file.name),
        message=f"{images.display_name(file.name)} has no picture of that name beside it and is not used.",
        remedy="Rename it like its picture, if it is a caption.",
    )
