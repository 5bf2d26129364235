"""Changes to the package's style definitions: faces they lack or draw too small, and cheaper transparency.

Knows the definitions' JSON and nothing else. Made once per style and process, before any character is drawn.
"""

from collections.abc import Callable, Mapping
from typing import Any


def amend(name: str, definition: dict[str, Any]) -> None:
    """Add the faces a style lacks (a straight mouth, closed eyes …), in its own manner, to its definition."""
    if name != "personas":
        _cheapen(definition)
    if name in _AMENDMENTS:
        _AMENDMENTS[name](definition)


def _amend_toon(definition: dict[str, Any]) -> None:
    # The style's own mouths are too small to read at 128 px, and its beards hide them.
    parts = definition["components"]
    lip, throat, teeth, tongue = "#2a1311", "#611519", "#f6f1e4", "#e0564b"
    parts["mouth"]["variants"] |= {
        "straight": _variant(_stroke("M20 26H98", lip, 9)),
        "frown": _variant(_stroke("M18 44Q58 2 100 44", lip, 10)),
        "grin": _variant(_stroke("M8 12Q58 60 110 12", lip, 10)),
        "gasp": _variant(
            _shape("M58 -8C92 -8 92 64 58 64C24 64 24 -8 58 -8Z", throat),
            _shape("M36 48Q58 30 80 48Q72 64 58 64Q44 64 36 48Z", tongue),
        ),
        "laughter": _variant(
            _shape("M2 -4Q58 -16 114 -4Q110 66 58 66Q6 66 2 -4Z", throat),
            _shape("M9 -5Q58 -15 107 -5Q106 8 102 15Q58 7 14 15Q10 8 9 -5Z", teeth),
            _shape("M26 50Q58 30 90 50Q76 66 58 66Q40 66 26 50Z", tongue),
        ),
        "gritted": _variant(
            _shape("M2 50Q4 -8 58 -8Q112 -8 114 50Q112 60 58 56Q4 60 2 50Z", throat),
            _shape("M20 14Q30 -3 58 -3Q86 -3 96 14Q58 4 20 14Z", teeth),
            _shape("M10 46Q58 34 106 46Q104 55 58 51Q12 55 10 46Z", teeth),
        ),
    }
    for shut in ("humble", "bow", "wink"):
        lashes = parts["eyes"]["variants"][shut]["elements"]
        for line in lashes[:1]:
            line["attributes"] |= {"fill": "#2a1413", "stroke": "#2a1413", "stroke-width": "5"}
    order = definition["canvas"]["elements"]
    mouth = next(e for e in order if e["name"] == "mouth")
    order.remove(mouth)
    order.insert(1 + next(i for i, e in enumerate(order) if e["name"] == "beard"), mouth)


def _amend_micah(definition: dict[str, Any]) -> None:
    parts = definition["components"]
    mouth, brow, eye = ({"type": "color", "name": n} for n in ("mouth", "eyebrows", "eyes"))
    glasses = {"name": "glasses", "type": "component"}
    parts["mouth"]["variants"]["straight"] = _variant(_stroke("M18 28L64 23", mouth, 4))
    parts["eyebrows"]["variants"] |= {
        "cross": _variant(_stroke("M12 20L46 33", brow, 6), _stroke("M72 28L104 6", brow, 6)),
        "worried": _variant(_stroke("M12 34L42 20", brow, 5), _stroke("M74 14L106 18", brow, 5)),
    }
    left, right = _stroke("M44 36Q57 48 71 34", eye, 5), _stroke("M108 27Q121 39 135 25", eye, 5)
    eyes = parts["eyes"]["variants"]
    eyes["closed"] = _variant(left, right, glasses)
    eyes["wink"] = _variant(*eyes["eyesShadow"]["elements"][2:4], left, glasses)
    for lock in parts["hair"]["variants"]["mrT"]["elements"][1:3]:
        lock["attributes"] |= {"stroke": "black", "stroke-width": "4", "stroke-linejoin": "round"}
    # A dark beard swallows the mouth's lines; bare skin round the mouth keeps every face readable.
    beard = parts["facialHair"]["variants"]["beard"]["elements"]
    bare = {"cx": "82", "cy": "69", "rx": "38", "ry": "23", "transform": "rotate(-6 82 69)"}
    skin = {
        "name": "ellipse",
        "type": "element",
        "attributes": {**bare, "fill": {"type": "color", "name": "base"}},
    }
    beard[:] = [beard[0], skin, beard[1]]


def _amend_big_smile(definition: dict[str, Any]) -> None:
    mouths = definition["components"]["mouth"]["variants"]
    throat, tongue, teeth = "#7d2f3a", "#ee7f8d", "#ffffff"
    mouths["gasp"] = _variant(
        _shape("M128 24C166 24 166 124 128 124C90 124 90 24 128 24Z", throat),
        _shape("M103 98Q128 76 153 98Q144 124 128 124Q112 124 103 98Z", tongue),
    )
    mouths["scowl"] = _variant(
        _shape("M60 106Q72 40 130 40Q188 40 198 106Q128 92 60 106Z", throat),
        _shape("M78 74Q94 48 130 48Q166 48 180 74Q130 66 78 74Z", teeth),
    )


def _amend_personas(definition: dict[str, Any]) -> None:
    parts = definition["components"]
    ink = "#1b0640"
    _veil(definition, 0.4)
    order = definition["canvas"]["elements"]
    eyes_layer = next(e for e in order if _is(e, "eyes"))
    order.remove(eyes_layer)
    order.insert(1 + next(i for i, e in enumerate(order) if _is(e, "hair")), eyes_layer)  # brows over fringes
    eyes, mouths = parts["eyes"]["variants"], parts["mouth"]["variants"]
    pupils = eyes["open"]["elements"][0]
    eyes["cross"] = _variant(
        pupils, _stroke("M2.2 -0.8L8 1.6", ink, 1.5), _stroke("M21.8 -0.8L16 1.6", ink, 1.5)
    )
    eyes["worried"] = _variant(
        pupils, _stroke("M2.2 1.4L7.6 -0.6", ink, 1.4), _stroke("M21.8 1.4L16.4 -0.6", ink, 1.4)
    )
    mouths["straight"] = _variant(_stroke("M2 3.6H8", ink, 1.8))
    mouths["gritted"] = _variant(_shape("M0 1.2H10V6H0Z", ink), _shape("M1 2.2H9V5H1Z", "#ffffff"))
    mouths["laughter"] = _variant(
        _shape("M0 .6H10V1.6A5 5 0 0 1 0 1.6Z", "#6b1530"), _shape("M.2 .6H9.8V2.2H.2Z", "#ffffff")
    )


def _veil(node: Any, share: float) -> None:
    """Weaken every overlay: inside masks it blends as plain white or black, which greys skin and hair."""
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _veil(item, share)
    marks = node.get("attributes") if isinstance(node, dict) else None
    if (
        isinstance(marks, dict)
        and str(marks.get("style", "")).startswith("mix-blend-mode")
        and "opacity" in marks
    ):
        del marks["style"]
        marks["fill-opacity"] = str(round(float(marks.pop("opacity")) * share, 3))


def _amend_voxel(definition: dict[str, Any]) -> None:
    # Fringes cover the style's thin brows, and its mouths are a pixel high: bolder ones, drawn over the hair.
    dark = "#26190f"
    brows = definition["components"]["eyebrows"]["variants"]
    brows["cross"] = _variant(
        _shape(
            "M5 2.5H12.5V5H17.5V7.5H22.5V10H15V7.5H10V5H5ZM55 2.5H47.5V5H42.5V7.5H37.5V10H45V7.5H50V5H55Z",
            dark,
        )
    )
    brows["worried"] = _variant(
        _shape(
            "M22.5 0H15V2.5H10V5H5V7.5H12.5V5H17.5V2.5H22.5ZM37.5 0H45V2.5H50V5H55V7.5H47.5V5H42.5V2.5H37.5Z",
            dark,
        )
    )
    order = next(
        e["children"]
        for e in definition["canvas"]["elements"]
        if any(_is(c, "top") for c in e.get("children", []))
    )
    brow = next(e for e in order if _is(e, "eyebrows"))
    order.remove(brow)
    order.append(brow)
    mouth = next(e for e in order if _is(e, "mouth"))
    mouth["attributes"]["transform"] += " translate(30 5) scale(1.45) translate(-30 -5)"


def _amend_clay(definition: dict[str, Any]) -> None:
    eyes = definition["components"]["eyes"]["variants"]
    ink = {"type": "color", "name": "ink"}
    eyes["closed"] = _variant(
        _stroke("M4.5 9.5A5.6 5.6 0 0 0 15.5 9.5", ink, 2.4),
        _stroke("M26.5 9.5A5.6 5.6 0 0 0 37.5 9.5", ink, 2.4),
    )
    brows = _stroke("M2 0L15.5 5.5", ink, 2.6), _stroke("M40 0L26.5 5.5", ink, 2.6)
    eyes["cross"] = _variant(*eyes["even"]["elements"], *brows)


def _is(element: dict[str, Any], component: str) -> bool:
    return element.get("type") == "component" and element.get("name") == component


def _stroke(d: str, colour: Any, width: float) -> dict[str, Any]:
    line = {"d": d, "stroke": colour, "stroke-width": str(width), "stroke-linecap": "round", "fill": "none"}
    return {"name": "path", "type": "element", "attributes": line}


def _shape(d: str, fill: Any) -> dict[str, Any]:
    return {"name": "path", "type": "element", "attributes": {"d": d, "fill": fill}}


def _variant(*elements: Any) -> dict[str, Any]:
    return {"elements": list(elements)}


def _cheapen(node: Any) -> None:
    """Turn opacity of single shapes into fill-opacity: the same picture without a costly layer (3 ms)."""
    if isinstance(node, list):
        for item in node:
            _cheapen(item)
        return
    if not isinstance(node, dict):
        return
    for value in node.values():
        _cheapen(value)
    attributes, children = node.get("attributes"), node.get("children", [])
    if not isinstance(attributes, dict) or "opacity" not in attributes:
        return
    shape = children[0] if node.get("name") == "g" and len(children) == 1 else node
    marks = shape.get("attributes", {})
    if shape.get("name") not in ("path", "circle", "ellipse", "rect") or shape.get("children"):
        return
    if "stroke" in marks or "fill-opacity" in marks or "mask" in attributes or "style" in attributes:
        return
    if shape is not node and "opacity" in marks:
        return
    marks["fill-opacity"] = attributes.pop("opacity")


_AMENDMENTS: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "toon-head": _amend_toon,
    "micah": _amend_micah,
    "big-smile": _amend_big_smile,
    "personas": _amend_personas,
    "voxel-art": _amend_voxel,
    "clay": _amend_clay,
}
