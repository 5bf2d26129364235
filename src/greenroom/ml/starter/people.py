"""The drawn people: the three styles of the narrow set, their hair, clothes, glasses and faces in words."""

from greenroom.ml.starter.parts import CLOTHES_COLOURS, HAIR_COLOURS, SKINS, Part, Style

_WOMEN = frozenset({"woman", "person"})
_MEN = frozenset({"man"})

ADVENTURER = Style(
    name="adventurer",
    licence="CC BY 4.0",
    titles=("a cartoon drawing of", "an adventurer drawing of", "a cartoon of"),
    frame=(-84, -96, 930),
    main=("hair", "hair_colour"),
    parts={
        "hair": Part(
            component="hair",
            words={
                "a bob": ("long01",),
                "long hair": ("long05", "long09"),
                "long wavy hair": ("long06", "long17"),
                "long hair with bangs": ("long07",),
                "long hair with a flower crown": ("long08",),
                "long hair with a flower": ("long18",),
                "pigtails": ("long15",),
                "a braid": ("long16",),
                "a ponytail": ("long19",),
                "two buns": ("long23",),
                "short hair": ("short04", "short10"),
                "curly hair": ("short03",),
                "short curly hair": ("short17", "short18"),
                "a quiff": ("short11",),
                "a mohawk": ("short15",),
                "spiky hair": ("short16",),
                "a bald head": ("short19",),
            },
        ),
        "eyewear": Part(
            component="glasses",
            words={"sunglasses": ("variant01",), "glasses": ("variant02",), "round glasses": ("variant04",)},
            share=0.3,
        ),
        "mark": Part(
            component="details",
            words={"freckles": ("freckles",), "rosy cheeks": ("blush",)},
            share=0.2,
        ),
        "beard": Part(component="details", words={"a moustache": ("mustache",)}, share=0.3, people=_MEN),
    },
    colours={
        "hair_colour": (HAIR_COLOURS, ("hair",)),
        "skin": (SKINS, ("skin",)),
    },
    hues={"ink": "#000000", "eyes": "#000000", "glasses": "#000000", "sclera": "#ffffff", "teeth": "#ffffff"},
    lashes={"eyes.variant24": "variant03", "eyes.variant26": "variant01"},
    expressions={
        "neutral": {"eyes": ("variant24",), "eyebrows": ("variant10",), "mouth": ("variant09",)},
        "happy": {"eyes": ("variant24",), "eyebrows": ("variant10",), "mouth": ("variant23",)},
        "laughing": {"eyes": ("variant19",), "eyebrows": ("variant13",), "mouth": ("variant26",)},
        "sad": {"eyes": ("variant15",), "eyebrows": ("variant07",), "mouth": ("variant14",)},
        "angry": {"eyes": ("variant24",), "eyebrows": ("variant01",), "mouth": ("variant11",)},
        "surprised": {"eyes": ("variant26",), "eyebrows": ("variant12",), "mouth": ("variant15",)},
        "sleepy": {"eyes": ("variant20",), "eyebrows": ("variant10",), "mouth": ("variant09",)},
        "winking": {"eyes": ("variant22",), "eyebrows": ("variant10",), "mouth": ("variant23",)},
        "tongue out": {"eyes": ("variant24",), "eyebrows": ("variant10",), "mouth": ("variant16",)},
    },
    limits={"sunglasses": ("neutral", "happy", "laughing", "sad", "surprised", "tongue out")},
    settles={"a bald head": ("hair_colour", "")},
    bust="inked",
    clothes=("t-shirt", "striped shirt", "hoodie", "turtleneck"),
)

TOON = Style(
    name="toon-head",
    licence="CC BY 4.0",
    titles=("a toon drawing of", "a toon portrait of", "a flat cartoon of"),
    frame=(6, -36, 756),
    main=("hair", "hair_colour"),
    parts={
        "hair": Part(
            component="hair",
            words={
                "a bun": ("bun",),
                "short hair": ("sideComed",),
                "spiky hair": ("spiky",),
                "an undercut": ("undercut",),
                "long straight hair": ("sideComed+longStraight",),
                "long wavy hair": ("sideComed+longWavy",),
                "a bob": ("sideComed+neckHigh",),
                "shoulder-length hair": ("sideComed+shoulderHigh",),
            },
        ),
        "beard": Part(
            component="beard",
            words={
                "a full beard": ("fullBeard",),
                "a long beard": ("longBeard",),
                "a moustache": ("moustacheTwirl",),
                "a goatee": ("chinMoustache",),
            },
            share=0.45,
            people=_MEN,
        ),
        "clothes": Part(
            component="clothes",
            words={
                "t-shirt": ("tShirt",),
                "jacket": ("openJacket",),
                "sweater with a white collar": ("shirt",),
                "turtleneck": ("turtleNeck",),
            },
        ),
    },
    colours={
        "hair_colour": (HAIR_COLOURS, ("hair",)),
        "skin": (SKINS, ("skin",)),
        "clothes_colour": (CLOTHES_COLOURS, ("clothes",)),
    },
    hues={"stroke": "#000000"},
    expressions={
        "neutral": {"eyes": ("happy",), "eyebrows": ("neutral",), "mouth": ("straight",)},
        "happy": {"eyes": ("happy",), "eyebrows": ("happy",), "mouth": ("grin",)},
        "laughing": {"eyes": ("bow",), "eyebrows": ("happy",), "mouth": ("laughter",)},
        "sad": {"eyes": ("happy",), "eyebrows": ("sad",), "mouth": ("frown",)},
        "angry": {"eyes": ("happy",), "eyebrows": ("angry",), "mouth": ("gritted",)},
        "surprised": {"eyes": ("wide",), "eyebrows": ("raised",), "mouth": ("gasp",)},
        "sleepy": {"eyes": ("humble",), "eyebrows": ("neutral",), "mouth": ("straight",)},
        "winking": {"eyes": ("wink",), "eyebrows": ("happy",), "mouth": ("grin",)},
    },
)

MICAH = Style(
    name="micah",
    licence="CC BY 4.0",
    titles=("an ink drawing of", "a micah drawing of", "a cartoon portrait of"),
    frame=(-6, -24, 372),
    main=("hair", "hair_colour"),
    parts={
        "hair": Part(
            component="hair",
            words={
                "long hair": ("full",),
                "a bob": ("pixie",),
                "a quiff": ("fonze",),
                "a mohawk": ("mrT",),
                "a few hairs": ("dougFunny",),
                "a bald head": ("mrClean",),
            },
        ),
        "beard": Part(
            component="facialHair",
            words={"a beard": ("beard",), "stubble": ("scruff",)},
            share=0.45,
            people=_MEN,
        ),
        "eyewear": Part(
            component="glasses",
            words={"round glasses": ("round",), "square glasses": ("square",)},
            share=0.35,
        ),
        "earrings": Part(
            component="earrings",
            words={"hoop earrings": ("hoop",)},
            share=0.35,
            people=_WOMEN,
        ),
        "clothes": Part(
            component="clothes",
            words={"shirt with a collar": ("collared",), "sweater": ("crew",), "t-shirt": ("open",)},
        ),
    },
    colours={
        "hair_colour": (HAIR_COLOURS, ("hair", "facialHair")),
        "skin": (SKINS, ("base",)),
        "clothes_colour": (CLOTHES_COLOURS, ("shirt",)),
    },
    fixed={"ears": ("attached", "detached"), "nose": ("curve", "pointed", "tound")},
    hues={
        "earring": "#f4c542",
        "eyeShadow": "#ffffff",
        "eyebrows": "#000000",
        "eyes": "#000000",
        "glasses": "#16161c",
        "mouth": "#000000",
    },
    lashes={"eyebrows.up": "eyelashesUp"},
    expressions={
        "neutral": {"eyes": ("eyesShadow",), "eyebrows": ("up",), "mouth": ("straight",)},
        "happy": {"eyes": ("eyesShadow",), "eyebrows": ("up",), "mouth": ("smile",)},
        "laughing": {"eyes": ("smilingShadow",), "eyebrows": ("up",), "mouth": ("laughing",)},
        "sad": {"eyes": ("eyesShadow",), "eyebrows": ("worried",), "mouth": ("frown",)},
        "angry": {"eyes": ("eyesShadow",), "eyebrows": ("cross",), "mouth": ("nervous",)},
        "surprised": {"eyes": ("round",), "eyebrows": ("up",), "mouth": ("surprised",)},
        "sleepy": {"eyes": ("closed",), "eyebrows": ("up",), "mouth": ("straight",)},
        "winking": {"eyes": ("wink",), "eyebrows": ("up",), "mouth": ("smile",)},
    },
    settles={"a bald head": ("hair_colour", ""), "a few hairs": ("hair_colour", "")},
)
