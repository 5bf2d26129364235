"""The drawn creatures: critters, clay figures and potted plants, their bodies, tops and faces in words."""

from collections.abc import Mapping

from greenroom.ml.starter.parts import BODY_COLOURS, Part, Style, Variants

_BLOOMS = {k: BODY_COLOURS[k] for k in ("red", "orange", "yellow", "purple", "pink", "white", "blue")}

_CRITTER_FACES: Mapping[str, Mapping[str, Variants]] = {
    "neutral": {"mouth": ("line",)},
    "happy": {"mouth": ("smile",)},
    "laughing": {"eyes": ("happy",), "mouth": ("grin",)},
    "sad": {"mouth": ("frown",)},
    "angry": {"eyes": ("angry",), "mouth": ("zigzag",)},
    "surprised": {"eyes": ("wide",), "mouth": ("open",)},
    "sleepy": {"eyes": ("sleepy",), "mouth": ("line",)},
    "winking": {"eyes": ("wink",), "mouth": ("smile",)},
    "tongue out": {"mouth": ("tongue",)},
}

CRITTERS = Style(
    name="critters",
    licence="CC0 1.0",
    titles=("a flat drawing of", "a cute drawing of", "a cartoon of"),
    frame=(-3, -10, 106),
    main=("top", "body_colour"),
    parts={
        "body": Part(
            component="body",
            words={
                "": ("dome", "round", "tilt", "lean", "blob"),
                "tall": ("chimney",),
                "square": ("block",),
                "wide": ("squat",),
                "bell-shaped": ("bell",),
                "pointy-headed": ("peak",),
            },
        ),
        "top": Part(
            component="top",
            words={
                "horns": ("horns", "hornsIn"),
                "small horns": ("hornsSmall",),
                "a single horn": ("spike",),
                "an antenna": ("antenna",),
                "two antennae": ("antennae",),
                "round ears": ("earsRound",),
                "pointed ears": ("earsPointy",),
                "spikes": ("spikes",),
                "a sprout": ("sprout",),
            },
            share=0.85,
        ),
        "pattern": Part(
            component="pattern",
            words={"a pale belly": ("belly",), "dots": ("dots",), "stripes": ("stripes",)},
            share=0.35,
        ),
        "eyes": Part(
            component="eyes",
            words={
                "": ("round", "bigPupils"),
                "one eye": ("mono",),
                "three eyes": ("trio", "threeRow"),
                "four eyes": ("four",),
            },
        ),
    },
    colours={"body_colour": (BODY_COLOURS, ("body",)), "top_colour": (BODY_COLOURS, ("accent",))},
    hues={"ink": "#1e293b"},
    kind="critter",
    limits={
        "one eye": ("neutral", "happy", "laughing", "sad", "surprised", "tongue out", "sleepy"),
        "three eyes": ("neutral", "happy", "laughing", "sad", "surprised", "tongue out"),
        "four eyes": ("neutral", "happy", "laughing", "sad", "surprised", "tongue out"),
    },
    expressions=_CRITTER_FACES,
)

SPROUTS = Style(
    name="sprouts",
    licence="CC0 1.0",
    titles=("a flat drawing of", "a cute drawing of", "a cartoon of"),
    frame=(1, -1.5, 98),
    main=("plant", "pot_colour"),
    parts={
        "plant": Part(
            component="plant",
            words={
                "sprout": ("sprout",),
                "cactus": ("cactus",),
                "round cactus": ("ball",),
                "succulent": ("succulent",),
                "bush": ("bush",),
                "flower": ("flower",),
                "tulip": ("tulip",),
                "palm": ("palm",),
            },
        ),
        "pot": Part(
            component="pot",
            words={"": ("taper", "cylinder", "tub"), "round": ("round",)},
        ),
    },
    colours={"pot_colour": (BODY_COLOURS, ("pot",)), "bloom_colour": (_BLOOMS, ("bloom",))},
    hues={"plant": "#4ade80", "ink": "#1e293b"},
    kind="potted plant",
    expressions={
        "neutral": {"eyes": ("round",), "mouth": ("line",)},
        "happy": {"eyes": ("round",), "mouth": ("smile",)},
        "laughing": {"eyes": ("happy",), "mouth": ("grin",)},
        "sad": {"eyes": ("round",), "mouth": ("frown",)},
        "angry": {"eyes": ("angry",), "mouth": ("wavy",)},
        "surprised": {"eyes": ("wide",), "mouth": ("open",)},
        "sleepy": {"eyes": ("sleepy",), "mouth": ("line",)},
        "winking": {"eyes": ("wink",), "mouth": ("smile",)},
        "tongue out": {"eyes": ("round",), "mouth": ("tongue",)},
    },
    only_for={"bloom_colour": frozenset({"flower", "tulip", "round cactus"})},
)

CLAY = Style(
    name="clay",
    licence="CC0 1.0",
    titles=("a clay figure of", "a plasticine drawing of", "a drawing of"),
    frame=(4, -5, 92),
    main=("top", "body_colour"),
    parts={
        "body": Part(
            component="body",
            words={
                "": ("egg", "pear", "boulder", "lean"),
                "tall": ("column",),
                "square": ("cube",),
                "wide": ("squat",),
                "bell-shaped": ("bell",),
                "bumpy": ("blob",),
            },
        ),
        "top": Part(
            component="top",
            words={
                "long ears": ("horns",),
                "round ears": ("ears",),
                "spikes": ("spikes",),
                "two antennae": ("antenna",),
                "a curl": ("curl",),
            },
            share=0.85,
        ),
        "eyes": Part(
            component="eyes",
            words={"": ("even", "big"), "one eye": ("mono",), "three eyes": ("trio",), "dot eyes": ("dots",)},
        ),
    },
    colours={"body_colour": (BODY_COLOURS, ("body",)), "top_colour": (BODY_COLOURS, ("accent",))},
    hues={"ink": "#44403c"},
    kind="clay creature",
    limits={
        "one eye": ("neutral", "happy", "laughing", "sad", "surprised", "tongue out"),
        "three eyes": ("neutral", "happy", "laughing", "sad", "surprised", "tongue out"),
    },
    only_for={"top_colour": frozenset({"two antennae", "a curl"})},
    expressions={
        "neutral": {"mouth": ("line",)},
        "happy": {"mouth": ("smileBig",)},
        "laughing": {"eyes": ("happy",), "mouth": ("open",)},
        "sad": {"mouth": ("frown",)},
        "angry": {"eyes": ("cross",), "mouth": ("zigzag",)},
        "surprised": {"eyes": ("pinprick",), "mouth": ("o",)},
        "sleepy": {"eyes": ("closed",), "mouth": ("line",)},
        "winking": {"eyes": ("wink",), "mouth": ("smileBig",)},
        "tongue out": {"mouth": ("tongue",)},
    },
)
