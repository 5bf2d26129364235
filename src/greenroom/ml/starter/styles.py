"""The drawing styles the starter learns, by name, and the narrow set it learns first.

Licences stand in the package's own files (`meta.license`); a test compares them with the ones written here.
"""

from collections.abc import Mapping
from types import MappingProxyType

from greenroom.ml.starter import creatures, more_people, people
from greenroom.ml.starter.parts import Style

STYLES: Mapping[str, Style] = MappingProxyType(
    {
        style.name: style
        for style in (
            people.ADVENTURER,
            people.TOON,
            people.MICAH,
            more_people.BIG_SMILE,
            more_people.PERSONAS,
            more_people.OPEN_PEEPS,
            more_people.VOXEL,
            creatures.CRITTERS,
            creatures.CLAY,
            creatures.SPROUTS,
        )
    }
)
NARROW = (
    "adventurer",
    "toon-head",
    "micah",
    "critters",
    "sprouts",
)  # the cleanest at 128 px, pretrained on first
