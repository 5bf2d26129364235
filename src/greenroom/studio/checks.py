"""What is wrong, doubtful or worth knowing about a set of pictures, as one list for everybody who shows it.

Says only what inspection and captions can tell honestly; nothing here looks at what a picture shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor
from greenroom.errors import TooManyImages
from greenroom.settings import current
from greenroom.studio import bases, captions, images, triggers, uploads
from greenroom.studio.images import Accepted, Refused


class Level(StrEnum):
    BLOCKS = "blocks"
    WARNS = "warns"
    INFORMS = "informs"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to know: what was measured, against which threshold, and what to do."""

    code: str
    level: Level
    message: str
    remedy: str
    picture: str | None = None
    """Display name of the picture; None when it is about the set."""
    picture_id: str | None = None
    value: float | str | None = None
    threshold: float | str | None = None

    def as_json(self) -> dict[str, Any]:
        """The finding as the command line and the API print it."""
        return asdict(self)


def review(session: Session, store: files.Store, actor: Actor) -> list[Finding]:
    """Every finding about an actor's set, blocking ones first, its files in the store included."""
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
    return _sorted([*lost, *review_set(session, actor)])


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


def review_folder(folder: Path, *, trigger: str | None = None, native_px: int | None = None) -> list[Finding]:
    """Every finding about a folder that is not in the studio yet; writes nothing.

    trigger: also look for it in the captions. native_px: warn below this size (None: the starter's).
    Raises BadInput when there is no such folder or nothing in it, BadTrigger for a trigger that cannot be.
    """
    if trigger is not None:
        triggers.check(trigger)
    try:
        judged = images.judge(uploads.in_folder(folder), None)
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
        found += _size(result.name, result.width_px, result.height_px, native_px or bases.starter().native_px)
        found += _notes(result.name, result.notes)
        if beside.problem:
            found.append(_unreadable_caption(result.name, beside.problem))
        else:
            found += _caption(result.name, beside.text, trigger)
    return _sorted([*found, *(_orphan(file) for file in uploads.orphans(folder))])


def blocking(findings: Sequence[Finding]) -> list[Finding]:
    """Those that must be mended before a training can start."""
    return [finding for finding in findings if finding.level == Level.BLOCKS]


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
