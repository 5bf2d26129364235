"""Turns the pictures of a checkpoint into its scores. Pure numbers from what vision saw: draws and keeps nothing.

    likeness    heads of its pictures against pictures of the set that were kept out of the training. 0 is what the
                base reaches without the LoRA (floor), 1 what the set's own pictures reach (ceiling).
    adherence   what varies between its pictures against what varies between the base's: the share of other prompts
                whose pictures are less like it than the base's picture of its own prompt, from the same seed.
    copying     distance to the nearest training picture against that of training pictures among each other.
    drift       how far pictures without the trigger moved, against how far another seed moves them.

Shape letters: N pictures, M other pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenroom.ml import select, trials
from greenroom.ml.select import Scores
from greenroom.vision import figure, measures
from greenroom.vision.figure import Figure

LEAST_ROOM = 0.03
"""Ceiling less floor; nearer than this, likeness says nothing about these pictures."""
SMALLEST_DIFFERENCE = 2.0
"""Of two fingerprints: below this nobody sees one."""
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What every checkpoint of a run is measured against."""

    held: list[Figure]
    """Pictures that likeness is measured against; the whole set where none was kept out."""
    trained: list[Figure]
    is_held_out: bool
    floor: list[Figure]
    """The base's own pictures, shot by shot."""
    base: Array
    """(M, 1280) embeddings of the base's pictures without the trigger."""


def judge(step: int, known: Known, drawn: Sequence[Figure], plain: Array) -> Scores | None:
    """The scores of a checkpoint from its pictures, shot by shot; None when the set cannot be told from the base.

    drawn: all prompts with the first seed, then all with the second. plain: (M, 1280) embeddings of those without the
    trigger.
    """
    heads = [
        one.head for one in {id(one): one for one in (*known.held, *known.trained, *known.floor)}.values()
    ]
    centre = np.mean(np.stack(heads), axis=0)
    floor = float(figure.alike(known.floor, known.held, centre).mean())
    own = figure.alike(known.trained, known.held, centre)
    if not known.is_held_out:
        np.fill_diagonal(own, np.nan)
    ceiling = float(np.nanmean(own))
    if not ceiling - floor > LEAST_ROOM:
        return None
    plain_likeness = figure.alike(drawn, known.held, centre).mean(axis=1)
    likeness = np.clip((plain_likeness - floor) / (ceiling - floor), -1, 1)
    seeds, count = len(trials.SEEDS), len(drawn)
    prompts = count // seeds
    base = _varying([one.whole for one in known.floor])
    adherence = _adherence(_varying([one.whole for one in drawn]), base, prompts)
    copying = _copying(drawn, known.trained)
    floor_whole = np.stack([one.whole for one in known.floor])
    another_seed = _apart(floor_whole[:prompts], floor_whole[prompts : 2 * prompts])
    moved = _apart(plain, known.base)
    drift = min(float(moved.mean() / max(float(another_seed.mean()), 1e-6)), 1.0)
    each = [
        select.combine(float(one), float(two), float(three))
        for one, two, three in zip(likeness, adherence, copying, strict=True)
    ]
    by_prompt = [sum(each[at::prompts]) / seeds for at in range(prompts)]
    score, lower_bound = select.bounded(by_prompt, drift)
    spread = select.standard_error([float(likeness[at::prompts].mean()) for at in range(prompts)])
    facts = {
        "likeness": float(likeness.mean()),
        "likeness_low": float(likeness.mean()) - select.CONFIDENCE * spread,
        "floor": floor,
        "ceiling": ceiling,
        "adherence": float(adherence.mean()),
        "base_adherence": float(_base_adherence(base, prompts).mean()),
        "diversity": _spread(drawn) / max(_spread(known.floor), 1e-6),
        "copying": float(copying.mean()),
        "drift": drift,
        "score": score,
        "lower_bound": lower_bound,
    }
    return Scores(
        step=step,
        pictures=count,
        reference="held out" if known.is_held_out else "set",
        **{name: round(value, 6) for name, value in facts.items()},
    )


def _varying(whole: Sequence[Array]) -> Array:
    """What is left of the embeddings without that which all of them share, such as who is shown."""
    stacked = np.stack(whole)
    return np.asarray(stacked - stacked.mean(axis=0), np.float32)


def _adherence(drawn: Array, base: Array, prompts: int) -> Array:
    """(N,) for each picture the share of the other prompts that it is less like than its own.

    Compared with the base's pictures of its own seed where there are some: what a seed brings along, all of those
    have in common.
    """
    at = np.arange(len(drawn))
    by_seed = figure.similar(drawn, base).reshape(len(drawn), -1, prompts)
    to_prompts = by_seed[at, at // prompts % by_seed.shape[1]]
    own = to_prompts[at, at % prompts][:, None]
    wins = (to_prompts < own).sum(axis=1) + ((to_prompts == own).sum(axis=1) - 1) / 2
    return np.asarray(wins / max(prompts - 1, 1), np.float32)


def _base_adherence(base: Array, prompts: int) -> Array:
    """How telling that is: the base's own pictures of one seed against those of the other."""
    return np.concatenate([
        _adherence(base[:prompts], base[prompts:], prompts),
        _adherence(base[prompts:], base[:prompts], prompts),
    ])  # fmt: skip


def _copying(drawn: Sequence[Figure], trained: Sequence[Figure]) -> Array:
    """(N,) 0 when no training picture is nearer than they are to each other, 1 when it is one of them."""
    prints = [one.fingerprint for one in trained]
    among = [
        min((measures.difference(one, other) for other in prints if other is not one), default=np.inf)
        for one in prints
    ]
    usual = max(float(np.median(among)), SMALLEST_DIFFERENCE)
    nearest = [min(measures.difference(one.fingerprint, other) for other in prints) for one in drawn]
    return np.asarray([1 - min(one / usual, 1) for one in nearest], np.float32)


def _apart(one: Array, other: Array) -> Array:
    """(N,) one less the cosine, pair by pair."""
    return np.asarray(1 - np.diag(figure.similar(one, other)), np.float32)


def _spread(pictures: Sequence[Figure]) -> float:
    """Mean distance of each two."""
    whole = np.stack([one.whole for one in pictures])
    alike = figure.similar(whole, whole)
    count = len(pictures)
    return float((count * count - alike.sum()) / (count * (count - 1)))
