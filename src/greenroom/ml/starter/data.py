"""Makes the starter's pretraining set: drawn characters with known attributes, rendered from seeds.

    python -m greenroom.ml.starter.data --out runs/starter/data --count 10000 --shard 0 --styles narrow

Each shard is an array of pictures and a file of their attributes; captions are made from those, fresh at each
use. Characters and scenes that are held out never stand in a shard. Knows nothing about networks.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from greenroom.ml.starter.captions import Attributes, caption
from greenroom.ml.starter.characters import (
    Identity,
    Scene,
    attributes,
    expressions_of,
    is_held_out,
    is_held_out_pair,
    sample_identity,
    sample_scene,
)
from greenroom.ml.starter.drawing import Pixels, render
from greenroom.ml.starter.styles import NARROW, STYLES

__all__ = [
    "DATA_VERSION",
    "NARROW",
    "STYLES",
    "Attributes",
    "Identity",
    "Pixels",
    "Scene",
    "attributes",
    "caption",
    "draw_one",
    "expressions_of",
    "is_held_out",
    "is_held_out_pair",
    "read_attributes",
    "render",
    "sample_identity",
    "sample_scene",
    "sample_set",
    "write_shard",
    "write_sheet",
]
_Job = tuple[int, int, int, int, tuple[str, ...], bool]  # seed, shard, index, size_px, among, steady
DATA_VERSION = 4  # raise it whenever a seed would give other pictures or other attributes


def sample_set(identity: Identity, n: int, seed: int, *, steady: bool = False) -> list[tuple[Pixels, str]]:
    """n varied pictures of one character with full captions, for personalisation."""
    rng = Random(f"set/{seed}")
    faces = list(expressions_of(identity))
    pairs: list[tuple[Pixels, str]] = []
    for i in range(n):
        scene = sample_scene(rng, identity, steady=steady)
        while i < len(faces) and scene.expression != faces[i]:
            scene = sample_scene(rng, identity, steady=steady)
        text = ""
        while not text:
            text = caption(attributes(identity, scene), rng)
        pairs.append((render(identity, scene), text))
    return pairs


def write_shard(
    out: Path,
    shard: int,
    *,
    count: int,
    seed: int = 0,
    size_px: int = 256,
    among: Sequence[str] = NARROW,
    steady: bool = False,
    processes: int = 1,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Render `count` pictures to shard-NNNN.npy (N, H, W, 3), and a line each to shard-NNNN.jsonl.

    The same (seed, shard, among, steady) gives the same bytes whatever the number of processes.
    """
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"shard-{shard:04d}.npy"
    staged, staged_lines = target.with_suffix(".npy.part"), target.with_suffix(".jsonl.part")
    pixels = np.lib.format.open_memmap(staged, mode="w+", dtype=np.uint8, shape=(count, size_px, size_px, 3))
    lines = []
    jobs = [(seed, shard, index, size_px, tuple(among), steady) for index in range(count)]
    made = _pictures(jobs, processes)
    for i, (picture, described) in enumerate(made):
        pixels[i] = picture
        lines.append(json.dumps({k: v for k, v in asdict(described).items() if v is not None}))
        if (i + 1) % 100 == 0 or i + 1 == count:
            on_progress(i + 1)
    pixels.flush()
    del pixels
    staged_lines.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(staged_lines, target.with_suffix(".jsonl"))
    os.replace(staged, target)
    return target


def read_attributes(path: Path) -> list[Attributes]:
    """The attributes of a shard's .jsonl, in the order of its pictures."""
    return [Attributes(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def draw_one(
    seed: int, shard: int, index: int, among: Sequence[str] = NARROW, *, steady: bool = False
) -> tuple[Identity, Scene]:
    """What stands at this index of this shard."""
    rng = Random(f"{DATA_VERSION}/{seed}/{shard}/{index}")
    identity = sample_identity(rng, among)
    return identity, sample_scene(rng, identity, steady=steady)


def write_sheet(
    path: Path,
    *,
    seed: int,
    among: Sequence[str],
    steady: bool = False,
    columns: int = 8,
    rows: int = 6,
    cell_px: int = 192,
) -> None:
    """A labelled sheet of random pictures with captions, for a person to look at."""
    line_px = 12
    sheet = Image.new("RGB", (columns * cell_px, rows * (cell_px + 4 * line_px)), "white")
    pen = ImageDraw.Draw(sheet)
    for i in range(columns * rows):
        identity, scene = draw_one(seed, 9999, i, among, steady=steady)
        x, y = (i % columns) * cell_px, (i // columns) * (cell_px + 4 * line_px)
        sheet.paste(Image.fromarray(render(identity, scene, cell_px)), (x, y))
        words = caption(attributes(identity, scene), Random(i)) or "(empty)"
        pen.multiline_text((x + 2, y + cell_px), _wrapped(words, 34), fill="black", spacing=0, font_size=10)
    sheet.save(path)


def _pictures(jobs: list[_Job], processes: int) -> Iterable[tuple[Pixels, Attributes]]:
    if processes <= 1:
        yield from map(_picture, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(_picture, jobs, chunksize=32)


def _picture(job: _Job) -> tuple[Pixels, Attributes]:
    seed, shard, index, size_px, among, steady = job
    identity, scene = draw_one(seed, shard, index, among, steady=steady)
    return render(identity, scene, size_px), attributes(identity, scene)


def _wrapped(words: str, width: int) -> str:
    lines, line = [], ""
    for word in words.split():
        if len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="greenroom.ml.starter.data", description="Render the starter's training set."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/starter/data"))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--styles", default="narrow", help="narrow, all, or names with commas")
    parser.add_argument(
        "--steady", action="store_true", help="every figure in the middle, upright, at one size"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="write a labelled contact sheet here instead of a shard")
    given = parser.parse_args(arguments)
    named = {"narrow": NARROW, "all": tuple(STYLES)}
    among = named.get(given.styles) or tuple(given.styles.split(","))
    if unknown := [name for name in among if name not in STYLES]:
        parser.error(f"no style called {', '.join(unknown)}; there are {', '.join(STYLES)}")
    if given.sheet:
        write_sheet(given.sheet, seed=given.seed, among=among, steady=given.steady)
        return 0
    began = time.monotonic()

    def show(done: int) -> None:
        pace = (time.monotonic() - began) / done
        left = pace * (given.count - done)
        sys.stderr.write(
            f"\rshard {given.shard}: {done}/{given.count}, {pace * 1000:.1f} ms each, {left:.0f} s left "
        )
        sys.stderr.flush()

    path = write_shard(
        given.out,
        given.shard,
        count=given.count,
        seed=given.seed,
        size_px=given.size,
        among=among,
        steady=given.steady,
        processes=given.processes,
        on_progress=show,
    )
    sys.stderr.write(f"\n{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
