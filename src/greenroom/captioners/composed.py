"""Puts a caption together from what was measured: framing, view, expression, background and light.

Says only what it is sure of and leaves the rest to the person. For a character it leaves out hair, face and
clothes, which must stay with the trigger; for a style it says what is shown and nothing of how it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.vision.faces import Face
    from greenroom.vision.look import Look

CLOSE_UP_SHARE = 0.42
HALF_SHARE = 0.16
_SMILE = 0.72
_MOUTH_OPEN = 0.18
_DARK = 25.0

# What the colours with an everyday name look like, in sRGB; a background is called by the nearest.
_COLOURS: Mapping[str, Sequence[tuple[int, int, int]]] = {
    "white": ((255, 255, 255), (242, 242, 242)),
    "light grey": ((205, 205, 205),),
    "grey": ((135, 135, 135),),
    "dark grey": ((75, 75, 75),),
    "black": ((0, 0, 0), (25, 25, 25)),
    "red": ((220, 30, 30), (190, 40, 50), (235, 70, 60)),
    "pink": ((255, 170, 190), (240, 100, 160), (250, 200, 215)),
    "orange": ((245, 140, 30), (250, 165, 80), (230, 110, 40)),
    "yellow": ((250, 220, 40), (255, 240, 110), (235, 200, 60)),
    "beige": ((245, 225, 195), (225, 200, 165)),
    "brown": ((130, 80, 45), (95, 60, 35), (160, 110, 70)),
    "green": ((50, 150, 60), (90, 180, 80), (40, 120, 60)),
    "light green": ((170, 225, 150), (200, 240, 190)),
    "dark green": ((20, 70, 35),),
    "turquoise": ((60, 200, 190), (40, 160, 160), (130, 225, 215)),
    "light blue": ((160, 205, 245), (190, 225, 250), (120, 180, 235)),
    "blue": ((40, 90, 210), (30, 60, 220), (70, 130, 210), (30, 70, 150)),
    "dark blue": ((20, 30, 90),),
    "purple": ((120, 50, 170), (150, 80, 190), (90, 40, 120)),
    "light purple": ((200, 170, 235), (175, 140, 220)),
}
_MOST_COLOUR_ERROR = 25.0


def caption(look: Look, *, kind: str, length: str = "full") -> str:
    """What the picture shows, such as "one figure, half figure, facing right, on a plain blue background".

    Empty when nothing could be told for sure.
    """
    parts = [_who(look, kind)]
    if look.face and len(look.faces or ()) == 1:
        parts.append(_framing(look.face))
        if length == "full":
            parts += [_view(look.face), _expression(look.face, look.is_drawn)]
    parts.append(_ground(look))
    if length == "full" and look.light.brightest < 2 * _DARK and not look.is_plain_ground:
        parts.append("in dim light")
    return ", ".join(part for part in parts if part)


def _who(look: Look, kind: str) -> str:
    # A character's own noun would have to be guessed, and the trigger stands for it anyway.
    count = len([face for face in look.faces or () if face.score > 0.5])
    if kind == "character":
        return (
            "" if count < 2 else f"with {_NUMBERS.get(count - 1, 'several')} other{'s' if count > 2 else ''}"
        )
    if look.faces is None or count == 0:
        return ""
    return "one figure" if count == 1 else f"{_NUMBERS.get(count, 'several')} figures"


_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


def _framing(face: Face) -> str:
    if face.height >= CLOSE_UP_SHARE:
        return "close-up"
    return "upper body" if face.height >= HALF_SHARE else "full figure"


def _view(face: Face) -> str:
    view = face.view
    if view is None:
        return ""
    if view == "front":
        return "front view"
    turn, _, side = view.rpartition(" ")
    return f"{'side' if turn == 'profile' else turn} view facing {side}"


def _expression(face: Face, is_drawn: bool) -> str:
    # On drawings the mesh reads mouths wrongly more often than not, so nothing is said there.
    if is_drawn or face.smile is None or face.mouth_open is None:
        return ""
    if face.smile > _SMILE:
        return "laughing" if face.mouth_open > _MOUTH_OPEN else "smiling"
    return "mouth open" if face.mouth_open > _MOUTH_OPEN else ""


def _ground(look: Look) -> str:
    if not look.is_plain_ground:
        return ""
    name, apart = min(
        ((word, math.dist(look.ground, place)) for word, place in _places()), key=lambda pair: pair[1]
    )
    colour = f"{name} " if apart < _MOST_COLOUR_ERROR else ""
    article = "an" if colour[:1] in "aeiou" and colour else "a"
    return f"on {article} {colour}background" if colour else "on a plain background"


@cache
def _places() -> list[tuple[str, list[float]]]:
    """Each colour with its name, in CIE Lab."""
    import numpy as np

    from greenroom.vision import measures

    named = [(name, colour) for name, colours in _COLOURS.items() for colour in colours]
    lab = measures.lab(np.array([[colour for _, colour in named]], np.uint8))[0]
    return [(name, [float(value) for value in place]) for (name, _), place in zip(named, lab, strict=True)]
