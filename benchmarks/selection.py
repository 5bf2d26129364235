"""Whether the checkpoint that Greenroom chooses is as good as the last one, and what ending early saves.

    python -m greenroom.ml.starter.data --out runs/starter/steady --count 2000 --shard 0 --styles toon-head --steady
    python benchmarks/selection.py --data runs/starter/steady --run runs/selection [--characters 8] [--seeds 3]

Trains characters that the starter never saw, each with several seeds, to the whole of the budget. Told is the
checkpoint that is chosen from all of them, and the one that is chosen where the training would have ended by
itself. Both and the last one draw new scenes, and are compared by a network that the choice knows nothing of: the
starter's judge, which learned hair, skin, faces and places from drawings.

- likeness: in each scene, what sets a picture apart from true drawings of all characters there, against what sets
  the true drawing of its own character apart (cosine of the judge's features). 1 is the true drawing itself.
- adherence: per cent of pictures whose expression and background the judge reads as the prompt says.

What is finished is kept in the run's folder and not done again; the table tells how many runs it is of.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenroom.ml import measure, select
from greenroom.ml.families.starter.card import CARD
from greenroom.ml.starter import codec, personalise
from greenroom.ml.starter.data import attributes, render
from greenroom.ml.starter.judge import Judge, learn
from greenroom.ml.starter.personalise import Character
from greenroom.ml.warm import WarmBase

CHECKOUT = Path(__file__).parents[1]
STARTER = CHECKOUT / "src" / "greenroom" / "ml" / "starter" / "weights"
STYLES = ("toon-head",)
JUDGED = ("expression", "background")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One training: steps of its checkpoints, and what the judge says of their pictures."""

    chosen: int
    early: int
    """The choice where the training would have ended by itself."""
    ended: int
    """Where that is."""
    last: int
    likeness: dict[int, float]
    adherence: dict[int, float]


def main() -> None:
    """Train, draw, judge, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="renders the judge learns from")
    parser.add_argument("--run", type=Path, required=True, help="folder for what is trained and drawn")
    parser.add_argument("--judge", type=Path, help="a judge that has learned; else one in the run's folder")
    parser.add_argument("--characters", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=6, help="new ones that each is drawn in")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=40, help="steps from one checkpoint to the next")
    given = parser.parse_args()
    judge = _judge(given.judge or given.run / "judge.safetensors", given.data)
    cast = personalise.characters(STYLES, given.characters, given.scenes, steady=True)
    true = _features(
        judge, [render(one.identity, scene) for who in cast for scene in who.new for one in cast]
    ).reshape(len(cast), given.scenes, len(cast), -1)
    base = WarmBase(CARD.id, STARTER)
    outcomes = []
    # Every character once before the second seed, so that a part of it tells something, too.
    for seed, number in product(range(given.seeds), range(len(cast))):
        folder = given.run / f"{number}-{seed}-{given.steps}-{given.every}"
        outcomes.append(_outcome(base, judge, cast[number], number, true[number], folder, seed, given))
        print(f"{len(outcomes)} of {given.seeds * len(cast)}: {outcomes[-1]}", file=sys.stderr)
        _print(outcomes, given)


def _judge(file: Path, data: Sequence[Path]) -> Judge:
    if file.exists():
        return Judge.load(file)
    print("the judge learns", file=sys.stderr)
    judge = learn(data, STYLES, 25_600, lambda _done, _of: None)
    file.parent.mkdir(parents=True, exist_ok=True)
    judge.save(file)
    return judge


def _outcome(
    base: WarmBase,
    judge: Judge,
    who: Character,
    number: int,
    true: Any,
    folder: Path,
    seed: int,
    given: argparse.Namespace,
) -> Outcome:
    """true: (scenes, characters, D) features of every character's drawing in this one's scenes."""
    kept = given.steps // given.every + 1
    personalise.learn(
        who, folder, STARTER, steps=given.steps, checkpoint_every=given.every, keep_checkpoints=kept, seed=seed,
        measure=True, early_stop=False,
    )  # fmt: skip
    scored = measure.read(folder)
    best = select.choose(scored)
    if best is None:
        raise SystemExit(f"{folder} has no measures: the set cannot be told from the base.")
    seen = next((scored[:at] for at in range(1, len(scored)) if select.is_over(scored[:at])), scored)
    early = select.choose(seen)
    assert early is not None
    last = scored[-1].step
    wanted = [attributes(who.identity, scene) for scene in who.new]
    middle = true.mean(axis=1)
    likeness, adherence = {}, {}
    for step in sorted({best.step, early.step, last}):
        files = [folder / "drawn" / f"{step}-{scene}.png" for scene in range(len(who.new))]
        for scene, file in enumerate(files):
            text = personalise.prompt(who, who.new[scene])
            personalise.draw(
                base, text, file, seed=scene, steps=None, lora=folder / "kept" / f"step-{step:06d}" / "lora.safetensors"
            )  # fmt: skip
        pictures = [personalise.read(file) for file in files]
        apart, own = _features(judge, pictures) - middle, true[:, number] - middle
        likeness[step] = float(np.mean(_cosines(apart, own)))
        answers = judge.right(codec.to_pixels(np.stack(pictures)), wanted)
        adherence[step] = 100 * statistics.mean(one[what] for one in answers for what in JUDGED)
    return Outcome(
        chosen=best.step, early=early.step, ended=seen[-1].step, last=last, likeness=likeness, adherence=adherence
    )  # fmt: skip


@torch.no_grad()
def _features(judge: Judge, pictures: Sequence[Any]) -> Any:
    """(N, D), each number scaled by what is usual for it."""
    rows = []
    for start in range(0, len(pictures), 32):
        some = np.stack([_small(picture) for picture in pictures[start : start + 32]])
        rows.append(judge.network.features(codec.to_pixels(some)).numpy())
    return np.concatenate(rows)


def _small(picture: Any) -> Any:
    """At the judge's size."""
    from PIL import Image

    side = CARD.native_px
    if picture.shape[0] == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))


def _cosines(one: Any, other: Any) -> Any:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / np.maximum(lengths, 1e-9)


def _print(outcomes: Sequence[Outcome], given: argparse.Namespace) -> None:
    print(f"\n{len(outcomes)} trainings of {given.steps} steps, a checkpoint every {given.every}")
    print(f"{'':<24}{'likeness':>10}{'adherence':>11}{'step':>7}")
    for title, key in (("chosen from all", "chosen"), ("chosen, ended early", "early"), ("last", "last")):
        steps = [getattr(one, key) for one in outcomes]
        alike = statistics.mean(one.likeness[step] for one, step in zip(outcomes, steps, strict=True))
        obeys = statistics.mean(one.adherence[step] for one, step in zip(outcomes, steps, strict=True))
        print(f"{title:<24}{alike:>10.3f}{obeys:>10.1f}%{statistics.mean(steps):>7.0f}")
    gains = [one.likeness[one.chosen] - one.likeness[one.last] for one in outcomes]
    others = [gain for one, gain in zip(outcomes, gains, strict=True) if one.chosen != one.last]
    spread = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    saved = 100 * (1 - statistics.mean(one.ended / one.last for one in outcomes))
    print(f"likeness of the chosen less the last: {statistics.mean(gains):+.3f}, standard error {spread:.3f}")
    print(f"another one than the last was chosen in {len(others)}; it was as like or liker in "
          f"{sum(gain >= 0 for gain in others)}")  # fmt: skip
    print(f"steps saved by ending early: {saved:.0f} %", flush=True)
    (given.run / "outcomes.json").write_text(json.dumps([vars(one) for one in outcomes], indent=1))


if __name__ == "__main__":
    main()
