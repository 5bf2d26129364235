"""Who is drawn and how: identities, scenes, and which of them training never sees.

An identity fixes hair, skin, clothes …; a scene fixes face, place and framing. Deterministic from the random
source passed in. Knows nothing about pixels or captions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from greenroom.ml.starter import parts, places
from greenroom.ml.starter.captions import Attributes
from greenroom.ml.starter.parts import Style
from greenroom.ml.starter.styles import NARROW, STYLES


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who is drawn: named parts, and a choice among the variants that share a word."""

    style: str
    kind: str
    words: Mapping[str, str]
    choice: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How and where: what varies from picture to picture of one character. Shift is a share of the width."""

    expression: str
    place: str
    place_seed: int
    flip: bool
    angle_deg: float
    scale: float
    shift: float


def attributes(identity: Identity, scene: Scene) -> Attributes:
    """All that has a name in the picture of this identity in this scene."""
    return Attributes(
        style=identity.style,
        kind=identity.kind,
        expression=scene.expression,
        place=scene.place,
        **identity.words,
    )


def is_held_out(identity: Identity) -> bool:
    """Whether this character (style, main part, main colour) is kept from training, one in twelve."""
    part, colour = STYLES[identity.style].main
    words = identity.words
    key = f"{identity.style}/{words.get(part, 'none')}/{words.get(colour) or words.get('skin', 'none')}"
    return _hash(key) % 12 == 0


def is_held_out_pair(expression: str, place: str) -> bool:
    """Whether this face in this place is kept from training, one pair in fifteen."""
    return _hash(f"{expression}/{place}") % 15 == 0


def sample_identity(rng: Random, among: Sequence[str] = NARROW, *, held_out: bool = False) -> Identity:
    """A random character of one of these styles; from the training side, or from the held-out side."""
    while True:
        identity = _any_identity(rng, STYLES[rng.choice(among)])
        if is_held_out(identity) == held_out:
            return identity


def sample_scene(
    rng: Random, identity: Identity, *, held_out: bool | None = False, steady: bool = False
) -> Scene:
    """A random scene for it: face and place of the training side, the held-out side, or (None) of any.

    With `steady` the figure stands in the middle of the picture as it was drawn: a small network that sees every eye
    at the same spot draws clean eyes many hours earlier.
    """
    faces = expressions_of(identity)
    while True:
        expression, place = rng.choice(faces), _any_place(rng, identity)
        if held_out is None or is_held_out_pair(expression, place) == held_out:
            break
    place_seed = rng.randrange(1 << 30)
    if steady:
        return Scene(
            expression=expression,
            place=place,
            place_seed=place_seed,
            flip=False,
            angle_deg=0.0,
            scale=1.0,
            shift=0.0,
        )
    return Scene(
        expression=expression,
        place=place,
        place_seed=place_seed,
        flip=rng.random() < 0.5,
        angle_deg=round(rng.uniform(-5, 5), 2),
        scale=round(rng.uniform(0.85, 1.1), 3),
        shift=round(rng.uniform(-0.06, 0.06), 3),
    )


def expressions_of(identity: Identity) -> tuple[str, ...]:
    """The faces this character can show; odd eyes and sunglasses leave fewer."""
    style = STYLES[identity.style]
    limits = [style.limits[word] for word in identity.words.values() if word in style.limits]
    return tuple(face for face in style.expressions if all(face in limit for limit in limits))


def _any_identity(rng: Random, style: Style) -> Identity:
    words: dict[str, str] = {}
    kind = style.kind
    for name, part in style.parts.items():  # hair stands first: it decides who may have a beard
        if rng.random() >= part.share or (part.people and kind not in part.people):
            continue
        if any(style.parts[other].component == part.component for other in words):
            continue
        words[name] = rng.choice(tuple(part.words))
        if name == "hair":
            kind = _kind_by_hair(words["hair"])
    for name, (palette, _) in style.colours.items():
        words[name] = rng.choice(tuple(palette))
    if style.bust:
        words["clothes"] = rng.choice(style.clothes)
        words["clothes_colour"] = rng.choice(tuple(parts.CLOTHES_COLOURS))
    _settle(style, words, rng)
    return Identity(style=style.name, kind=kind, words=words, choice=rng.randrange(1 << 30))


def _kind_by_hair(hair: str) -> str:
    if hair in parts.LONG_HAIR:
        return "woman"
    return "man" if hair in parts.SHORT_HAIR else "person"


def _settle(style: Style, words: dict[str, str], rng: Random) -> None:
    """Drop colours of what isn't there, and keep apart colours that would melt into each other."""
    for word in tuple(words.values()):
        if word in style.settles:
            name, value = style.settles[word]
            words[name] = value
    for name, shown_by in style.only_for.items():
        if not shown_by & set(words.values()):
            words.pop(name, None)
    if "top" not in words:
        words.pop("top_colour", None)
    while words.get("top_colour") and words["top_colour"] == words["body_colour"]:
        words["top_colour"] = rng.choice(tuple(parts.BODY_COLOURS))
    if words.get("body_colour") == "white" and style.name == "critters":
        words.pop("pattern", None)  # drawn as a paler body colour, so invisible on white
    for name in [name for name, word in words.items() if not word]:
        del words[name]


def _any_place(rng: Random, identity: Identity) -> str:
    draw = rng.random()
    if draw < 0.5:
        return rng.choice(tuple(places.SCENES))
    taken = {v for k, v in identity.words.items() if k in _FIGURE_COLOURS}
    taken |= {_NEAR[colour] for colour in taken if colour in _NEAR}
    free = [c for c in places.COLOURS if c not in taken]
    if draw < 0.85:
        return f"plain:{rng.choice(free)}"
    one, two = rng.sample([c for c in free if c != "light blue"], 2)
    return f"{rng.choice(places.PATTERNS)}:{one}:{two}"


_FIGURE_COLOURS = ("hair_colour", "body_colour", "top_colour", "clothes_colour", "pot_colour", "bloom_colour")
_NEAR: Mapping[str, str] = {
    "ginger": "orange",
    "blonde": "yellow",
}  # hair words whose hue a background shares


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
