"""All that is measured on one picture, as one record that can be kept as JSON.

Knows pixels only: no thresholds, no other pictures, no advice.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from greenroom.vision import embedding, faces, measures
from greenroom.vision.faces import Face, Pixels
from greenroom.vision.measures import Light
from greenroom.vision.tensors import Array

COARSE_PX = 256
FINE_PX = 1024
_HUES = (6, 8, 8)
_FLAT_COLOURS = 0.8


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one picture shows, measured. None stands for "not measured"."""

    width_px: int
    height_px: int
    edge_coarse_px: float | None
    """Width of the sharper edges with the short side at 256 px, which is what a small base sees."""
    edge_fine_px: float | None
    """The same at 1024 px, or at the picture's own size when that is smaller."""
    light: Light
    """Of the whole picture."""
    figure: Light
    """Of the face alone, so that the ground does not count; of the middle when no face was found."""
    ground: tuple[float, float, float]
    """Lab colour of what is behind."""
    is_plain_ground: bool
    is_drawn: bool
    """Large areas of exactly one colour, as in vector and cel drawings."""
    faces: tuple[Face, ...] | None
    figure_embedding: Array | None
    """Of the head, or of the whole picture when no face was found."""
    hues: Array
    """Shares of the head's colours, in 6 × 8 × 8 steps of L, a and b."""
    fingerprint: Array

    @property
    def face(self) -> Face | None:
        """The largest face."""
        return self.faces[0] if self.faces else None

    def edge_px(self, native_px: int) -> float | None:
        """Width of the sharper edges at the size of a base."""
        return self.edge_coarse_px if native_px <= 2 * COARSE_PX else self.edge_fine_px

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        facts = asdict(self)
        for name in ("figure_embedding", "hues", "fingerprint"):
            facts[name] = _packed(getattr(self, name))
        return facts

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Look:
        """What as_json gave. Raises KeyError, TypeError or ValueError for anything else."""
        seen = facts["faces"]
        found = None
        if seen is not None:
            found = tuple(Face(**{**face, "points": tuple(map(tuple, face["points"]))}) for face in seen)
        arrays = {name: _unpacked(facts[name]) for name in ("figure_embedding", "hues", "fingerprint")}
        lights = {name: Light(**{**facts[name], "colour": tuple(facts[name]["colour"])}) for name in _LIGHTS}
        return cls(**{**facts, **arrays, **lights, "faces": found, "ground": tuple(facts["ground"])})


_LIGHTS = ("light", "figure")


def at(picture: Pixels) -> Look:
    """Measure a picture, (H, W, 3) RGB."""
    high, wide = picture.shape[:2]
    working = measures.fitted(picture, FINE_PX)
    coarse = measures.fitted(picture, COARSE_PX)
    found = faces.find(working)
    figure = faces.head_crop(working, found[0]) if found else middle(working)
    face = faces.face_crop(working, found[0]) if found else figure
    return Look(
        width_px=wide,
        height_px=high,
        edge_coarse_px=measures.edge_width_px(coarse),
        edge_fine_px=measures.edge_width_px(working),
        light=measures.light(coarse),
        figure=measures.light(measures.fitted(face, COARSE_PX)),
        ground=measures.ground_colour(picture),
        is_plain_ground=measures.is_plain_ground(picture),
        is_drawn=_is_drawn(coarse),
        faces=None if found is None else tuple(found),
        figure_embedding=embedding.embed(figure),
        hues=hues(measures.fitted(figure, COARSE_PX)),
        fingerprint=measures.fingerprint(picture),
    )


def read(file: Path) -> Pixels:
    """The pixels of a clean picture: one that the studio itself has written, as nothing here guards itself."""
    with Image.open(file, formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


def middle(picture: Pixels) -> Pixels:
    """Where the figure most likely is when no face was found."""
    high, wide = picture.shape[:2]
    return picture[high // 6 :, wide // 5 : wide - wide // 5]


def _is_drawn(picture: Pixels) -> bool:
    # In a photo hardly any two neighbours are equal; in a drawing most are, even after JPEG at good quality.
    steps = np.abs(np.diff(picture.astype(np.int16), axis=1)).max(axis=2)
    return bool((steps <= 2).mean() > _FLAT_COLOURS)


def hues(picture: Pixels) -> Array:
    """Shares of the colours, in 6 × 8 × 8 steps of L, a and b."""
    lab = measures.lab(picture).reshape(-1, 3)
    ranges = [(0, 100.01), (-90, 90), (-90, 90)]
    counts, _ = np.histogramdd(lab, bins=_HUES, range=ranges)
    return np.asarray(counts.ravel() / max(len(lab), 1), np.float32)


def _packed(values: Array | None) -> dict[str, Any] | None:
    if values is None:
        return None
    half = values.astype("<f2")
    return {"shape": list(half.shape), "f16": base64.b64encode(half.tobytes()).decode()}


def _unpacked(packed: dict[str, Any] | None) -> Array | None:
    if packed is None:
        return None
    raw = base64.b64decode(packed["f16"], validate=True)
    return np.frombuffer(raw, "<f2").reshape(packed["shape"]).astype(np.float32)
