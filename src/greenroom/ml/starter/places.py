"""Draws what stands behind a character: small flat scenes, plain colours and two-colour patterns, as SVG.

Knows nothing about characters or captions. A place is a key: "beach", "plain:yellow", "stripes:red:white".
"""

from collections.abc import Callable, Mapping
from random import Random

from greenroom.ml.starter.shapes import box, dot, jitter, line, path, ring, rounded

SIZE = 256  # every scene is drawn in a box of this many units

COLOURS: Mapping[str, str] = {
    "red": "#e0393e",
    "orange": "#f98b25",
    "yellow": "#fbd63a",
    "green": "#3fa34d",
    "turquoise": "#2fbdb3",
    "blue": "#2767d8",
    "light blue": "#a5d8f7",
    "purple": "#8647c4",
    "pink": "#f7a1c0",
    "white": "#f7f7f5",
    "grey": "#9aa0a6",
    "black": "#26262b",
}
PATTERNS = ("stripes", "dots", "checks")


def draw(place: str, seed: int) -> str:
    """SVG elements that fill the box from (0, 0) to (256, 256); the same seed gives the same drawing."""
    rng = Random(f"{place}/{seed}")
    kind, *colours = place.split(":")
    if kind == "plain":
        return box(0, 0, SIZE, SIZE, jitter(COLOURS[colours[0]], rng, 6))
    if kind in PATTERNS:
        return _pattern(kind, COLOURS[colours[0]], COLOURS[colours[1]], rng)
    return SCENES[kind](rng)


def _pattern(kind: str, ground: str, ink: str, rng: Random) -> str:
    parts = [box(0, 0, SIZE, SIZE, ground)]
    if kind == "stripes":
        width = rng.choice((16, 20, 26))
        turn = rng.choice((0, 0, 45, 90))
        bars = "".join(
            box(-128 + i * 2 * width, -128, width, 512, ink) for i in range(512 // (2 * width) + 1)
        )
        parts.append(f'<g transform="rotate({turn} 128 128)">{bars}</g>')
    elif kind == "dots":
        step = rng.choice((32, 40, 48))
        for row in range(-1, SIZE // step + 2):
            for column in range(-1, SIZE // step + 2):
                x = column * step + (step // 2 if row % 2 else 0) + step // 4
                parts.append(dot(x, row * step + step // 4, step * 0.24, ink))
    else:
        step = rng.choice((32, 43, 64))
        count = SIZE // step + 1
        parts += [
            box(column * step, row * step, step, step, ink)
            for row in range(count)
            for column in range(count)
            if (row + column) % 2
        ]
    return "".join(parts)


def _beach(rng: Random) -> str:
    sea = 118 + rng.uniform(-12, 12)
    sand = sea + 46
    x = rng.choice((rng.uniform(24, 60), rng.uniform(196, 232)))
    palm = rng.choice((rng.uniform(12, 40), rng.uniform(216, 244)))
    return (
        box(0, 0, SIZE, SIZE, jitter("#9fdcf7", rng))
        + dot(x, 40 + rng.uniform(-12, 12), 20, "#ffe066")
        + box(0, sea, SIZE, 60, jitter("#2b9fd9", rng))
        + box(0, sea + 14, SIZE, 5, "#7fd0f0")
        + path(f"M0 {sand}Q64 {sand - 16} 128 {sand}T256 {sand}V256H0Z", "#ffffff")
        + path(f"M0 {sand + 7}Q64 {sand - 9} 128 {sand + 7}T256 {sand + 7}V256H0Z", jitter("#f5d991", rng))
        + _palm(palm, sand + 34, rng)
    )


def _palm(x: float, foot: float, rng: Random) -> str:
    top = foot - 122 + rng.uniform(-10, 10)
    lean = rng.uniform(-8, 8)
    leaves = "".join(
        path(f"M0 0Q{dx * 0.5:.0f} {dy - 16} {dx} {dy}Q{dx * 0.5:.0f} {dy - 2} 0 6Z", "#3f9b46")
        for dx, dy in ((-48, 14), (-40, -10), (46, 16), (42, -12), (-22, 34), (26, 34))
    )
    trunk = f"M{x - 6:.1f} {foot:.1f}L{x + lean - 3:.1f} {top:.1f}h7L{x + 7:.1f} {foot:.1f}Z"
    return path(trunk, "#a9713f") + f'<g transform="translate({x + lean:.1f} {top:.1f})">{leaves}</g>'


def _forest(rng: Random) -> str:
    parts = [box(0, 0, SIZE, SIZE, jitter("#cdeac0", rng))]
    for layer, (colour, foot, height) in enumerate(
        (("#8cc084", 190, 130), ("#4f9d5d", 212, 160), ("#2c6e49", 236, 176))
    ):
        ink = jitter(colour, rng)
        offset = rng.uniform(0, 40)
        for i in range(-1, 7):
            x = i * 46 + offset + rng.uniform(-8, 8) + layer * 11
            if layer == 2 and 70 < x < 186:
                continue
            tall = height + rng.uniform(-18, 18)
            parts.append(box(x - 4, foot - 12, 8, 34, "#6b4a2f"))
            for k in range(3):
                y = foot - tall + k * tall * 0.27
                half = 16 + k * 7
                parts.append(path(f"M{x:.1f} {y:.1f}l{half} {tall * 0.42:.1f}h{-2 * half}Z", ink))
    parts.append(box(0, 226, SIZE, 30, jitter("#5f8f3f", rng)))
    return "".join(parts)


def _snow(rng: Random) -> str:
    parts = [box(0, 0, SIZE, SIZE, jitter("#a9c9e2", rng))]
    peak = 60 + rng.uniform(-14, 14)
    x = rng.uniform(40, 210)
    parts.append(path(f"M{x - 110:.1f} 190L{x:.1f} {peak:.1f}L{x + 110:.1f} 190Z", "#7f9fbd"))
    parts.append(
        path(
            f"M{x - 33:.1f} {peak + 39:.1f}L{x:.1f} {peak:.1f}L{x + 33:.1f} {peak + 39:.1f}"
            f"L{x + 14:.1f} {peak + 32:.1f}L{x:.1f} {peak + 44:.1f}L{x - 14:.1f} {peak + 30:.1f}Z",
            "#ffffff",
        )
    )
    ground = 168 + rng.uniform(-8, 8)
    parts.append(
        path(
            f"M0 {ground + 8:.1f}Q70 {ground - 18:.1f} 140 {ground + 4:.1f}T256 {ground:.1f}V256H0Z",
            "#f6fbff",
        )
    )
    for side in (rng.uniform(14, 44), rng.uniform(212, 242)):
        for k in range(3):
            y = ground - 66 + k * 22
            half = 12 + k * 6
            parts.append(path(f"M{side:.1f} {y:.1f}l{half} 34h{-2 * half}Z", "#3f7d68"))
            parts.append(path(f"M{side:.1f} {y:.1f}l{half * 0.5:.1f} 17h{-half}Z", "#ffffff"))
    parts += [
        dot(rng.uniform(0, 256), rng.uniform(0, 220), rng.choice((2.2, 3, 3.6)), "#ffffff") for _ in range(46)
    ]
    return "".join(parts)


def _buildings(rng: Random, walls: tuple[str, ...], lit: str, foot: int) -> str:
    parts = []
    x = -rng.uniform(0, 24)
    while x < SIZE:
        width = rng.choice((34, 42, 50))
        tall = rng.uniform(88, 178)
        parts.append(box(x, foot - tall, width, tall, rng.choice(walls)))
        columns = width // 14
        for row in range(int(tall // 20)):
            for column in range(columns):
                if rng.random() < 0.72:
                    wx = x + 6 + column * (width - 8) / columns
                    parts.append(box(wx, foot - tall + 9 + row * 20, 6, 9, lit))
        x += width + rng.choice((0, 3, 8))
    return "".join(parts)


def _city(rng: Random) -> str:
    walls = ("#c98b6b", "#8fa3b8", "#d9b382", "#a78fb0", "#7f9a9a")
    return (
        box(0, 0, SIZE, SIZE, jitter("#bfe3f5", rng))
        + _cloud(rng.uniform(20, 110), rng.uniform(16, 44))
        + _cloud(rng.uniform(140, 230), rng.uniform(16, 44))
        + _buildings(rng, walls, "#f3f8fb", 214)
        + box(0, 212, SIZE, 44, "#6f7680")
        + "".join(box(x, 230, 22, 4, "#f2e6b0") for x in range(6, 256, 44))
    )


def _night(rng: Random) -> str:
    walls = ("#2b2f55", "#353a66", "#232748", "#3f3a6b")
    stars = "".join(
        dot(rng.uniform(0, 256), rng.uniform(0, 110), rng.choice((1.2, 1.6)), "#ffffff") for _ in range(26)
    )
    moon = rng.choice((rng.uniform(24, 60), rng.uniform(196, 232)))
    return (
        box(0, 0, SIZE, SIZE, jitter("#141a3c", rng, 5))
        + stars
        + dot(moon, 36, 18, "#fdf3c4")
        + _buildings(rng, walls, "#ffd65c", 226)
        + box(0, 224, SIZE, 32, "#1b1d2e")
    )


def _desert(rng: Random) -> str:
    ground = 158 + rng.uniform(-10, 10)
    parts = [
        box(0, 0, SIZE, SIZE, jitter("#fbd9a0", rng)),
        dot(rng.choice((rng.uniform(24, 60), rng.uniform(196, 232))), 42, 22, "#f9a03f"),
        path(
            f"M0 {ground:.1f}Q60 {ground - 34:.1f} 130 {ground:.1f}T256 {ground - 8:.1f}V256H0Z",
            jitter("#eab676", rng),
        ),
        path(
            f"M0 {ground + 34:.1f}Q90 {ground + 4:.1f} 170 {ground + 30:.1f}T256 {ground + 20:.1f}V256H0Z",
            jitter("#d99a54", rng),
        ),
    ]
    for x in (rng.uniform(18, 44), rng.uniform(210, 238)):
        y = ground + 26
        tall = rng.uniform(52, 76)
        parts.append(rounded(x - 7, y - tall, 14, tall, radius=7, fill="#4f8f4f"))
        parts.append(
            rounded(x - 24, y - tall * 0.72, 9, 26, radius=4.5, fill="#4f8f4f")
            + box(x - 20, y - tall * 0.72 + 17, 16, 9, "#4f8f4f")
        )
        parts.append(
            rounded(x + 15, y - tall * 0.88, 9, 26, radius=4.5, fill="#4f8f4f")
            + box(x + 4, y - tall * 0.88 + 17, 16, 9, "#4f8f4f")
        )
    return "".join(parts)


def _space(rng: Random) -> str:
    parts = [box(0, 0, SIZE, SIZE, jitter("#150f33", rng, 5))]
    parts += [
        dot(rng.uniform(0, 256), rng.uniform(0, 256), rng.choice((1.2, 1.6, 2.4)), "#ffffff")
        for _ in range(64)
    ]
    left, y = rng.choice(((46, 56), (208, 52), (40, 130), (216, 124)))
    x = left + rng.uniform(-8, 8)
    planet = rng.choice(("#e8734a", "#d9a441", "#c96bb0"))
    parts.append(dot(x, y, 27, planet))
    parts.append(
        f'<ellipse cx="{x:.1f}" cy="{y}" rx="44" ry="9" fill="none" stroke="#f2dcae" stroke-width="5" '
        f'transform="rotate(-18 {x:.1f} {y})"/>'
    )
    parts.append(
        dot(256 - x, 256 - y - rng.uniform(60, 110), rng.uniform(9, 13), rng.choice(("#5fc6d9", "#8fd46a")))
    )
    return "".join(parts)


def _underwater(rng: Random) -> str:
    parts = [
        box(0, 0, SIZE, SIZE, jitter("#1f86c4", rng)),
        box(0, 0, SIZE, 70, "#ffffff", opacity=0.12),
        box(0, 70, SIZE, 60, "#ffffff", opacity=0.06),
    ]
    parts.append(path("M0 226Q60 208 128 224T256 218V256H0Z", "#e2cc8f"))
    for x in (rng.uniform(8, 26), rng.uniform(34, 52), rng.uniform(204, 222), rng.uniform(232, 248)):
        tall = rng.uniform(60, 110)
        weed = f"M{x:.1f} 232q-12 {-tall / 4:.1f} 0 {-tall / 2:.1f}t0 {-tall / 2:.1f}"
        parts.append(line(weed, "#2f9e57", 9))
    for _ in range(3):
        x, y = rng.choice((rng.uniform(24, 64), rng.uniform(192, 232))), rng.uniform(28, 130)
        ink = rng.choice(("#ff9f43", "#ffd84d", "#ff6b6b"))
        way = rng.choice((1, -1))
        parts.append(f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="14" ry="9" fill="{ink}"/>')
        parts.append(path(f"M{x + way * 11:.1f} {y:.1f}l{way * 12} -8v16Z", ink))
        parts.append(dot(x - way * 7, y - 2, 2, "#20242c"))
    parts += [
        ring(rng.uniform(0, 256), rng.uniform(0, 210), rng.choice((3, 4, 6)), "#bfe7fb") for _ in range(12)
    ]
    return "".join(parts)


def _hills(rng: Random) -> str:
    a, b = 150 + rng.uniform(-12, 12), 186 + rng.uniform(-8, 8)
    parts = [
        box(0, 0, SIZE, SIZE, jitter("#8fd3f4", rng)),
        _cloud(rng.uniform(20, 100), rng.uniform(26, 60)),
        _cloud(rng.uniform(150, 236), rng.uniform(26, 60)),
        path(f"M0 {a:.1f}Q64 {a - 56:.1f} 138 {a:.1f}T256 {a - 12:.1f}V256H0Z", jitter("#8ccb5e", rng)),
        path(f"M0 {b:.1f}Q80 {b + 26:.1f} 150 {b - 8:.1f}T256 {b - 20:.1f}V256H0Z", jitter("#5fae45", rng)),
    ]
    return "".join(parts)


def _sunset(rng: Random) -> str:
    parts = []
    for i, colour in enumerate(("#5b3a86", "#9a4790", "#d9587f", "#f5795b", "#fca94f", "#fdd06a")):
        parts.append(box(0, i * 27, SIZE, 28, colour))
    x = rng.uniform(40, 216)
    parts.append(dot(x, 150, 34 + rng.uniform(-4, 4), "#fff1a8"))
    parts.append(box(0, 160, SIZE, 96, jitter("#4a3272", rng)))
    for i in range(5):
        half = 34 - i * 5 + rng.uniform(-5, 5)
        parts.append(rounded(x - half, 168 + i * 15, 2 * half, 5, radius=2.5, fill="#fbb45c"))
    return "".join(parts)


def _room(rng: Random) -> str:
    x = rng.choice((16, 176)) + rng.uniform(-6, 6)
    other = 208 - x * 0.6 if x < 100 else 18
    wall = rng.choice(("#f1dcc3", "#e7e0f0", "#dcebe0"))
    shelf_y = 92 + rng.uniform(-8, 8)
    books = "".join(
        box(other + i * 9, shelf_y - tall, 8, tall, ink)
        for i, (tall, ink) in enumerate(
            ((26, "#d9534f"), (30, "#4f7cc4"), (22, "#e5b33f"), (28, "#5fa36a"), (25, "#8d64b0"))
        )
    )
    return (
        box(0, 0, SIZE, SIZE, jitter(wall, rng, 5))
        + box(0, 206, SIZE, 50, jitter("#b98a5c", rng))
        + box(0, 200, SIZE, 7, "#fffaf0")
        + box(x, 26, 64, 74, "#ffffff")
        + box(x + 5, 31, 25, 64, "#a9dcf5")
        + box(x + 34, 31, 25, 64, "#a9dcf5")
        + box(other - 4, shelf_y, 54, 6, "#8a5f3c")
        + books
    )


def _park(rng: Random) -> str:
    ground = 164 + rng.uniform(-8, 8)
    parts = [
        box(0, 0, SIZE, SIZE, jitter("#bfe8f7", rng)),
        box(0, ground, SIZE, 100, jitter("#7cc35f", rng)),
    ]
    for x in (rng.uniform(18, 44), rng.uniform(210, 238)):
        y = ground - 50 + rng.uniform(-8, 8)
        parts.append(box(x - 6, y, 12, 66, "#8a5f3c"))
        leaf = jitter("#4c9a4a", rng)
        parts += [dot(x, y - 26, 28, leaf), dot(x - 20, y - 6, 22, leaf), dot(x + 20, y - 6, 22, leaf)]
    for _ in range(16):
        x, y = rng.uniform(4, 252), rng.uniform(ground + 12, 250)
        ink = rng.choice(("#ff6f91", "#ffd447", "#ffffff", "#b388eb"))
        parts.append(dot(x, y, 4.4, ink) + dot(x, y, 1.8, "#f7b733" if ink == "#ffffff" else "#fff3c9"))
    return "".join(parts)


SCENES: Mapping[str, Callable[[Random], str]] = {
    "beach": _beach,
    "forest": _forest,
    "snow": _snow,
    "city": _city,
    "night": _night,
    "desert": _desert,
    "space": _space,
    "underwater": _underwater,
    "hills": _hills,
    "sunset": _sunset,
    "room": _room,
    "park": _park,
}


def _cloud(x: float, y: float) -> str:
    return (
        dot(x, y, 14, "#ffffff")
        + dot(x - 15, y + 5, 10, "#ffffff")
        + dot(x + 16, y + 5, 11, "#ffffff")
        + rounded(x - 26, y + 3, 54, 13, radius=6.5, fill="#ffffff")
    )
