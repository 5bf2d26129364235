"""What of a picture tells one actor from another, in the little time that there is between two training steps.

A part of what look.py measures: no mesh, no light, no sharpness. Knows pixels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenroom.vision import embedding, faces, look, measures
from greenroom.vision.faces import Pixels
from greenroom.vision.tensors import Array


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One picture, seen with an eye on who it shows."""

    head: Array
    """(1280,) embedding of the head; of the middle when no face was found."""
    whole: Array
    """(1280,) embedding of the whole picture."""
    hues: Array
    """Shares of the head's colours, as in look.Look."""
    fingerprint: Array
    has_face: bool


def of(pictures: Sequence[Pixels]) -> list[Figure] | None:
    """Look at pictures, each (H, W, 3) RGB; None when the weights are not there."""
    crops, have_faces = [], []
    for picture in pictures:
        found = faces.find(picture, with_mesh=False)
        if found is None:
            return None
        crops.append(faces.head_crop(picture, found[0]) if found else look.middle(picture))
        have_faces.append(bool(found))
    heads, whole = embedding.embed_all(crops), embedding.embed_all(pictures)
    if heads is None or whole is None:
        return None
    return [
        Figure(
            head=heads[at],
            whole=whole[at],
            hues=look.hues(measures.fitted(crop, look.COARSE_PX)),
            fingerprint=measures.fingerprint(picture),
            has_face=has_face,
        )
        for at, (picture, crop, has_face) in enumerate(zip(pictures, crops, have_faces, strict=True))
    ]


def alike(one: Sequence[Figure], other: Sequence[Figure], centre: Array) -> Array:
    """Likeness of each figure with each, (N, M), 1 for the same picture.

    centre: (1280,) the embedding of the usual head of such pictures. What all of them have in common says nothing
    about who they show, and without taking it out every two drawings are alike.
    """
    heads = _unit(np.stack([figure.head for figure in one]) - centre)
    others = _unit(np.stack([figure.head for figure in other]) - centre)
    colours = np.sqrt(np.stack([figure.hues for figure in one]))
    other_colours = np.sqrt(np.stack([figure.hues for figure in other]))
    both: Array = (heads @ others.T + colours @ other_colours.T) / 2
    return both


def similar(one: Array, other: Array) -> Array:
    """Cosine of each row with each, (N, M)."""
    both: Array = _unit(one) @ _unit(other).T
    return both


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)
