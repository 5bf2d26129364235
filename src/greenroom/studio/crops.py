"""Crops a training picture to its main face, and takes that back. The picture itself is never changed.

A crop is a picture of its own in the same place of the set, and the one it was cut from is taken out meanwhile.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, Picture
from greenroom.errors import BadInput
from greenroom.studio import captions, images, looks
from greenroom.studio.images import Upload

if TYPE_CHECKING:
    from greenroom.vision.faces import Face

_WIDEST, _NARROWEST = 2.6, 1.5
"""Side of the crop against the longer side of the face: with shoulders where there is room, hair at least."""
_NOTE = "cropped to the face"


def to_face(session: Session, store: files.Store, actor: Actor, picture: Picture) -> Picture:
    """Put the square around its main face in the picture's place, without any other face where that can be.

    Raises BadInput when no face is found, or the crop would be too small to train on.
    """
    from PIL import Image

    look = looks.of(store, picture)
    if look is None or look.face is None:
        raise BadInput(
            f"No face was found in {picture.original_name}, so it cannot be cropped to one. "
            "Crop it in another program and add it again, or keep it."
        )
    others = [face for face in look.faces or () if face is not look.face]
    box = around(look.face, others, picture.width_px, picture.height_px)
    with store.scratch() as scratch:
        clean = store.path(picture.key) or store.local_copy(picture.key, scratch / "picture.png")
        # Written by ourselves when it came in, so this decodes nothing that a person sent.
        with Image.open(clean, formats=("PNG",)) as opened:
            opened.crop(box).save(scratch / "crop.png")
        images.remove(session, picture)
        (verdict,) = images.add(
            session, store, actor, [Upload(path=scratch / "crop.png", name=picture.original_name)]
        )
    cropped = verdict.picture
    if cropped is None:
        images.restore(session, actor, picture)
        raise BadInput(
            f"{picture.original_name} cannot be cropped: {verdict.reason} Take a larger picture, or keep this one."
        )
    cropped.position, cropped.cropped_from_id = picture.position, picture.id
    cropped.notes = [*picture.notes, _NOTE]
    _pass_caption(session, picture, cropped)
    session.flush()
    return cropped


def undo(session: Session, actor: Actor, cropped: Picture) -> Picture:
    """Put the whole picture back, with the caption as it reads now. Raises BadInput when it is no crop."""
    if cropped.cropped_from_id is None:
        raise BadInput(f"{cropped.original_name} was not cropped here, so there is nothing to take back.")
    whole = images.find(session, actor, cropped.cropped_from_id, removed=True)
    images.remove(session, cropped)
    images.restore(session, actor, whole)
    _pass_caption(session, cropped, whole)
    return whole


def around(face: Face, others: list[Face], width_px: int, height_px: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of a square around the head, cut at the picture's border."""
    x, y = (face.left + face.right) / 2 * width_px, (face.top + face.bottom) / 2 * height_px
    longer = max((face.right - face.left) * width_px, face.height * height_px)
    # How far from the middle the nearest other face begins, along the axis that tells them apart.
    room = min(
        (
            max(
                abs((one.left + one.right) / 2 * width_px - x) - (one.right - one.left) * width_px / 2,
                abs((one.top + one.bottom) / 2 * height_px - y) - one.height * height_px / 2,
            )
            for one in others
        ),
        default=math.inf,
    )
    half = min(max(min(longer * _WIDEST / 2, room), longer * _NARROWEST / 2), width_px / 2, height_px / 2)
    left = min(max(x - half, 0), width_px - 2 * half)
    top = min(max(y - half, 0), height_px - 2 * half)
    return int(left), int(top), int(left + 2 * half), int(top + 2 * half)


def _pass_caption(session: Session, giver: Picture, taker: Picture) -> None:
    given, has = captions.latest(session, giver), captions.latest(session, taker)
    if given is not None and (has is None or has.text != given.text):
        captions.set_(session, taker, given.text, source=given.source)
