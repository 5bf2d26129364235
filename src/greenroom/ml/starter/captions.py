"""Puts a picture's attributes into words, a different way each time, as a person would prompt for it.

Knows nothing about drawing. Names and trigger-like tokens stand before the noun, so that the model takes
unknown words there as normal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from greenroom.ml.starter.styles import STYLES

NAMED = 0.3
STYLED = 0.3
EMPTY = 0.1
TERSE = 0.15
KEEP_PART = 0.75
KEEP_SCENE = 0.85


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """Everything about one picture that has a name; None where the style or the character has none."""

    style: str
    kind: str
    hair: str | None = None
    hair_colour: str | None = None
    skin: str | None = None
    beard: str | None = None
    eyewear: str | None = None
    earrings: str | None = None
    headwear: str | None = None
    headwear_colour: str | None = None
    mark: str | None = None
    clothes: str | None = None
    clothes_colour: str | None = None
    body: str | None = None
    body_colour: str | None = None
    top: str | None = None
    top_colour: str | None = None
    pattern: str | None = None
    eyes: str | None = None
    plant: str | None = None
    pot: str | None = None
    pot_colour: str | None = None
    bloom_colour: str | None = None
    expression: str = "neutral"
    place: str = "plain:white"


def caption(attributes: Attributes, rng: Random, *, complete: bool = False) -> str:
    """One prompt for the picture; empty in a tenth of the draws, for guidance.

    A `complete` one leaves out nothing, and has no invented name.
    """
    if rng.random() < EMPTY and not complete:
        return ""
    mood = attributes.expression if rng.random() < KEEP_SCENE or complete else None
    place = attributes.place if rng.random() < KEEP_SCENE or complete else None
    name = _name(rng) if rng.random() < NAMED and not complete else None
    said = [words for words in _parts(attributes, rng) if rng.random() < KEEP_PART or complete]
    rng.shuffle(said)
    if rng.random() < TERSE and not complete:
        return _terse(_noun(attributes, rng), said, mood=mood, place=place, name=name, rng=rng)
    adjective = None
    if mood is not None and mood in _ADJECTIVES and rng.random() < 0.15:
        adjective, mood = rng.choice(_ADJECTIVES[mood]), None
    noun = _noun(attributes, rng, adjective)
    text = f"{name}, {noun}" if name else noun
    if rng.random() < STYLED or complete:
        text = f"{rng.choice(STYLES[attributes.style].titles)} {text}"
    if said:
        text += " with " + (said[0] if len(said) == 1 else ", ".join(said[:-1]) + " and " + said[-1])
    tail = [rng.choice(EXPRESSIONS[mood])] if mood else []
    if place:
        tail.insert(rng.random() < 0.85, _place(place, rng))
    if tail and tail[0] not in _AFTER_COMMA and not said and rng.random() < 0.5:
        return " ".join([text, *tail])
    return ", ".join([text, *tail])


EXPRESSIONS: Mapping[str, Sequence[str]] = {
    "neutral": ("with a neutral expression", "with a calm face", "looking calm"),
    "happy": ("smiling", "happy", "smiling happily"),
    "laughing": ("laughing", "laughing out loud"),
    "sad": ("sad", "looking sad"),
    "angry": ("angry", "looking angry"),
    "surprised": ("surprised", "looking surprised"),
    "sleepy": ("sleepy", "looking sleepy"),
    "winking": ("winking", "winking with one eye"),
    "grinning": ("grinning", "grinning widely"),
    "serious": ("serious", "looking serious", "with a serious face"),
    "amazed": ("amazed", "looking amazed"),
    "in love": ("in love", "with heart eyes"),
    "tongue out": ("sticking out the tongue", "with the tongue out"),
}
PLACES: Mapping[str, Sequence[str]] = {
    "beach": ("at the beach", "on a beach", "by the sea"),
    "forest": ("in a forest", "in the woods", "in the forest"),
    "snow": ("in the snow", "in a snowy landscape", "on a snowy day"),
    "city": ("in the city", "in a city", "in a city street"),
    "night": ("in the city at night", "in a city at night", "at night"),
    "desert": ("in the desert", "in a desert"),
    "space": ("in space", "in outer space"),
    "underwater": ("under water", "underwater", "under the sea"),
    "hills": ("in green hills", "in front of green hills", "on the hills"),
    "sunset": ("at sunset", "in front of a sunset"),
    "room": ("in a room", "at home", "in a living room"),
    "park": ("in a park", "in the park"),
}
_ADJECTIVES: Mapping[str, Sequence[str]] = {
    "happy": ("happy", "smiling"),
    "laughing": ("laughing",),
    "sad": ("sad",),
    "angry": ("angry",),
    "surprised": ("surprised",),
    "sleepy": ("sleepy",),
    "winking": ("winking",),
}
_AFTER_COMMA = frozenset(
    {"happy", "sad", "angry", "surprised", "sleepy", "amazed", "serious"}
)  # "a man sad" is none
_TERSE_PLACES: Mapping[str, str] = {"night": "city at night", "hills": "green hills"}
_TERSE_FACES: Mapping[str, Sequence[str]] = {
    "neutral": ("neutral expression",),
    "happy": ("happy", "smiling"),
}
_NOUNS: Mapping[str, Sequence[str]] = {
    "woman": ("woman", "woman", "woman", "girl", "person"),
    "man": ("man", "man", "man", "guy", "person"),
    "person": ("person", "person", "character"),
    "critter": ("critter", "creature", "monster"),
    "clay creature": ("clay creature", "clay creature", "clay monster"),
}


def _terse(
    noun: str, said: Sequence[str], *, mood: str | None, place: str | None, name: str | None, rng: Random
) -> str:
    """ "woman, purple hair, laughing, beach": the comma style."""
    words = [name] if name else []
    words += [_bare(noun), *(_bare(part) for part in said)]
    if mood:
        words.append(rng.choice(_TERSE_FACES.get(mood, (mood,))))
    if place:
        words.append(_terse_place(place, rng))
    return ", ".join(words)


def _terse_place(place: str, rng: Random) -> str:
    if ":" not in place:
        return _TERSE_PLACES.get(place, place)
    return _bare(_place(place, rng).removeprefix("on ").removeprefix("in front of "))


def _noun(a: Attributes, rng: Random, adjective: str | None = None) -> str:
    mood = f"{adjective} " if adjective else ""
    if a.kind == "potted plant":
        return _potted(a, mood, rng)
    nouns = _NOUNS[a.kind]
    noun = rng.choice(nouns[:-1]) if a.beard and a.kind == "man" else rng.choice(nouns)
    if a.body_colour is not None:
        shape = f"{a.body} " if a.body and rng.random() < KEEP_PART else ""
        return _article(f"{mood}{shape}{a.body_colour} {noun}")
    if a.hair_colour is not None and rng.random() < 0.08:
        return _article(f"{mood}{a.hair_colour}-haired {noun}")
    return _article(mood + noun)


def _potted(a: Attributes, mood: str, rng: Random) -> str:
    plant = f"{a.bloom_colour} {a.plant}" if a.bloom_colour and a.plant != "round cactus" else f"{a.plant}"
    pot = f"{a.pot} {a.pot_colour} pot" if a.pot and rng.random() < KEEP_PART else f"{a.pot_colour} pot"
    return f"{_article(mood + plant)} in {_article(pot)}"


def _parts(a: Attributes, rng: Random) -> list[str]:
    """Each visible part as words that can follow "with"."""
    said = [a.skin, a.beard, a.eyewear, a.earrings, a.mark, a.pattern, a.eyes]
    if a.hair:
        said.append(_coloured(a.hair, a.hair_colour, rng))
    if a.headwear:
        said.append(_article(f"{a.headwear_colour} {a.headwear}") if a.headwear_colour else a.headwear)
    if a.clothes:
        said.append(_article(f"{a.clothes_colour} {a.clothes}"))
    elif a.clothes_colour:
        said.append(_article(f"{a.clothes_colour} shirt"))
    if a.top:
        said.append(_coloured(a.top, a.top_colour, rng))
    if a.bloom_colour and a.plant == "round cactus":
        said.append(_article(f"{a.bloom_colour} flower"))
    return [words for words in said if words]


def _coloured(thing: str, colour: str | None, rng: Random) -> str:
    """ "a bun" in pink -> "a pink bun"; "long hair" -> "long pink hair" or "pink long hair"."""
    if colour is None:
        return thing
    if colour == "ginger" and rng.random() < 0.3:
        colour = "orange"
    if "hair" in thing:
        head, _, rest = thing.partition("hair")
        return f"{head}{colour} hair{rest}" if rng.random() < 0.75 else f"{colour} {thing}"
    for noun in ("bowl cut", "flat top"):
        if thing == f"a {noun}":
            return _article(f"{colour} {noun}")
    *head_words, noun = thing.split(" ")
    if head_words and head_words[0] in ("a", "an"):
        return _article(" ".join([*head_words[1:], colour, noun]))
    return " ".join([*head_words, colour, noun])


def _place(place: str, rng: Random) -> str:
    kind, *colours = place.split(":")
    if kind == "plain":
        ground = f"{colours[0]} background"
    elif kind == "stripes":
        one, two = colours
        ground = rng.choice(
            (f"{one} and {two} striped background", f"background with {one} and {two} stripes")
        )
    elif kind == "dots":
        one, two = colours
        ground = rng.choice((f"{one} background with {two} dots", f"{one} and {two} dotted background"))
    elif kind == "checks":
        one, two = colours
        ground = rng.choice(
            (f"{one} and {two} checked background", f"background with {one} and {two} checks")
        )
    else:
        return rng.choice(PLACES[kind])
    return rng.choice(("on {}", "on {}", "in front of {}")).format(_article(ground))


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _bare(words: str) -> str:
    return words.removeprefix("a ").removeprefix("an ")


_STARTS = (
    "m",
    "k",
    "l",
    "s",
    "t",
    "r",
    "n",
    "b",
    "d",
    "v",
    "z",
    "p",
    "f",
    "g",
    "h",
    "j",
    "w",
    "y",
    "br",
    "kr",
    "tr",
    "st",
    "sh",
    "ch",
    "",
)
_VOWELS = ("a", "e", "i", "o", "u", "ia", "ee", "ou", "y")
_ENDS = ("", "", "", "n", "r", "l", "s", "k", "x", "m", "th", "nd")


def _name(rng: Random) -> str:
    """An invented name or trigger such as "Mirabo", "KLA_07", "zorvix", "bel_ka" or "ohwx"."""
    manner = rng.random()
    if manner < 0.08:
        letters = "".join(rng.choices("bcdfghjklmnpqrstvwxz", k=rng.choice((3, 4))))
        return letters if manner < 0.04 else letters.upper()
    syllables = rng.choice((1, 2, 2, 3))
    word = "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(syllables)) + rng.choice(_ENDS)
    if len(word) < 3:
        word += rng.choice(("la", "ro", "ki", "mo"))
    if manner < 0.42:
        return word.capitalize()
    if manner < 0.76:
        letters = word[: rng.choice((3, 4, 5, 6))].upper()
        return f"{letters}_{rng.randint(0, 99):02d}" if manner < 0.68 else f"{letters}{rng.randint(1, 9)}"
    if manner < 0.9:
        return (
            f"{word}{rng.randint(1, 99)}"
            if manner < 0.83
            else f"{word}_{rng.choice(_STARTS[:12])}{rng.choice(_VOWELS[:5])}"
        )
    return word + rng.choice(("ov", "ix", "ra", "tek", "zz"))
