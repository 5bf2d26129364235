"""Trains the decoder half of the starter's autoencoder: from latents back to clean drawings. Resumable.

    python -m greenroom.ml.starter.train_decoder --run runs/starter/decoder --data runs/starter/data --hours 0.5

The encoder is fixed, so this needs nothing from the denoiser and the denoiser nothing from it.

A decoder that enlarges by nearest neighbours must find out by itself where inside a latent cell a pixel lies, which
takes it very long from the picture alone. So while it trains, a linear head after each enlargement has to tell the
pixels that the feature stands for (deep supervision: Lee et al. 2015, arXiv:1409.5185). The heads are dropped later.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from greenroom.ml.starter import codec
from greenroom.ml.starter.optimizer import Muon

MARGIN = 1  # latent cells around a crop that give context and carry no loss


def loss(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Mean square for fidelity, and absolute error of the gradients so that lines stay lines."""
    across = (drawn.diff(dim=3) - wanted.diff(dim=3)).abs().mean()
    down = (drawn.diff(dim=2) - wanted.diff(dim=2)).abs().mean()
    return F.mse_loss(drawn, wanted) + 0.1 * (drawn - wanted).abs().mean() + 0.1 * (across + down)


class Heads(torch.nn.Module):
    """Linear heads that read a stage's features as the pixels under each feature cell; training only."""

    def __init__(self) -> None:
        super().__init__()
        stages = len(codec.DECODER_BLOCKS) - 1
        self.cells = [codec.CELL_PX >> stage for stage in range(1, stages)]
        self.heads = torch.nn.ModuleList(
            torch.nn.Conv2d(codec.DECODER_WIDTH, 3 * cell * cell, 1) for cell in self.cells
        )

    def loss(self, features: list[Tensor], wanted: Tensor) -> Tensor:
        total = torch.zeros((), device=wanted.device)
        for feature, cell, head in zip(features, self.cells, self.heads, strict=True):
            total = total + F.l1_loss(F.pixel_shuffle(head(feature), cell), wanted)
        return total


def decode(decoder: Any, raw: Tensor) -> tuple[Tensor, list[Tensor]]:
    """DecoderTiny's picture, and its features after each enlargement but the last."""
    x, features, is_enlarged = torch.tanh(raw / 3) * 3, [], False
    for layer in decoder.layers:
        x = layer(x)
        if is_enlarged:
            features.append(x)
        is_enlarged = isinstance(layer, torch.nn.Upsample)
    return x.mul(2).sub(1), features[:-1]


def crops(pictures: np.ndarray, cells: int, count: int, rng: np.random.Generator) -> Tensor:
    """`count` random windows of whole latent cells, float (B, 3, s, s) in [-1, 1]."""
    step = pictures.shape[1] * codec.CELL_PX // codec.PICTURE_PX  # pixels of a cell in the renders
    side, last = cells * step, codec.PICTURE_PX // codec.CELL_PX - cells
    out = np.empty((count, side, side, 3), np.uint8)
    for i in range(count):
        row, column = (int(rng.integers(0, last + 1)) * step for _ in range(2))
        out[i] = pictures[int(rng.integers(0, len(pictures))), row : row + side, column : column + side]
    pixels = torch.tensor(out).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return F.interpolate(pixels, size=(cells * codec.CELL_PX,) * 2, mode="area")


def psnr(drawn: Tensor, wanted: Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB; both (B, 3, H, W) in [-1, 1]."""
    error = (drawn.clamp(-1, 1) - wanted).square().flatten(1).mean(1).clamp_min(1e-8)
    return float((10 * torch.log10(4 / error)).mean())


def train(args: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    stored = load_file(args.data / "components.safetensors")
    torch.manual_seed(0)
    vae: Any = codec.build(stored["basis"], stored["mean"]).to(device)
    vae.decoder.requires_grad_(True)
    heads = Heads().to(device)
    kernels = [p for p in vae.decoder.parameters() if p.ndim == 4]
    muon = Muon(kernels, lr=args.lr)
    adam = torch.optim.AdamW(
        [p for p in vae.decoder.parameters() if p.ndim != 4] + list(heads.parameters()),
        lr=args.lr,
        weight_decay=0.0,
    )
    averaged = {k: v.clone() for k, v in vae.decoder.state_dict().items()}
    state = args.run / "state.safetensors"
    step = 0
    if state.exists():
        tensors = load_file(state)
        step = int(tensors["step"])
        vae.decoder.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        averaged = {k[4:]: v.to(device) for k, v in tensors.items() if k.startswith("ema/")}
        # The optimizers begin anew: their memory is a few hundred steps, and the rate rises slowly.

    paths = sorted(args.data.glob("shard-*.npy"))
    shards = [np.load(path, mmap_mode="r") for path in paths]
    held = codec.to_pixels(shards[-1][-32:]).to(device)
    started = saved = time.monotonic()
    done = False
    while not done:
        hours = (time.monotonic() - started) / 3600
        done = hours > args.hours
        rng = np.random.default_rng(step)
        shard = shards[int(rng.integers(0, len(shards)))][:-32]
        wanted = crops(shard, args.cells, args.batch, rng).to(device)
        # Denoised latents are never exact; a little noise teaches the decoder to draw clean lines all the same.
        latents = vae.encode(wanted).latents
        latents = latents + torch.randn_like(latents) * (
            args.noise * torch.rand(len(latents), 1, 1, 1, device=device)
        )
        edge = MARGIN * codec.CELL_PX
        drawn, features = decode(vae.decoder, latents)
        value = loss(drawn[..., edge:-edge, edge:-edge], wanted[..., edge:-edge, edge:-edge])
        value = value + args.guide * max(0.0, 1 - 1.5 * hours / args.hours) * heads.loss(features, wanted)
        rate = min(1.0, (step + 1) / 200) * min(1.0, max(0.05, (args.hours - hours) / (0.3 * args.hours)))
        for optimizer in (muon, adam):
            optimizer.param_groups[0]["lr"] = args.lr * rate
            optimizer.zero_grad(set_to_none=True)
        value.backward()
        muon.step()
        adam.step()
        step += 1
        keep = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, weight in vae.decoder.state_dict().items():
                averaged[name].lerp_(weight, 1 - keep)
        if done or time.monotonic() - saved > args.save_minutes * 60:
            _save(vae, averaged, step, state)
            reached = _check(args, vae, averaged, held, step)
            line = json.dumps(
                {
                    "step": step,
                    "loss": round(value.item(), 5),
                    "psnr_db": round(reached, 2),
                    "hours": round(hours, 3),
                }
            )
            print(line, flush=True)
            with (args.run / "log.jsonl").open("a") as file:
                file.write(line + "\n")
            saved = time.monotonic()


@torch.no_grad()
def _check(args: argparse.Namespace, vae: Any, averaged: dict[str, Tensor], held: Tensor, step: int) -> float:
    """PSNR of the averaged decoder on held-out pictures, and a sheet of wanted over drawn."""
    current = {k: v.clone() for k, v in vae.decoder.state_dict().items()}
    vae.decoder.load_state_dict(averaged)
    save_file({k: v.cpu().contiguous() for k, v in averaged.items()}, args.run / "decoder.part")
    os.replace(args.run / "decoder.part", args.run / "decoder.safetensors")
    drawn = vae.decode(vae.encode(held).latents).sample.clamp(-1, 1)
    vae.decoder.load_state_dict(current)
    rows = torch.cat([torch.cat(list(held[:6]), dim=2), torch.cat(list(drawn[:6]), dim=2)], dim=1)
    array = rows.add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    (args.run / "sheets").mkdir(exist_ok=True)
    Image.fromarray(array).save(args.run / "sheets" / f"{step:07d}.png")
    return psnr(drawn, held)


def _save(vae: Any, averaged: dict[str, Tensor], step: int, path: Path) -> None:
    tensors = {f"model/{k}": v for k, v in vae.decoder.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in averaged.items()}
    tensors["step"] = torch.tensor(step)
    save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="greenroom.ml.starter.train_decoder", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8, help="side of a crop in latent cells")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--noise", type=float, default=0.01, help="largest noise on raw latents")
    parser.add_argument("--guide", type=float, default=0.5, help="weight of the heads' loss at the start")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--save-minutes", type=float, default=3)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
