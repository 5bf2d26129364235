"""Measures that need no weights: sharpness, light, contrast, colour, and a fingerprint for near-duplicates.

Each says in its docstring what its number means. Knows nothing about thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from greenroom.vision.faces import Pixels
from greenroom.vision.tensors import Array

_EDGE_CONTRAST = 24.0
_EDGE_SHARE = 0.25
PRINT_SIDE = 24


@dataclass(frozen=True, kw_only=True)
class Light:
    """Light and colour of a region, in the units of CIE Lab: lightness 0 to 100, a and b around 0."""

    darkest: float
    """Lightness that 5 % of the pixels stay below."""
    middle: float
    brightest: float
    """Lightness that 5 % of the pixels lie above."""
    clipped: float
    """Share of the pixels that are at the very end of the range in all channels but not on a flat ground."""
    colour: tuple[float, float, float]
    """Median L, a and b."""
    chroma: float
    """Median distance from grey."""
    one_hue: float
    """How far all colour is of one hue: 1 for sepia and for black-and-white, 0.9 and less for most pictures."""

    @property
    def contrast(self) -> float:
        """Lightness between the dark and the bright end."""
        return self.brightest - self.darkest


def lab(picture: Pixels) -> Array:
    """(H, W, 3) float32 in CIE Lab."""
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def fitted(picture: Pixels, short_px: int) -> Pixels:
    """The picture made smaller so that its short side has at most `short_px`; never larger."""
    high, wide = picture.shape[:2]
    scale = short_px / min(high, wide)
    if scale >= 1:
        return picture
    size = (max(round(wide * scale), 1), max(round(high * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def edge_width_px(picture: Pixels) -> float | None:
    """How many pixels the picture's sharper edges take from dark to bright: about 1.5 when sharp.

    For each strong edge the local contrast over its steepest slope; of those the sharpest quarter's border, as a
    blurred ground behind a sharp figure is no fault. None for a picture without edges.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8
    slope = np.hypot(across, down)
    window = np.ones((9, 9), np.uint8)
    contrast = cv2.dilate(grey, window) - cv2.erode(grey, window)
    # Only the crest of each edge: its flanks are flatter and say nothing.
    crest = (slope >= cv2.dilate(slope, np.ones((3, 3), np.uint8)) - 1e-3) & (contrast > _EDGE_CONTRAST)
    crest &= slope > contrast / 24
    if int(crest.sum()) < 50:
        return None
    return float(np.quantile(contrast[crest] / slope[crest], _EDGE_SHARE))


def light(picture: Pixels) -> Light:
    """Light and colour of a picture or of a part of it."""
    values = lab(picture).reshape(-1, 3)
    darkest, middle, brightest = np.quantile(values[:, 0], (0.05, 0.5, 0.95))
    high = (picture.min(axis=2) >= 250) | (picture.max(axis=2) <= 5)
    colour = np.median(values, axis=0)
    strength = np.hypot(values[:, 1], values[:, 2])
    total = float(strength.sum())
    return Light(
        darkest=float(darkest),
        middle=float(middle),
        brightest=float(brightest),
        clipped=float(high.mean()),
        colour=(float(colour[0]), float(colour[1]), float(colour[2])),
        chroma=float(np.median(strength)),
        one_hue=1.0 if total < len(values) * 1.5 else float(np.hypot(*values[:, 1:].sum(axis=0)) / total),
    )


def is_plain_ground(picture: Pixels) -> bool:
    """Whether what lies along the upper and side borders is one colour."""
    small = fitted(picture, 128)
    band = max(small.shape[0] // 16, 1)
    border = np.concatenate(
        [
            small[:band].reshape(-1, 3),
            small[: -4 * band, :band].reshape(-1, 3),
            small[: -4 * band, -band:].reshape(-1, 3),
        ]
    )
    return bool(border.astype(np.float32).std(axis=0).max() < 14)


def ground_colour(picture: Pixels) -> tuple[float, float, float]:
    """Median Lab colour along the upper and side borders."""
    small = fitted(picture, 128)
    band = max(small.shape[0] // 16, 1)
    strip = np.concatenate([small[:band].reshape(-1, 1, 3), small[: -4 * band, -band:].reshape(-1, 1, 3)])
    return light(np.asarray(strip, np.uint8)).colour


def fingerprint(picture: Pixels) -> Array:
    """24 × 24 Lab values, light and contrast taken out, for finding near-duplicates."""
    small = cv2.resize(picture, (PRINT_SIDE, PRINT_SIDE), interpolation=cv2.INTER_AREA)
    values = lab(np.asarray(small, np.uint8))
    lightness = values[..., 0]
    values[..., 0] = (lightness - lightness.mean()) / max(float(lightness.std()), 2.0) * 20
    return values


def difference(one: Array, other: Array) -> float:
    """How far two fingerprints are apart, in Lab units, at the best of small shifts: below 2 nobody sees it."""
    best = np.inf
    side = PRINT_SIDE
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            a = one[max(dy, 0) : side + min(dy, 0), max(dx, 0) : side + min(dx, 0)]
            b = other[max(-dy, 0) : side + min(-dy, 0), max(-dx, 0) : side + min(-dx, 0)]
            apart = np.linalg.norm(a - b, axis=2)
            best = min(best, float(apart.mean()))
    return best
