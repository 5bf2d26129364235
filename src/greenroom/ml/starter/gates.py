"""Two early checks of a pretraining run, before hours are spent on it: does it learn layout, and does it read?

    python -m greenroom.ml.starter.gates --run runs/starter/base --data runs/starter/data

At pure noise the network knows the caption only, so its error must be below that of a constant picture; and with
the right captions it must be below its error with shuffled ones. Prints one JSON line; exit code 1 when a gate fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from greenroom.ml.starter.train import Shards, read_average

PICTURES = 256
LEVELS = (0.02, 0.3, 0.6)  # t: pure noise, layout, shapes


@torch.no_grad()
def measure(run: Path, data: Path, styles: str) -> dict[str, float]:
    """Mean squared errors of the predicted latents by caption and noise level; fixed pictures and noise."""
    model, tokenizer = read_average(run)
    shards = Shards(data, [each for each in styles.split(",") if each])
    shards.refresh()
    batch = shards.batch(0, PICTURES, 12345, tokenizer)
    x = batch.latents
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    figures = {"constant": float((x - x.mean(0)).square().mean())}
    for level in LEVELS:
        t = torch.full((PICTURES,), level)
        noisy = torch.lerp(noise, x, level)
        for name, shift in (("right", 0), ("shuffled", 1)):
            guess = model(noisy, t, batch.tokens.roll(shift, 0), batch.is_text.roll(shift, 0))
            figures[f"{name} at {level}"] = float((guess - x).square().mean())
    return {name: round(value, 4) for name, value in figures.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="greenroom.ml.starter.gates", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--styles", default="", help="the styles that the run learns, with commas")
    args = parser.parse_args()
    figures = measure(args.run, args.data, args.styles)
    layout = figures[f"right at {LEVELS[0]}"] < 0.9 * figures["constant"]
    reads = figures[f"right at {LEVELS[1]}"] < 0.9 * figures[f"shuffled at {LEVELS[1]}"]
    print(json.dumps(figures | {"learns layout": layout, "reads captions": reads}))
    return 0 if layout and reads else 1


if __name__ == "__main__":
    sys.exit(main())
