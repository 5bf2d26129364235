"""Renders the sample pictures of this folder: one character and one style, each with captions and credits.

    python samples/make_samples.py        (needs `pip install -e .[starter]`)

The pictures are in the repository; run this only to change them. The starter never saw the character in
its own training. Some faces and places are left out on purpose: the demo draws those, so it shows what was
learned and not what was copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from greenroom.ml.starter import data
from greenroom.ml.starter.captions import EXPRESSIONS, PLACES

HERE = Path(__file__).parent
SIZE_PX = 256
INKS = ("#14213d", "#3d348b", "#e76f51", "#f4a261", "#fff1d6")  # from dark to light
UNSEEN_FACES = ("angry", "winking", "laughing")
UNSEEN_PLACES = ("space", "underwater", "snow", "desert")

CREDITS = {
    "toon-head": '"ToonHead" by Johan Melin, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)',
}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture and its caption, without a trigger: training puts it in front."""

    pixels: data.Pixels
    text: str


def main() -> None:
    """Write both folders."""
    juno = data.Identity(
        style="toon-head",
        kind="woman",
        words={
            "hair": "a bun",
            "hair_colour": "green",
            "skin": "light skin",
            "clothes": "turtleneck",
            "clothes_colour": "purple",
        },
        choice=0,
    )
    assert data.is_held_out(juno), "the starter must not have seen the character"
    _write("character-juno", _character(juno, 14), ("toon-head",))
    _write("style-riso", _style(12), ("toon-head",))


def _character(identity: data.Identity, count: int) -> list[Shot]:
    """The character in varied faces and places; captions say what varies, the trigger means the rest."""
    rng = Random("character")
    faces = [face for face in data.expressions_of(identity) if face not in UNSEEN_FACES]
    places = [place for place in PLACES if place not in UNSEEN_PLACES]
    plain = ["plain:blue", "plain:pink", "plain:white", "plain:orange", "plain:green", "plain:turquoise"]
    for choices in (faces, places, plain):
        rng.shuffle(choices)
    grounds = [plain[i // 2 % len(plain)] if i % 2 else places[i // 2 % len(places)] for i in range(count)]
    shots = []
    for index, place in enumerate(grounds):
        scene = _scene(rng, faces[(index + index // len(faces)) % len(faces)], place)
        text = f"a {identity.kind}, {rng.choice(EXPRESSIONS[scene.expression])}, {_ground(place, rng)}"
        shots.append(Shot(pixels=data.render(identity, scene, SIZE_PX), text=text))
    return shots


def _style(count: int) -> list[Shot]:
    """Many characters printed in five inks; captions say what is shown, the trigger means the colours."""
    rng = Random("style")
    places = list(PLACES)
    rng.shuffle(places)
    shots = []
    for attempt in range(1000):
        if len(shots) == count:
            break
        # The look is what is new here, so the characters may be of those that the starter knows.
        identity = data.sample_identity(rng, ["toon-head"])
        if identity.kind != ("woman", "man")[len(shots) % 2]:
            continue
        face = rng.choice(list(data.expressions_of(identity)))
        scene = _scene(rng, face, places[attempt % len(places)])
        pixels = _printed(data.render(identity, scene, SIZE_PX))
        if not _is_legible(pixels):
            continue
        text = f"{_content(identity)}, {rng.choice(EXPRESSIONS[face])}, {_ground(scene.place, rng)}"
        shots.append(Shot(pixels=pixels, text=text))
    return shots


def _scene(rng: Random, face: str, place: str) -> data.Scene:
    """Framed as all that the starter knows: in the middle, upright, at one size."""
    return data.Scene(
        expression=face,
        place=place,
        place_seed=rng.randrange(1 << 30),
        flip=False,
        angle_deg=0.0,
        scale=1.0,
        shift=0.0,
    )


def _ground(place: str, rng: Random) -> str:
    kind, *colours = place.split(":")
    if not colours:
        return rng.choice(PLACES[kind])
    return f"on {'an' if colours[0][0] in 'aeiou' else 'a'} {colours[0]} background"


def _content(identity: data.Identity) -> str:
    """The noun and the parts that have a shape, without colours."""
    words = identity.words
    parts = [words[part] for part in ("hair", "beard", "eyewear", "headwear", "eyes") if part in words]
    return f"a {identity.kind} with {' and '.join(parts)}" if parts else f"a {identity.kind}"


def _printed(pixels: data.Pixels) -> data.Pixels:
    """The picture in five flat inks, chosen by lightness."""
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    order = np.digitize(grey, [52, 104, 158, 214])
    inks = np.array([[int(ink[i : i + 2], 16) for i in (1, 3, 5)] for ink in INKS], dtype=np.uint8)
    return inks[order]


def _is_legible(pixels: data.Pixels) -> bool:
    """Whether three inks have a tenth of the picture each and none has half; else the figure drowns."""
    _, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    shares = counts / counts.sum()
    return int((shares > 0.1).sum()) >= 3 and float(shares.max()) < 0.5


def _write(name: str, shots: list[Shot], styles: tuple[str, ...]) -> None:
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for index, shot in enumerate(shots, start=1):
        picture = Image.fromarray(shot.pixels).quantize(128, dither=Image.Dither.NONE)
        picture.save(folder / f"{index:02d}.png", optimize=True)
        (folder / f"{index:02d}.txt").write_text(shot.text + "\n", encoding="utf-8")
    lines = "\n".join(f"- {CREDITS[style]}" for style in styles)
    (folder / "CREDITS.txt").write_text(
        "Rendered by samples/make_samples.py of Greenroom with DiceBear, remixed (parts chosen, recoloured, "
        f"posed and put before drawn places).\n{lines}\n- Places: Greenroom, Apache-2.0\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
