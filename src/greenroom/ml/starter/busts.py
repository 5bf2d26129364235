"""Neck and shoulders for the styles that draw a head only, so that no head floats.

Drawn in the style's own canvas units and manner; the head is drawn over them. Knows words and colours only.
"""

from collections.abc import Mapping

from greenroom.ml.starter.parts import CLOTHES_COLOURS, SKINS


def draw(manner: str, words: Mapping[str, str]) -> str:
    """SVG of the bust; words hold skin, clothes and clothes_colour."""
    skin, cloth = SKINS[words["skin"]], CLOTHES_COLOURS[words["clothes_colour"]]
    stripe = "#2a2a30" if words["clothes_colour"] == "white" else "#ffffff"
    return (_inked if manner == "inked" else _flat)(words["clothes"], skin, cloth, stripe)


def _inked(clothes: str, skin: str, cloth: str, stripe: str) -> str:
    ink = 'stroke="#000000" stroke-width="7" stroke-linejoin="round" stroke-linecap="round"'
    shoulders = (
        "M300 690C240 700 160 706 128 760C108 800 100 900 98 1000"
        "H652C650 900 642 800 622 760C590 706 510 700 450 690Z"
    )
    neck = f'<path d="M316 560V712Q375 752 434 712V560Z" fill="{skin}" {ink}/>'
    torso = f'<path d="{shoulders}" fill="{cloth}" {ink}/>'
    if clothes == "turtleneck":
        return neck + torso + f'<path d="M304 632H446L456 722Q375 760 294 722Z" fill="{cloth}" {ink}/>'
    parts = [torso]
    if clothes == "striped shirt":
        parts.append(f'<clipPath id="bust"><path d="{shoulders}"/></clipPath><g clip-path="url(#bust)">')
        parts += [f'<rect x="80" y="{y}" width="600" height="22" fill="{stripe}"/>' for y in (748, 796, 844)]
        parts.append(f'</g><path d="{shoulders}" {ink}/>')
    collar = f'<path d="M300 690Q375 790 450 690L434 640H316Z" fill="{skin}" {ink}/>'
    parts += [
        collar,
        f'<path d="M319 560H431V680H319Z" fill="{skin}"/>',
        f'<path d="M316 560V690M434 560V690" {ink}/>',
    ]
    if clothes == "hoodie":
        hood = (
            "M316 660C262 664 236 700 262 738C300 786 350 780 375 772C400 780 450 786 488 738"
            "C514 700 488 664 434 660C452 712 410 742 375 746C340 742 298 712 316 660Z"
        )
        parts.append(f'<path d="{hood}" fill="{cloth}" {ink}/>')
        string = "#2a2a30" if stripe != "#ffffff" else "#ffffff"
        parts.append(f'<path d="M338 772V838M412 772V838" stroke="{string}" stroke-width="10"/>')
    return "".join(parts)


def _flat(clothes: str, skin: str, cloth: str, stripe: str) -> str:
    shade = _darker(skin)
    shoulders = (
        "M182 430C130 438 84 446 66 486C54 516 50 560 48 620"
        "H400C398 560 394 516 382 486C364 446 318 438 266 430Z"
    )
    torso = f'<path d="{shoulders}" fill="{cloth}"/>'
    neck = f'<path d="M186 350V436Q224 466 262 436V350Z" fill="{shade}"/>'
    if clothes == "turtleneck":
        return neck + torso + f'<path d="M180 398H268L274 446Q224 466 174 446Z" fill="{_darker(cloth)}"/>'
    if clothes == "striped shirt":
        bands = "".join(
            f'<rect x="30" y="{y}" width="390" height="15" fill="{stripe}"/>' for y in (462, 494, 526)
        )
        torso += (
            f'<clipPath id="bust"><path d="{shoulders}"/></clipPath><g clip-path="url(#bust)">{bands}</g>'
        )
    collar = f'<path d="M174 431Q224 492 274 431L262 424H186Z" fill="{_darker(cloth)}"/>'
    return torso + collar + f'<path d="M186 350V432Q224 476 262 432V350Z" fill="{shade}"/>'


def _darker(colour: str) -> str:
    return "#" + "".join(f"{int(int(colour[i : i + 2], 16) * 0.84):02x}" for i in (1, 3, 5))
