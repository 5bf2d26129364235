"""The drawn people: the four styles of the wide set, their hair, clothes, glasses and faces in words."""

from greenroom.ml.starter.parts import CLOTHES_COLOURS, HAIR_COLOURS, SKINS, Part, Style

_MEN = frozenset({"man"})

BIG_SMILE = Style(
    name="big-smile",
    licence="CC BY 4.0",
    titles=("a big-head drawing of", "a side-view cartoon of", "a cartoon of"),
    frame=(-52, -62, 590),
    main=("hair", "hair_colour"),
    parts={
        "hair": Part(
            component="hair",
            words={
                "long hair with bangs": ("bangs",),
                "a bowl cut": ("bowlCutHair",),
                "a bun": ("bunHair",),
                "wavy hair": ("wavyBob",),
                "a bob": ("curlyBob",),
                "curly hair": ("curlyShortHair",),
                "a buzz cut": ("shavedHead",),
                "short hair": ("shortHair",),
                "long straight hair": ("straightHair",),
            },
        ),
        "beard": Part(component="accessories", words={"a moustache": ("mustache",)}, share=0.3, people=_MEN),
        "eyewear": Part(
            component="accessories",
            words={"round glasses": ("glasses",), "sunglasses": ("sunglasses",)},
            share=0.3,
        ),
        "headwear": Part(
            component="accessories",
            words={"cat ears": ("catEars",), "a clown nose": ("clownNose",)},
            share=0.15,
        ),
    },
    colours={"hair_colour": (HAIR_COLOURS, ("hair",)), "skin": (SKINS, ("skin",))},
    expressions={
        "neutral": {"eyes": ("normal",), "mouth": ("unimpressed",)},
        "happy": {"eyes": ("normal",), "mouth": ("teethSmile",)},
        "laughing": {"eyes": ("cheery",), "mouth": ("openedSmile",)},
        "sad": {"eyes": ("sad",), "mouth": ("openSad",)},
        "angry": {"eyes": ("angry",), "mouth": ("scowl",)},
        "surprised": {"eyes": ("normal",), "mouth": ("gasp",)},
        "sleepy": {"eyes": ("sleepy",), "mouth": ("unimpressed",)},
        "winking": {"eyes": ("winking",), "mouth": ("teethSmile",)},
    },
    limits={
        "sunglasses": ("neutral", "happy", "laughing", "surprised"),
        "a moustache": ("happy", "laughing", "sleepy", "winking"),
    },
    bust="flat",
    clothes=("t-shirt", "striped shirt", "turtleneck"),
)

PERSONAS = Style(
    name="personas",
    licence="CC BY 4.0",
    titles=("a flat portrait of", "a simple drawing of", "a round-headed drawing of"),
    frame=(1.5, 0.5, 61),
    main=("hair", "hair_colour"),
    parts={
        "hair": Part(
            component="hair",
            share=0.93,
            words={
                "a bald head": ("bald",),
                "thinning hair": ("balding",),
                "a bob": ("bobCut",),
                "curly hair": ("curly",),
                "a curly bun": ("curlyBun",),
                "short curly hair": ("curlyHighTop",),
                "long straight hair": ("extraLong",),
                "long hair": ("long",),
                "pigtails": ("pigtails",),
                "short hair": ("shortCombover",),
                "a bun": ("straightBun",),
            },
        ),
        "headwear": Part(component="hair", words={"a red beanie": ("beanie",)}),
        "beard": Part(
            component="facialHair",
            words={"a moustache": ("walrus",), "a goatee": ("goatee",)},
            share=0.4,
            people=_MEN,
        ),
        "clothes": Part(
            component="clothes", words={"t-shirt": ("rounded", "squared"), "checked shirt": ("checkered",)}
        ),
    },
    colours={
        "hair_colour": (HAIR_COLOURS, ("hair", "facialHair")),
        "skin": (SKINS, ("skin",)),
        "clothes_colour": (CLOTHES_COLOURS, ("clothing",)),
    },
    fixed={"nose": ("mediumRound", "smallRound")},
    expressions={
        "neutral": {"eyes": ("open",), "mouth": ("straight",)},
        "happy": {"eyes": ("open",), "mouth": ("smile",)},
        "laughing": {"eyes": ("happy",), "mouth": ("laughter",)},
        "sad": {"eyes": ("worried",), "mouth": ("frown",)},
        "angry": {"eyes": ("cross",), "mouth": ("gritted",)},
        "surprised": {"eyes": ("open",), "mouth": ("surprise",)},
        "sleepy": {"eyes": ("sleep",), "mouth": ("straight",)},
        "winking": {"eyes": ("wink",), "mouth": ("smile",)},
    },
    settles={"a bald head": ("hair_colour", ""), "a red beanie": ("hair_colour", "")},
)

OPEN_PEEPS = Style(
    name="open-peeps",
    licence="CC0 1.0",
    titles=("a hand-drawn portrait of", "an ink sketch of", "a peeps drawing of"),
    frame=(-38, -78, 770),
    main=("hair", "hair_colour"),
    parts={
        "hair": Part(
            component="head",
            share=0.88,
            words={
                "long hair with bangs": ("bangs",),
                "a bun": ("grayBun",),
                "a bob": ("grayMedium",),
                "short hair": ("grayShort",),
                "long curly hair": ("mediumBangs2",),
                "a mohawk": ("mohawk",),
                "a quiff": ("short4",),
                "an afro": ("afro",),
                "long hair": ("long", "medium3"),
                "dreadlocks": ("dreads1",),
                "a flat top": ("flatTop",),
                "a bald head": ("noHair1",),
            },
        ),
        "headwear": Part(
            component="head",
            words={"a hat": ("hatHip",), "a beanie": ("hatBeanie",), "a turban": ("turban",)},
        ),
        "beard": Part(
            component="facialHair",
            words={"a black beard": ("chin",), "a thin black moustache": ("moustache1",)},
            share=0.35,
            people=_MEN,
        ),
        "eyewear": Part(
            component="accessories",
            words={
                "round glasses": ("glasses2",),
                "sunglasses": ("sunglasses",),
                "an eyepatch": ("eyepatch",),
            },
            share=0.25,
        ),
    },
    colours={
        "hair_colour": (HAIR_COLOURS, ("headContrast",)),
        "skin": (SKINS, ("skin",)),
        "clothes_colour": (CLOTHES_COLOURS, ("clothing",)),
    },
    hues={"ink": "#000000"},
    expressions={
        "serious": {"expression": ("serious",)},
        "happy": {"expression": ("smile",)},
        "grinning": {"expression": ("smileBig",)},
        "laughing": {"expression": ("smileLOL",)},
        "sad": {"expression": ("solemn",)},
        "angry": {"expression": ("rage",)},
        "amazed": {"expression": ("awe",)},
        "sleepy": {"expression": ("eyesClosed",)},
        "in love": {"expression": ("lovingGrin1",)},
    },
    limits={
        "sunglasses": ("happy", "grinning", "laughing", "angry"),
        "round glasses": ("serious", "happy", "grinning", "laughing", "sad", "angry"),
        "an eyepatch": ("happy", "grinning", "laughing", "sad", "angry"),
    },
    settles={
        "an afro": ("hair_colour", "black"),
        "long hair": ("hair_colour", "black"),
        "dreadlocks": ("hair_colour", "black"),
        "a flat top": ("hair_colour", "black"),
        "a bald head": ("hair_colour", ""),
        "a hat": ("hair_colour", ""),
        "a beanie": ("hair_colour", ""),
        "a turban": ("hair_colour", ""),
    },
)

VOXEL = Style(
    name="voxel-art",
    licence="CC0 1.0",
    titles=("a voxel drawing of", "a blocky drawing of", "voxel art of"),
    frame=(7, -7, 110),
    main=("hair", "hair_colour"),
    parts={
        "hair": Part(
            component="top",
            share=0.85,
            words={
                "short hair": ("short", "sideSwept"),
                "spiky hair": ("spiky",),
                "a bowl cut": ("bowl",),
                "a mohawk": ("mohawk",),
                "two buns": ("buns",),
                "a bob": ("bob",),
                "shoulder-length hair": ("shoulderLength",),
                "long straight hair": ("longStraight", "partedLong"),
                "long wavy hair": ("longWavy",),
                "braids": ("braids",),
            },
        ),
        "headwear": Part(
            component="top", words={"cap": ("cap",), "beanie": ("beanie",), "animal hat": ("animalEars",)}
        ),
        "beard": Part(
            component="beard",
            words={"a full beard": ("full",), "a moustache": ("mustache",)},
            share=0.3,
            people=_MEN,
        ),
        "eyewear": Part(
            component="glasses",
            words={"round glasses": ("round",), "square glasses": ("square",), "sunglasses": ("shades",)},
            share=0.25,
        ),
        "clothes": Part(
            component="outfit",
            words={"t-shirt": ("plain",), "striped shirt": ("stripes",), "hoodie": ("hoodie",)},
        ),
    },
    colours={
        "hair_colour": (HAIR_COLOURS, ("hair",)),
        "headwear_colour": (CLOTHES_COLOURS, ("hat",)),
        "skin": (SKINS, ("skin",)),
        "clothes_colour": (CLOTHES_COLOURS, ("shirt",)),
    },
    fixed={"nose": ("block",)},
    hues={"pants": "#3b5b8c", "shoes": "#343a40", "jacket": "#6b4f3a"},
    expressions={
        "neutral": {"eyes": ("open",), "mouth": ("flat",)},
        "happy": {"eyes": ("open",), "mouth": ("wideSmile",)},
        "laughing": {"eyes": ("happy",), "mouth": ("laugh",)},
        "sad": {"eyes": ("open",), "eyebrows": ("worried",), "mouth": ("frown",)},
        "angry": {"eyes": ("open",), "eyebrows": ("cross",), "mouth": ("grin",)},
        "surprised": {"eyes": ("wide",), "mouth": ("ooh",)},
        "sleepy": {"eyes": ("closed",), "mouth": ("flat",)},
        "tongue out": {"eyes": ("open",), "mouth": ("tongue",)},
    },
    limits={"sunglasses": ("neutral", "happy", "laughing", "surprised", "tongue out")},
    only_for={"headwear_colour": frozenset({"cap", "beanie", "animal hat"})},
    settles=dict.fromkeys(("cap", "beanie", "animal hat"), ("hair_colour", "")),
)
