"""What a drawing style is made of: its parts, its palettes and the words for them.

Every word was chosen by looking at the variant; a word never stands for something a person would not see.
Knows nothing about places, captions or rasterising.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Variants = tuple[str, ...]

HAIR_COLOURS: Mapping[str, str] = {
    "black": "#221f24",
    "brown": "#6e4425",
    "blonde": "#f0d06a",
    "ginger": "#dd6a1f",
    "red": "#c21f2b",
    "grey": "#a3a3a8",
    "white": "#f3f1ec",
    "pink": "#f58fbd",
    "blue": "#2f6fdd",
    "purple": "#8b45c6",
    "green": "#3fa653",
}
SKINS: Mapping[str, str] = {
    "very light skin": "#fde4d3",
    "light skin": "#f4c9a4",
    "tan skin": "#d9a06b",
    "brown skin": "#b67c4a",
    "dark skin": "#8f5b35",
    "very dark skin": "#66422b",
}
CLOTHES_COLOURS: Mapping[str, str] = {
    "red": "#d92b34",
    "orange": "#f58220",
    "yellow": "#fbd13a",
    "green": "#33a04a",
    "turquoise": "#27b8ad",
    "blue": "#2563d6",
    "purple": "#8140c2",
    "pink": "#f48fb6",
    "white": "#f5f5f3",
    "black": "#2a2a30",
}
BODY_COLOURS: Mapping[str, str] = {
    "red": "#ea5455",
    "orange": "#fb9c4b",
    "yellow": "#fcd74f",
    "green": "#63c26c",
    "turquoise": "#45cdc2",
    "blue": "#5b97f5",
    "purple": "#a678e2",
    "pink": "#f9a8cd",
    "white": "#f4f4f6",
    "grey": "#a9b0bb",
}

# Hair that is drawn as a woman's or a man's in these styles; any other hair leaves a "person".
LONG_HAIR = frozenset(
    """long hair|long straight hair|long wavy hair|long curly hair|long hair with bangs|shoulder-length hair
    |long hair with a flower|long hair with a flower crown|wavy hair|a bob|a bun|a curly bun|two buns|pigtails
    |a ponytail|a braid|braids""".replace("\n    ", "").split("|")
)
SHORT_HAIR = frozenset(
    """short hair|spiky hair|a buzz cut|a quiff|an undercut|a flat top|a bald head|a few hairs|thinning hair
    |a bowl cut""".replace("\n    ", "").split("|")
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One named attribute: the component that draws it and the variants each word may stand for.

    The word "" is for a part too plain to be named. A variant "front+rear" sets two components (toon hair).
    """

    component: str
    words: Mapping[str, Variants]
    share: float = 1.0  # of the characters that have it at all
    people: frozenset[str] | None = None  # only for these of "woman", "man", "person"


@dataclass(frozen=True, kw_only=True)
class Style:
    """A drawing style. `frame` is the square (x, y, side) of its canvas that fills the picture at scale 1."""

    name: str
    licence: str
    titles: tuple[str, ...]
    frame: tuple[float, float, float]
    main: tuple[str, str]  # the attributes that tell whole characters apart, for holding out
    parts: Mapping[str, Part]  # the first part in order that uses a component wins it
    colours: Mapping[str, tuple[Mapping[str, str], Variants]]  # attribute: palette, the style's colour names
    expressions: Mapping[str, Mapping[str, Variants]]  # word: component -> variants
    fixed: Mapping[str, Variants] = field(
        default_factory=dict
    )  # unnamed parts, one variant drawn per identity
    hues: Mapping[str, str] = field(default_factory=dict)  # colours that never vary
    kind: str = "person"  # people become "woman" or "man" where hair and beard show it
    lashes: Mapping[str, str] = field(
        default_factory=dict
    )  # "component.variant" -> variant a woman gets instead
    limits: Mapping[str, Variants] = field(
        default_factory=dict
    )  # word -> the only expressions it leaves visible
    only_for: Mapping[str, frozenset[str]] = field(
        default_factory=dict
    )  # colour attribute -> words that show it
    settles: Mapping[str, tuple[str, str]] = field(
        default_factory=dict
    )  # word -> attribute it fixes, and how
    bust: str | None = None  # which drawn neck and shoulders stand under a style that is a head only
    clothes: Variants = ()  # what the drawn bust can wear
