"""Holds a folder against the set that an actor has already, and brings the set up to date.

Knows pictures and captions; of trainings only whether the set was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, ActorState, Picture
from greenroom.errors import ChangedDataset
from greenroom.studio import images, near, trainings, triggers, uploads
from greenroom.studio.images import Accepted, Judged, Verdict
from greenroom.studio.uploads import Upload


def compare(
    session: Session, store: files.Store, actor: Actor, folder: Path, *, new_version: bool
) -> tuple[list[Verdict], bool]:
    """A verdict for each file of the folder, and true when the actor's set was this very one before.

    Files that are in the set are known by their hash and not decoded again.
    new_version: a set that was trained on may change. Without it that raises ChangedDataset.
    """
    given = uploads.in_folder(folder)
    by_sha = uploads.by_sha256(given)
    present = images.list_(session, actor)
    in_set = {picture.upload_sha256 for picture in present}
    standing = {upload.path for sha, upload in by_sha.items() if sha in in_set}
    with store.scratch() as scratch:
        kept = [picture for picture in present if picture.upload_sha256 in by_sha]
        judged = images.judge([item for item in given if item.path not in standing], scratch, existing=kept)
        change = _change(session, actor, present, by_sha, judged)
        if change.is_any:
            if not new_version and _was_trained(session, actor):
                raise ChangedDataset(change.sentence(actor, folder))
            trainings.refuse_live(session, actor, "Let it end or cancel it before its pictures change")
            images.check_count(change.fresh, where=str(folder), others=len(present) - len(change.gone))
            for picture in change.gone:
                images.remove(session, picture)
            for picture, text in change.reworded:
                images.take_caption(session, actor, picture, text)
        names = {sha: upload.name for sha, upload in by_sha.items()}
        old = images.standing(session, actor, names)
        new = images.keep(session, store, actor, change.fresh)
    return [*old, *new], not change.is_any


@dataclass(frozen=True, kw_only=True)
class _Change:
    fresh: list[Judged]
    """Files that are not in the set: new pictures, and refused ones."""
    gone: list[Picture]
    reworded: list[tuple[Picture, str]]

    @property
    def added(self) -> int:
        return sum(isinstance(item.result, Accepted) for item in self.fresh)

    @property
    def is_any(self) -> bool:
        return bool(self.added or self.gone or self.reworded)

    def sentence(self, actor: Actor, folder: Path) -> str:
        counts = [(self.added, "new"), (len(self.gone), "gone"), (len(self.reworded), "with another caption")]
        said = near.listed([f"{count} {what}" for count, what in counts if count])
        return (
            f"The pictures in {folder} are not those that {actor.name} was trained on: {said}. "
            "Put them back as they were to go on, or ask for a new version to train from the changed ones."
        )


def _change(
    session: Session, actor: Actor, present: list[Picture], by_sha: dict[str, Upload], judged: list[Judged]
) -> _Change:
    # The same pixels in another file (saved anew, another format) are the same picture still.
    pixels = {item.result.pixels_sha256 for item in judged if isinstance(item.result, Accepted)}
    known = {picture.pixels_sha256 for picture in present}
    return _Change(
        fresh=[
            item
            for item in judged
            if not isinstance(item.result, Accepted) or item.result.pixels_sha256 not in known
        ],
        gone=[p for p in present if p.upload_sha256 not in by_sha and p.pixels_sha256 not in pixels],
        reworded=[
            (picture, by_sha[picture.upload_sha256].caption.text)
            for picture in present
            if picture.upload_sha256 in by_sha
            and _is_reworded(session, actor, picture, by_sha[picture.upload_sha256].caption.text)
        ],
    )


def _is_reworded(session: Session, actor: Actor, picture: Picture, given: str) -> bool:
    """True when the caption file says something else than it did; one that was taken away changes nothing."""
    return bool(given) and triggers.ensure_in_caption(actor.trigger, given)[0] != images.uploaded_text(
        session, picture
    )


def _was_trained(session: Session, actor: Actor) -> bool:
    return actor.state != ActorState.DRAFT or trainings.latest(session, actor) is not None
