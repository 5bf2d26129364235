"""Draws a character in a scene, as pixels.

Composes the package's SVG of the character, our bust under heads that have none, and the place behind; resvg
rasterises. Knows nothing about captions or training sets.
"""

import io
import json
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import resvg_py
from dicebear import Avatar
from dicebear import Style as Definition
from PIL import Image

from greenroom.ml.starter import amendments, busts, places
from greenroom.ml.starter.characters import Identity, Scene
from greenroom.ml.starter.parts import Variants
from greenroom.ml.starter.styles import STYLES

Pixels = npt.NDArray[np.uint8]  # (H, W, 3), or 4 with alpha
SCENERIES = (
    48  # drawings of each scene; few enough to keep rasterised (113 MB at 256 px), which halves the time
)


def render(identity: Identity, scene: Scene, size_px: int = 256) -> Pixels:
    """The picture, (size_px, size_px, 3) uint8."""
    figure = _rasterised(figure_svg(identity, scene), size_px)
    return _over(figure, _ground(scene.place, scene.place_seed, size_px))


def figure_svg(identity: Identity, scene: Scene) -> str:
    """The character as the scene frames it, on nothing, in a document of 256 units."""
    style = STYLES[identity.style]
    left, top, side = style.frame
    unit = scene.scale * places.SIZE / side
    mirror = -1 if scene.flip else 1
    # Everything turns and scales about the middle of the lower edge, so that no shoulder lifts off it.
    stand = (
        f"translate({(0.5 + scene.shift) * places.SIZE:.2f} {places.SIZE}) rotate({scene.angle_deg}) "
        f"scale({mirror * unit:.5f} {unit:.5f}) translate({-(left + side / 2)} {-(top + side)})"
    )
    return _document(f'<g transform="{stand}">{_figure(identity, scene.expression)}</g>')


def _ground(place: str, seed: int, size_px: int) -> Pixels:
    if place in places.SCENES:
        return _scenery(place, seed % SCENERIES, size_px)
    return _rasterised(_document(places.draw(place, seed)), size_px)[..., :3]


@lru_cache(maxsize=12 * SCENERIES)
def _scenery(place: str, variant: int, size_px: int) -> Pixels:
    return _rasterised(_document(places.draw(place, variant)), size_px)[..., :3]


def _rasterised(svg: str, size_px: int) -> Pixels:
    """(size_px, size_px, 4), alpha last and not multiplied in."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size_px, height=size_px, skip_system_fonts=True))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def _over(figure: Pixels, ground: Pixels) -> Pixels:
    alpha = figure[..., 3:].astype(np.uint16)
    mixed = figure[..., :3] * alpha + ground * (255 - alpha) + 127
    return (mixed // 255).astype(np.uint8)


def _document(drawing: str) -> str:
    side = places.SIZE
    head = f'viewBox="0 0 {side} {side}" width="{side}" height="{side}" fill="none"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head}>{drawing}</svg>'


@cache
def _definition(name: str) -> tuple[Definition, Mapping[str, bool]]:
    """The package's style, amended, and its components: whether each may be left out."""
    raw: dict[str, Any] = json.loads((resources.files("dicebear_styles") / f"{name}.json").read_text("utf-8"))
    amendments.amend(name, raw)
    return Definition(raw), {
        component: "probability" in facts for component, facts in raw["components"].items()
    }


def _figure(identity: Identity, expression: str) -> str:
    """The character alone, in its style's own canvas units."""
    style = STYLES[identity.style]
    definition, components = _definition(style.name)
    chosen = _variants(identity, expression)
    options: dict[str, Any] = {"seed": "greenroom"}
    for component, may_be_left_out in components.items():
        if component in chosen:
            options[f"{component}Variant"] = chosen[component]
        if may_be_left_out:
            options[f"{component}Probability"] = 100 if component in chosen else 0
    for name, hue in style.hues.items():
        options[f"{name}Color"] = [hue]
    for attribute, (palette, names) in style.colours.items():
        hue = palette.get(identity.words.get(attribute, ""), next(iter(palette.values())))
        for name in names:
            options[f"{name}Color"] = [hue]
    head = _inner(Avatar(definition, options).to_string())
    return busts.draw(style.bust, identity.words) + head if style.bust else head


def _variants(identity: Identity, expression: str) -> dict[str, str]:
    """Component: the variant that draws this character with this face."""
    style = STYLES[identity.style]
    pick = Random(identity.choice)
    chosen = {"animation": "none"}
    for name, part in style.parts.items():
        variants = part.words.get(identity.words.get(name, ""), ())
        if not variants or part.component in chosen:
            continue
        front, _, rear = pick.choice(variants).partition("+")
        chosen[part.component] = front
        if rear:
            chosen["rearHair"] = rear
    for component, variants in style.fixed.items():
        chosen[component] = pick.choice(variants)
    for component, variants in _face(identity, expression).items():
        variant = pick.choice(variants)
        if identity.kind == "woman":
            variant = style.lashes.get(f"{component}.{variant}", variant)
        chosen[component] = variant
    return chosen


def _face(identity: Identity, expression: str) -> Mapping[str, Variants]:
    style = STYLES[identity.style]
    face = dict(style.expressions[expression])
    eyes = identity.words.get("eyes")
    if eyes in style.limits:  # one, three or four eyes stay as they are; the mouth speaks
        face.pop("eyes", None)
        if eyes == "one eye" and expression == "sleepy":
            face["eyes"] = ("monoSleepy",)
    return face


_WRAP = re.compile(
    r'^<svg [^>]*>.*?</metadata>(?P<defs><defs>.*?</defs>)?<g clip-path="[^"]*">(?P<body>.*)</g></svg>$', re.S
)


def _inner(svg: str) -> str:
    """The drawing inside a style's document, without its clip: hair and bodies may reach beyond it."""
    match = _WRAP.match(svg)
    if match is None:
        raise AssertionError(f"dicebear's document has another shape than expected: {svg[:300]}")
    defs = re.sub(r'<clipPath id="clip-[^"]*">.*?</clipPath>', "", match["defs"] or "")
    # Styles with a background colour of their own paint it first; the place stands there instead.
    return defs + re.sub(r'^<rect width="[^"]*" height="[^"]*" fill="[^"]*"/>', "", match["body"])
