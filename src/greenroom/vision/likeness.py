"""How alike the figures of a set are: which picture stands apart, and whether it is one character at all.

Adds two likenesses, of the embedding and of the colours, since a drawn character keeps its colours when its
face and place change, while the embedding alone confuses characters of one style. Approximate, and for people
on photos more so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenroom.vision.look import Look
from greenroom.vision.tensors import Array

_EMBEDDING_WEIGHT = 2.0
_LEAST_SPREAD = 0.02


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How far one picture stands from the others of its set."""

    spreads: float
    """In units of the set's own usual deviation, negative when it is nearer than usual."""
    drop: float
    """In likeness, of which a picture has 3 with itself."""


def between(looks: Sequence[Look]) -> Array | None:
    """Likeness of each figure with each, (N, N), at most 3; None when the embedding was not measured."""
    vectors = [look.figure_embedding for look in looks]
    if not vectors or any(vector is None for vector in vectors):
        return None
    stacked = np.stack([vector for vector in vectors if vector is not None])
    unit = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-9)
    hues = np.sqrt(np.stack([look.hues for look in looks]))
    together: Array = _EMBEDDING_WEIGHT * (unit @ unit.T) + hues @ hues.T
    return together


def apart(looks: Sequence[Look]) -> list[Apart] | None:
    """How far each picture stands from the others; None when it was not measured or they are fewer than 3."""
    usual = _to_others(looks)
    if usual is None:
        return None
    drop = np.median(usual) - usual
    spread = np.median(np.abs(drop)) + _LEAST_SPREAD
    return [Apart(spreads=float(one / spread), drop=float(one)) for one in drop]


def cohesion(looks: Sequence[Look]) -> float | None:
    """The set's usual likeness between two of its pictures; None when it was not measured."""
    usual = _to_others(looks)
    return None if usual is None else float(np.median(usual))


def _to_others(looks: Sequence[Look]) -> Array | None:
    """Each picture's usual likeness to the others: the median, which a few strangers do not move."""
    together = between(looks)
    if together is None or len(looks) < 3:
        return None
    np.fill_diagonal(together, np.nan)
    return np.asarray(np.nanmedian(together, axis=1), np.float32)
