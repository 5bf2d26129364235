"""Whether prior preservation, face-weighted loss and averaged weights (EMA) help, on the sample actor and the starter.

    python benchmarks/prior_preservation.py [--steps 150] [--seeds 2] [--json FILE]

Each way trains the same pictures with the same seed. Then each draws the actor and, without the trigger, other
people. The table gives, as cosines of a general image embedding:

- likeness: the actor's pictures to the training pictures; higher is better.
- bleed: how much nearer other people come to the training pictures than the base's own; lower is better.
- drift: how far other people move from those that the base draws of the same prompt and seed; lower is better.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from greenroom.vision import embedding
from greenroom.worker import subjects

CHECKOUT = Path(__file__).parents[1]
PICTURES = CHECKOUT / "samples" / "character-juno"
STARTER = CHECKOUT / "src" / "greenroom" / "ml" / "starter" / "weights"
TRIGGER = "JUNO_01"
SIDE_PX = 128
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prior": {"prior_weight": 1.0, "class_noun": "a woman"},
    "face": {"background_weight": 0.3},
    "averaged": {"ema_decay": 0.98},
    "prior and face": {"prior_weight": 1.0, "class_noun": "a woman", "background_weight": 0.3},
}
ACTOR = (
    f"{TRIGGER}, smiling",
    f"{TRIGGER}, surprised, in a city at night",
    f"{TRIGGER}, on a beach",
    TRIGGER,
)
OTHERS = ("a woman, smiling", "a man, on a beach", "a woman, in a city at night", "a child, in the park")

Vectors = npt.NDArray[np.float32]


def main() -> None:
    """Train each way, draw, measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2, help="pictures of each prompt")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), given.steps, given.seeds)
    print(f"{given.steps} steps, {len(ACTOR)} and {len(OTHERS)} prompts, {given.seeds} seeds each")
    print(f"{'':16}{'likeness':>10}{'bleed':>10}{'drift':>10}{'seconds':>10}")
    for way, figures in found.items():
        print(
            f"{way:16}"
            + "".join(f"{figures[key]:10.3f}" for key in ("likeness", "bleed", "drift", "seconds"))
        )
    if given.json:
        given.json.write_text(
            json.dumps({"steps": given.steps, "seeds": given.seeds, "ways": found}, indent=2)
        )


def measure(scratch: Path, steps: int, seeds: int) -> dict[str, dict[str, float]]:
    """The figures of each way."""
    from greenroom.ml.warm import WarmBase

    base = WarmBase("starter", STARTER)
    real = embedded([np.array(Image.open(file).convert("RGB")) for file in sorted(PICTURES.glob("*.png"))])
    untouched = drawn(base, OTHERS, seeds, None)
    found = {}
    for way, changes in WAYS.items():
        lora, seconds = train(scratch / way.replace(" ", "-"), steps, changes)
        others = drawn(base, OTHERS, seeds, lora)
        found[way] = {
            "likeness": nearness(drawn(base, ACTOR, seeds, lora), real),
            "bleed": nearness(others, real) - nearness(untouched, real),
            "drift": float(1 - (others * untouched).sum(axis=1).mean()),
            "seconds": seconds,
        }
        print(f"{way}: done", file=sys.stderr)
    return found


def train(run_dir: Path, steps: int, changes: dict[str, Any]) -> tuple[Path, float]:
    """One run, as the worker lays it out; its LoRA, and how long it took."""
    (run_dir / "pictures").mkdir(parents=True)
    lines = []
    for file in sorted(PICTURES.glob("*.png")):
        shutil.copy(file, run_dir / "pictures" / file.name)
        lines.append(
            {
                "file": f"pictures/{file.name}",
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "caption": f"{TRIGGER}, {file.with_suffix('.txt').read_text().strip()}",
            }
        )
    manifest: dict[str, Any] = {"pictures": lines}
    if changes.get("background_weight", 1.0) < 1:
        manifest = subjects.with_boxes(manifest, run_dir)
        with_box = sum("box" in line for line in manifest["pictures"])
        print(f"a face was found on {with_box} of {len(lines)} pictures", file=sys.stderr)
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    config = {
        "name": "bench", "trigger": TRIGGER, "base_family": "starter", "base_source": str(STARTER),
        "resolution_px": SIDE_PX, "steps": steps, "batch_size": 8, "learning_rate": 1e-3,
        "warmup_steps": min(10, steps // 10), "lr_schedule": "cosine", "rank": 16, "alpha": 16.0,
        "checkpoint_every": steps, "seed": 1, **changes,
    }  # fmt: skip
    (run_dir / "config.json").write_text(json.dumps(config))
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "greenroom.ml.train", str(run_dir)], stdout=subprocess.DEVNULL, check=True
    )
    return run_dir / "export" / "lora.safetensors", round(time.monotonic() - began, 1)


def drawn(base: Any, prompts: tuple[str, ...], seeds: int, lora: Path | None) -> Vectors:
    """Embeddings of the prompts' pictures, (N, D), with the LoRA or with the base alone."""
    from greenroom.ml.config import GenerateConfig, LoraUse
    from greenroom.ml.generate import draw

    base.cast([] if lora is None else [LoraUse(file=str(lora))])
    pictures = []
    for prompt in prompts:
        request = GenerateConfig(
            base_family="starter",
            base_source=str(STARTER),
            prompt=prompt,
            count=seeds,
            seed=7,
            width_px=SIDE_PX,
            height_px=SIDE_PX,
        )
        pictures += [np.array(image) for image in draw(base.family, base.pipe, request, lambda *_: None)]
    return embedded(pictures)


def embedded(pictures: list[npt.NDArray[np.uint8]]) -> Vectors:
    """(N, D) of length 1. Ends the benchmark with a sentence when the embedding model is not there."""
    vectors = [embedding.embed(picture) for picture in pictures]
    if any(vector is None for vector in vectors):
        raise SystemExit("The embedding is not here. Fetch it: greenroom models fetch efficientnet-lite0")
    stacked = np.stack([vector for vector in vectors if vector is not None])
    unit: Vectors = (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32)
    return unit


def nearness(pictures: Vectors, real: Vectors) -> float:
    """Mean cosine between the pictures and the training pictures."""
    return float((pictures @ real.T).mean())


if __name__ == "__main__":
    main()
