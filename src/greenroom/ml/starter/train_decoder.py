"""Trains the decoder half of the starter's autoencoder: from latents back to clean drawings. Resumable.

    python -m greenroom.ml.starter.train_decoder --run runs/starter/decoder --data runs/starter/data --samples 60000

The encoder is fixed, so this needs nothing from the denoiser and the denoiser nothing from it. The decoder starts as
the exact inverse of the components; it learns on whole pictures, so that their edges are learned too, and from
latents as a denoiser makes them: with errors, and with faint details. Stop it at any time; the same command goes on.

Shape letters: B batch, H W pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import AdamW, Optimizer

from greenroom.ml.starter import codec
from greenroom.ml.starter.data import read_attributes
from greenroom.ml.starter.optimizer import Muon

SHEET_PICTURES = 12


def loss(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Root mean square error of each picture, and absolute error of the gradients so that lines stay lines.

    The root weighs easy and hard pictures alike, nearly as a mean of decibels does. A scalar.
    """
    error = (drawn - wanted).square().flatten(1).mean(1).add(1e-5).sqrt().mean()
    across = (drawn.diff(dim=3) - wanted.diff(dim=3)).abs().mean()
    down = (drawn.diff(dim=2) - wanted.diff(dim=2)).abs().mean()
    return error + 0.2 * (across + down)


def psnr(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in dB, (B,); both (B, 3, H, W) in [-1, 1]."""
    error = (drawn.clamp(-1, 1) - wanted).square().flatten(1).mean(1).clamp_min(1e-8)
    return 10 * torch.log10(4 / error)


def worn(latents: Tensor, noise: float, rng: torch.Generator) -> Tensor:
    """Latents as a denoiser might have made them: noise of at most this deviation, and in half of the pictures fainter
    details, the more so the weaker the component. Learning from these, the decoder draws clean lines all the same.
    """
    count, channels = latents.shape[:2]
    amount = noise * torch.rand(count, 1, 1, 1, generator=rng).square()
    lost = torch.rand(count, 1, 1, 1, generator=rng) * (torch.rand(count, 1, 1, 1, generator=rng) < 0.5)
    kept = 1 - lost * torch.linspace(0, 1, channels).view(1, -1, 1, 1)
    errors = amount * torch.randn(latents.shape, generator=rng)
    return latents * kept.to(latents.device) + errors.to(latents.device)


class Renders:
    """Every rendered picture; the first shard's end is held out to measure on."""

    def __init__(self, data: Path, focus: list[str]) -> None:
        """`focus`: styles that half of each batch is taken from; empty for none."""
        paths = sorted(data.glob("shard-*.npy"))
        self.shards = [np.load(path, mmap_mode="r") for path in paths]
        styles = [[each.style for each in read_attributes(path.with_suffix(".jsonl"))] for path in paths]
        self.held = min(200, len(styles[0]) // 5)
        self.held_styles = styles[0][-self.held :]
        del styles[0][-self.held :]
        self.all = [(shard, row) for shard, rows in enumerate(styles) for row in range(len(rows))]
        self.focus = [place for place in self.all if styles[place[0]][place[1]] in focus] or self.all

    def batch(self, step: int, size: int, seed: int) -> Tensor:
        """The step's pictures, (size, 3, H, W) in [-1, 1]; the same for the same step and seed."""
        rng = np.random.default_rng((seed, step))
        among = [self.focus if i % 2 else self.all for i in range(size)]
        chosen = [places[int(rng.integers(0, len(places)))] for places in among]
        pictures = np.stack([self.shards[shard][row] for shard, row in chosen])
        flipped = rng.random(size) < 0.5
        pictures[flipped] = pictures[flipped][:, :, ::-1]
        return codec.to_pixels(pictures)

    def held_out(self) -> Tensor:
        return codec.to_pixels(self.shards[0][-self.held :])


def train(args: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    vae: Any = codec.build(*codec.components(args.data)).to(device)
    vae.decoder.requires_grad_(True)
    weights = dict(vae.decoder.named_parameters())
    averaged = {name: weight.detach().clone() for name, weight in weights.items()}
    muon = Muon([p for p in weights.values() if p.ndim == 4], lr=args.lr)
    adam = AdamW([p for p in weights.values() if p.ndim != 4], lr=args.lr, weight_decay=0.0)
    step = _restore(args.run, weights, averaged, {"muon": muon, "adam": adam})

    renders = Renders(args.data, [each for each in args.focus.split(",") if each])
    steps = args.samples // args.batch
    saved, window = time.monotonic(), []
    if step == 0:
        _check(args.run, vae, averaged, renders, step)
    while step < steps:
        wanted = renders.batch(step, args.batch, args.seed).to(device)
        rng = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        with torch.no_grad():
            latents = vae.encode(wanted, return_dict=False)[0]
            latents = worn(latents, args.noise, rng)
        value = loss(vae.decode(latents, return_dict=False)[0], wanted)
        rate = min(1.0, (step + 1) / args.warmup) * min(1.0, (steps - step) / (args.decay * steps))
        for optimizer in (muon, adam):
            optimizer.param_groups[0]["lr"] = args.lr * rate
            optimizer.zero_grad(set_to_none=True)
        value.backward()
        muon.step()
        adam.step()
        step += 1
        keep = min(args.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.values()), list(weights.values()), 1 - keep)
        window.append(value.item())
        if step == steps or time.monotonic() - saved > args.save_minutes * 60:
            _save(args.run, weights, averaged, {"muon": muon, "adam": adam}, step)
            figures = _check(args.run, vae, averaged, renders, step)
            seconds = (time.monotonic() - saved) / len(window)
            _log(args.run, step=step, loss=sum(window) / len(window), seconds_a_step=seconds, **figures)
            saved, window = time.monotonic(), []


@torch.no_grad()
def _check(run: Path, vae: Any, averaged: dict[str, Tensor], renders: Renders, step: int) -> dict[str, float]:
    """PSNR of the averaged decoder on held-out pictures by style, and a sheet of wanted over drawn."""
    current = {name: weight.detach().clone() for name, weight in vae.decoder.named_parameters()}
    vae.decoder.load_state_dict(averaged, strict=False)
    # NOTE: the file has the norms' fixed statistics too, so that it loads strictly.
    tensors = {k: v.detach().cpu().contiguous() for k, v in vae.decoder.state_dict().items()}
    save_file(tensors, run / "decoder.part")
    os.replace(run / "decoder.part", run / "decoder.safetensors")
    wanted = renders.held_out()
    parts = wanted.to(vae.device).split(20)
    drawn = torch.cat([vae.decode(vae.encode(p).latent).sample.clamp(-1, 1).cpu() for p in parts])
    vae.decoder.load_state_dict(current, strict=False)

    reached = psnr(drawn, wanted)
    styles = np.array(renders.held_styles)
    figures = {style: float(reached[torch.tensor(styles == style)].mean()) for style in sorted(set(styles))}
    n = min(SHEET_PICTURES, len(wanted))
    rows = [torch.cat(list(each[:n]), dim=2) for each in (wanted, drawn)]
    array = torch.cat(rows, dim=1).add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
    (run / "sheets").mkdir(exist_ok=True)
    Image.fromarray(array).save(run / "sheets" / f"{step:07d}.png")
    return {"psnr_db": float(reached.mean())} | figures


def _save(
    run: Path,
    weights: dict[str, Tensor],
    averaged: dict[str, Tensor],
    optimizers: dict[str, Optimizer],
    step: int,
) -> None:
    tensors = {f"model/{k}": v.detach() for k, v in weights.items()}
    tensors |= {f"ema/{k}": v for k, v in averaged.items()}
    for prefix, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{prefix}/{index}/{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors["step"] = torch.tensor(step)
    save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, run / "state.part")
    os.replace(run / "state.part", run / "state.safetensors")


def _restore(
    run: Path, weights: dict[str, Tensor], averaged: dict[str, Tensor], optimizers: dict[str, Optimizer]
) -> int:
    """Bring everything to where the last save left it; returns the step."""
    if not (run / "state.safetensors").exists():
        return 0
    tensors = load_file(run / "state.safetensors")
    with torch.no_grad():
        for prefix, group in (("model", weights), ("ema", averaged)):
            for name, weight in group.items():
                weight.copy_(tensors[f"{prefix}/{name}"])
    for prefix, optimizer in optimizers.items():
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix + "/"):
                _, index, name = key.split("/")
                states.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    return int(tensors["step"])


def _log(run: Path, **values: float) -> None:
    line = json.dumps({name: round(value, 4) for name, value in values.items()})
    print(line, flush=True)
    with (run / "log.jsonl").open("a") as file:
        file.write(line + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="greenroom.ml.starter.train_decoder", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=60_000, help="pictures to see in all")
    parser.add_argument("--decay", type=float, default=0.4, help="share at the end with a falling rate")
    parser.add_argument("--focus", default="", help="styles that get half of each batch, with commas")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=50, help="steps")
    parser.add_argument("--noise", type=float, default=0.25, help="largest deviation of noise on latents")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--save-minutes", type=float, default=4)
    train(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
