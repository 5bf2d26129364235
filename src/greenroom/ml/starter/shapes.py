"""The few SVG shapes that places are drawn with. Knows nothing about what they depict."""

from random import Random


def box(x: float, y: float, width: float, height: float, fill: str, *, opacity: float = 1) -> str:
    veil = "" if opacity == 1 else f' fill-opacity="{opacity}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"{veil}/>'


def rounded(x: float, y: float, width: float, height: float, *, radius: float, fill: str) -> str:
    sides = f'width="{width:.1f}" height="{height:.1f}" rx="{radius}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {sides} fill="{fill}"/>'


def line(d: str, stroke: str, width: float) -> str:
    return f'<path d="{d}" fill="none" stroke="{stroke}" stroke-width="{width}" stroke-linecap="round"/>'


def ring(x: float, y: float, radius: float, stroke: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="none" stroke="{stroke}" stroke-width="2"/>'


def dot(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{fill}"/>'


def path(d: str, fill: str) -> str:
    return f'<path d="{d}" fill="{fill}"/>'


def jitter(colour: str, rng: Random, spread: int = 10) -> str:
    """The colour with each channel moved by up to `spread` of 255: a scene is never learned as one bitmap."""
    channels = (int(colour[i : i + 2], 16) + rng.randint(-spread, spread) for i in (1, 3, 5))
    return "#" + "".join(f"{min(255, max(0, c)):02x}" for c in channels)
