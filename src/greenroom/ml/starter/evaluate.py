"""Measures the starter: reconstruction, obedience to prompts, personalisation, speed. One command, resumable.

    python -m greenroom.ml.starter.evaluate --data runs/starter/data --run runs/starter/evaluation

Prompts and characters are of the side that training never sees. Whatever is finished for these weights is kept in
the run's folder and not done again. Writes results.json and results.md, and prints the table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import greenroom.ml.starter
from greenroom.ml.families.starter.card import CARD
from greenroom.ml.starter import codec, judge, personalise
from greenroom.ml.starter.data import attributes, caption, render, sample_identity, sample_scene
from greenroom.ml.starter.judge import Judge
from greenroom.ml.starter.train_decoder import psnr
from greenroom.ml.warm import WarmBase

PARTS = ("speed", "reconstruction", "adherence", "personalisation")
RENDERS = 200  # held-out drawings, for reconstruction and for the judge's own accuracy
SPEED_PICTURES, SPEED_PROMPT = 4, "a woman with a pink bun, on a yellow background"
Figures = dict[str, Any]


def reconstruction(base: WarmBase, args: argparse.Namespace) -> Figures:
    """PSNR of held-out drawings after encoder and decoder, in all and by style; mean of the pictures' decibels."""
    drawn = judge.held_out(args.styles, args.renders, steady=args.steady)
    reached: dict[str, list[float]] = {}
    for number, (picture, described) in enumerate(drawn):
        again = _again(base, picture[None])
        reached.setdefault(described.style, []).append(float(psnr(again, picture[None])))
        _bar("reconstruction", number + 1, len(drawn))
    every = [value for values in reached.values() for value in values]
    by_style = {style: round(float(np.mean(values)), 2) for style, values in reached.items()}
    return {"psnr_db": round(float(np.mean(every)), 2), "by_style": by_style, "drawings": len(every)}


def adherence(base: WarmBase, args: argparse.Namespace) -> Figures:
    """Per cent of generated pictures in which the judge reads what the prompt asked for."""
    reader, accuracy = _judge(base, args)
    texts, wanted = [], []
    for i in range(args.pictures):
        rng = Random(f"prompt/{i}")
        identity = sample_identity(rng, args.styles, held_out=True)
        scene = sample_scene(rng, identity, held_out=None, steady=args.steady)
        wanted.append(attributes(identity, scene))
        texts.append(caption(wanted[-1], rng, complete=True))
    files = [args.results / "pictures" / f"{i:04d}.png" for i in range(args.pictures)]
    for number, (text, file) in enumerate(zip(texts, files, strict=True)):
        personalise.draw(base, text, file, seed=number, steps=args.steps)
        _bar("adherence", number + 1, args.pictures)
    drawn = codec.to_pixels(np.stack([personalise.read(file) for file in files]))
    return {
        "right": judge.shares(reader.right(drawn, wanted)),
        "pictures": args.pictures,
        **accuracy,
    }


def personalisation(base: WarmBase, args: argparse.Namespace) -> Figures:
    """LoRAs of unseen characters: seconds, per cent matched to the right one, and obedience beside the base's."""
    reader, _ = _judge(base, args)
    cast = personalise.characters(args.styles, args.characters, args.each, steady=args.steady)
    changes = {"steps": args.lora_steps, "warmup_steps": min(10, args.lora_steps - 1)}
    seconds, lora_files, base_files, owners, wanted = [], [], [], [], []
    for number, each in enumerate(cast):
        _bar("personalisation", number, len(cast))
        run_dir = args.results / "actors" / f"{number}-{args.lora_steps}"
        seconds.append(personalise.learn(each, run_dir, args.weights, **changes))
        shown = [attributes(each.identity, scene) for scene in each.new]
        with_lora = [run_dir / "drawn" / f"{i}.png" for i in range(len(each.new))]
        without = [args.results / "base" / f"{number}-{i}.png" for i in range(len(each.new))]
        for i, looks in enumerate(shown):
            full = caption(looks, Random(i), complete=True)
            personalise.draw(base, full, without[i], seed=i, steps=args.steps)
        for i, scene in enumerate(each.new):
            text, lora = personalise.prompt(each, scene), personalise.lora_of(run_dir)
            personalise.draw(base, text, with_lora[i], seed=i, steps=args.steps, lora=lora)
        lora_files += with_lora
        base_files += without
        owners += [number] * len(each.new)
        wanted += shown
    _bar("personalisation", len(cast), len(cast))
    base.forget()
    references = [[render(each.identity, scene) for scene in each.known] for each in cast]
    fresh = [render(each.identity, scene) for each in cast for scene in each.new]
    drawn, plain = ([personalise.read(file) for file in files] for files in (lora_files, base_files))
    kept = ("expression", "background")
    figures: Figures = {
        "characters": len(cast),
        "pictures_each": personalise.PICTURES,
        "lora_steps": args.lora_steps,
        "seconds_at_most": round(max(seconds), 1),
        "matched": round(personalise.matched(drawn, owners, references), 1),
        "matched_of_true_renders": round(personalise.matched(fresh, owners, references), 1),
    }
    for name, pictures in (("right", drawn), ("right_of_base", plain)):
        read = judge.shares(reader.right(codec.to_pixels(np.stack(pictures)), wanted))
        figures[name] = {figure: read[figure] for figure in kept}
    return figures


def speed(base: WarmBase, args: argparse.Namespace) -> Figures:
    """Seconds for four pictures at the card's steps, loaded and warm; the better of two."""
    taken = []
    for turn in range(3):  # the first one warms up
        started = time.monotonic()
        for i in range(SPEED_PICTURES):
            file = args.results / "speed" / f"{turn}-{i}.png"
            file.unlink(missing_ok=True)
            personalise.draw(base, SPEED_PROMPT, file, seed=i, steps=args.steps)
        taken.append(time.monotonic() - started)
        _bar("speed", turn + 1, 3)
    return {
        "seconds": round(min(taken[1:]), 2),
        "pictures": SPEED_PICTURES,
        "steps": args.steps or CARD.default_steps,
        "threads": torch.get_num_threads(),
    }


def table(results: Figures) -> str:
    """The figures as a markdown table."""
    rows = []
    if found := results.get("reconstruction"):
        styles = ", ".join(f"{style} {value}" for style, value in found["by_style"].items())
        rows.append(
            (
                f"reconstruction by encoder and decoder, {found['drawings']} held-out drawings",
                f"{found['psnr_db']} dB PSNR ({styles})",
            )
        )
    if found := results.get("adherence"):
        for name, value in found["right"].items():
            read = found["judge_of_renders"][name]
            rows.append(
                (
                    f"{name} right, {found['pictures']} held-out prompts",
                    f"{value} % (of true renders the judge reads {read} % right)",
                )
            )
    if found := results.get("personalisation"):
        about = (
            f"{found['characters']} unseen, {found['pictures_each']} pictures, {found['lora_steps']} steps"
        )
        rows.append(
            (f"pictures matched to the right character, {about}", f"{found['matched']} % "
             f"(true renders: {found['matched_of_true_renders']} %)")
        )  # fmt: skip
        for name, value in found["right"].items():
            rows.append(
                (f"{name} right with the LoRA", f"{value} % (base: {found['right_of_base'][name]} %)")
            )
        rows.append(("longest LoRA training", f"{found['seconds_at_most']} s"))
    if found := results.get("speed"):
        about = f"{found['pictures']} pictures, {found['steps']} steps, {found['threads']} threads"
        rows.append((about, f"{found['seconds']} s"))
    return "\n".join(["| figure | value |", "|-|-|", *(f"| {name} | {value} |" for name, value in rows)])


def _judge(base: WarmBase, args: argparse.Namespace) -> tuple[Judge, Figures]:
    """The trained judge, and how often it is right about true renders, also after encoder and decoder."""
    learned_from = f"{args.judge_samples} of {args.styles} in {' '.join(map(str, args.data))}"
    path = args.run / f"judge-{hashlib.sha256(learned_from.encode()).hexdigest()[:8]}.safetensors"
    if path.exists():
        reader = Judge.load(path)
    else:
        reader = judge.learn(
            args.data, args.styles, args.judge_samples, lambda done, of: _bar("judge", done, of)
        )
        args.run.mkdir(parents=True, exist_ok=True)
        reader.save(path)
    drawn = judge.held_out(args.styles, args.renders, steady=args.steady)
    pixels, described = torch.stack([picture for picture, _ in drawn]), [each for _, each in drawn]
    again = torch.cat([_again(base, part) for part in pixels.split(16)])
    return reader, {
        "judge_of_renders": judge.shares(reader.right(pixels, described)),
        "judge_after_autoencoder": judge.shares(reader.right(again, described)),
    }


@torch.no_grad()
def _again(base: WarmBase, pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] after the base's encoder and decoder."""
    latents = base.family.encode_pictures(base.pipe, pixels)
    config = base.pipe.vae.config
    raw = latents.to(base.pipe.vae.dtype) / config.scaling_factor + config.shift_factor
    decoded: torch.Tensor = base.pipe.vae.decode(raw, return_dict=False)[0]
    return decoded.float().clamp(-1, 1).cpu()


def _bar(part: str, done: int, of: int) -> None:
    width = 30
    filled = width * done // max(of, 1)
    end = "\n" if done == of else ""
    sys.stderr.write(f"\r{part:16} [{'#' * filled}{'.' * (width - filled)}] {done}/{of} {end}")
    sys.stderr.flush()


def _once(args: argparse.Namespace, part: str, measure: Callable[[], Figures]) -> Figures:
    """What an earlier call has measured in the same way, or else measured now."""
    asked = {
        k: str(v) for k, v in sorted(vars(args).items()) if k not in ("parts", "run", "results", "weights")
    }
    file = args.results / f"{part}.json"
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["asked"] == asked:
            return dict(kept["figures"])
    figures = measure()
    staged = file.with_suffix(".part")
    staged.write_text(json.dumps({"asked": asked, "figures": figures}))
    os.replace(staged, file)
    return figures


def _identity(weights: Path) -> str:
    every = hashlib.sha256()
    for file in sorted(weights.rglob("*")):
        if file.is_file():
            every.update(file.relative_to(weights).as_posix().encode() + file.read_bytes())
    return every.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="greenroom.ml.starter.evaluate", description=__doc__.splitlines()[0]
    )
    shipped = Path(greenroom.ml.starter.__file__).parent / "weights"
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of renders the judge learns from"
    )
    parser.add_argument("--run", type=Path, required=True, help="folder for what is measured")
    parser.add_argument("--weights", type=Path, default=shipped, help="pipeline folder to measure")
    parser.add_argument("--parts", default=",".join(PARTS), help="which to measure, with commas")
    parser.add_argument("--styles", default="toon-head", help="styles the weights have learned, with commas")
    parser.add_argument(
        "--steady", action="store_true", help="figures in the middle, as in data made with --steady"
    )
    parser.add_argument("--pictures", type=int, default=500, help="generated for adherence")
    parser.add_argument("--renders", type=int, default=RENDERS, help="true drawings")
    parser.add_argument(
        "--judge-samples", type=int, default=25_600, help="pictures that the judge learns from"
    )
    parser.add_argument("--characters", type=int, default=8)
    parser.add_argument("--each", type=int, default=6, help="pictures drawn of each character")
    parser.add_argument("--lora-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, help="denoising steps; by default the card's")
    args = parser.parse_args(arguments)
    args.styles = [each for each in args.styles.split(",") if each]
    asked = args.parts.split(",")
    if unknown := set(asked) - set(PARTS):
        parser.error(f"no part called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    manner = f"{args.styles} {args.steady} {args.steps}".encode()
    args.results = args.run / hashlib.sha256(_identity(args.weights).encode() + manner).hexdigest()[:12]
    args.results.mkdir(parents=True, exist_ok=True)
    base = WarmBase(CARD.id, args.weights)
    measures = {
        "speed": speed,
        "reconstruction": reconstruction,
        "adherence": adherence,
        "personalisation": personalisation,
    }
    results = {
        part: _once(args, part, lambda part=part: measures[part](base, args))  # type: ignore[misc]
        for part in PARTS
        if part in asked
    }
    kept = args.results / "results.json"
    if kept.exists():  # of other parts, measured by an earlier call
        results = json.loads(kept.read_text()) | results
    kept.write_text(json.dumps(results, indent=2))
    (args.results / "results.md").write_text(table(results) + "\n")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
