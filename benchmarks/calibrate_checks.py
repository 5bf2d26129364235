"""Measures how well the advice on pictures finds faults that were planted in sets of drawn characters.

    python benchmarks/calibrate_checks.py --sets 24 --first-seed 1000

Each set is ten pictures of one character. One fault is planted at a time, in one picture; the advice must name
that picture with the right code (recall), and no other one with that code (precision). Nothing is trained.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
import resvg_py
from PIL import Image

from greenroom.ml.starter import data, places
from greenroom.studio import advice
from greenroom.studio.advice import Seen
from greenroom.vision import look
from greenroom.vision.faces import Pixels
from greenroom.vision.look import Look

STYLES = ("adventurer", "toon-head", "micah", "personas", "big-smile", "critters")
PICTURES = 10
NATIVE_PX = 256
_SEPIA = np.array([[0.393, 0.349, 0.272], [0.769, 0.686, 0.534], [0.189, 0.168, 0.131]])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A set with one planted fault."""

    fault: str
    code: str
    looks: list[Look]
    planted: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a fault was found."""

    fault: str
    code: str
    cases: int
    found: int
    false: int

    @property
    def recall(self) -> float:
        return self.found / max(self.cases, 1)

    @property
    def precision(self) -> float:
        return self.found / max(self.found + self.false, 1)


def blurred(picture: Pixels, rng: Random) -> Pixels:
    return _bytes(cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.6, 3)))


def enlarged(picture: Pixels, rng: Random) -> Pixels:
    side = rng.randrange(64, 86)
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return _bytes(cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC))


def darkened(picture: Pixels, rng: Random) -> Pixels:
    return _bytes(picture * rng.uniform(0.2, 0.4))


def hazy(picture: Pixels, rng: Random) -> Pixels:
    return _bytes(picture + rng.uniform(90, 130))


def filtered(picture: Pixels, _rng: Random) -> Pixels:
    return _bytes(picture @ _SEPIA)


def warmed(picture: Pixels, rng: Random) -> Pixels:
    return _bytes(picture * np.array([1.0, rng.uniform(0.75, 0.85), rng.uniform(0.4, 0.6)]))


def copied(picture: Pixels, rng: Random) -> Pixels:
    """Cropped by a few pixels, scaled back and saved as a poor JPEG."""
    cut = rng.randrange(2, 5)
    crop = cv2.resize(picture[cut:-cut, cut:-cut], (256, 256), interpolation=cv2.INTER_AREA)
    out = io.BytesIO()
    Image.fromarray(_bytes(crop)).save(out, "JPEG", quality=rng.randrange(60, 90))
    return np.asarray(Image.open(out).convert("RGB"))


CHANGES: dict[str, tuple[str, Callable[[Pixels, Random], Pixels]]] = {
    "blur, sigma 1.6 to 3 px": ("blurred", blurred),
    "enlarged from 64 to 85 px": ("blurred", enlarged),
    "darkened to 20 to 40 %": ("too_dark", darkened),
    "haze of 90 to 130 of 255": ("too_bright", hazy),
    "sepia filter": ("filtered", filtered),
    "warm cast": ("odd_colours", warmed),
}


def cases(seed: int) -> Iterator[Case]:
    """Every fault planted in the set of this seed, and whole sets that are at fault."""
    rng = Random(f"calibrate/{seed}")
    style = STYLES[seed % len(STYLES)]
    has_face = style != "critters"
    someone = data.sample_identity(rng, [style])
    pictures = [_drawn(rng, someone) for _ in range(PICTURES)]
    looks = [look.at(picture) for picture in pictures]
    for fault, (code, change) in CHANGES.items():
        at = rng.randrange(PICTURES)
        changed = look.at(change(pictures[at], rng))
        yield Case(fault=fault, code=code, looks=[*looks[:at], changed, *looks[at + 1 :]], planted=at)
    added = {
        "copy, cropped and saved anew": ("near_duplicate", copied(rng.choice(pictures), rng)),
        "another character of the same style": ("other_character", _stranger(rng, someone, style)),
    }
    if has_face:
        two = np.concatenate([pictures[0], _stranger(rng, someone, style)], axis=1)
        added["two people side by side"] = ("several_faces", two)
        added["a landscape without anybody"] = ("no_face", _landscape(rng))
    for fault, (code, picture) in added.items():
        yield Case(fault=fault, code=code, looks=[*looks, look.at(picture)], planted=PICTURES)
    crowd = [look.at(_stranger(rng, someone, style)) for _ in range(PICTURES)]
    yield Case(fault="ten characters of one style", code="many_characters", looks=crowd, planted=-1)
    yield Case(fault="(one character, nothing planted)", code="many_characters", looks=looks, planted=-2)


def score(found: list[Case]) -> list[Score]:
    """Recall and precision of each fault over all cases; a set-wide one is false on a set without a fault."""
    scores = []
    for fault in dict.fromkeys(case.fault for case in found if case.planted != -2):
        mine = [case for case in found if case.fault == fault]
        code, hits, false = mine[0].code, 0, 0
        for case in mine:
            names = _named(case, code)
            hit = None if case.planted == -1 else str(case.planted)
            hits += hit in names
            false += len(names - {hit})
        if mine[0].planted == -1:
            false += sum(bool(_named(case, code)) for case in found if case.planted == -2)
        scores.append(Score(fault=fault, code=code, cases=len(mine), found=hits, false=false))
    return scores


def _named(case: Case, code: str) -> set[str | None]:
    seen = [Seen(name=str(index), look=one) for index, one in enumerate(case.looks)]
    findings = advice.on(seen, kind="character", native_px=NATIVE_PX)
    return {finding.picture for finding in findings if finding.code == code}


def _drawn(rng: Random, someone: data.Identity) -> Pixels:
    return data.render(someone, data.sample_scene(rng, someone, held_out=None))


def _stranger(rng: Random, someone: data.Identity, style: str) -> Pixels:
    while True:
        other = data.sample_identity(rng, [style])
        if other.words != someone.words:
            return _drawn(rng, other)


def _landscape(rng: Random) -> Pixels:
    side = places.SIZE
    drawing = places.draw(rng.choice(sorted(places.SCENES)), rng.randrange(1 << 16))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">{drawing}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=256, height=256, skip_system_fonts=True))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _bytes(values: object) -> Pixels:
    return np.asarray(np.clip(np.asarray(values), 0, 255), np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=24)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    found: list[Case] = []
    for number in range(given.sets):
        found += cases(given.first_seed + number)
        sys.stderr.write(f"\r{number + 1}/{given.sets} sets ")
        sys.stderr.flush()
    scores = score(found)
    print("\n| planted | finding | cases | recall | precision |\n|-|-|-|-|-|")
    for row in scores:
        print(f"| {row.fault} | `{row.code}` | {row.cases} | {row.recall:.2f} | {row.precision:.2f} |")
    if given.json:
        rows = [{**row.__dict__, "recall": row.recall, "precision": row.precision} for row in scores]
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
