"""Pretrains the starter's denoiser: resumable, on a CPU in the background or on a GPU.

    nice -n 19 python -m greenroom.ml.starter.train --run runs/starter/base --data runs/starter/data --hours 3
    python -m greenroom.ml.starter.train --run runs/starter/gate1 --data runs/starter/data --overfit 64 --hours 0.2

Shards are picked up as they appear. Every few minutes it saves a state (staged, renamed), a log line and a contact
sheet drawn by the stock pipeline. Stop it at any time; the same command goes on. Knows nothing about LoRAs.

Shape letters: B batch, C channels, h w latent cells, T caption tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers import ZImageTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from greenroom.ml.starter import codec, vocabulary
from greenroom.ml.starter.assemble import draw_sheet, pipeline
from greenroom.ml.starter.data import Attributes, caption, read_attributes
from greenroom.ml.starter.forward import denoise
from greenroom.ml.starter.optimizer import Muon

TIME_MEAN, TIME_STD = -0.8, 1.6  # t = sigmoid(normal); wide: colours settle near t = 0.1, lines near 0.9
MIN_NOISE = 0.05


@dataclass(frozen=True, kw_only=True)
class Size:
    """The transformer's shape. 6.4 M parameters by default."""

    width: int = 192
    layers: int = 8
    heads: int = 3
    refiners: int = 1


@dataclass(frozen=True, kw_only=True)
class Batch:
    latents: Tensor  # (B, C, h, w)
    tokens: Tensor  # (B, T) int64
    is_text: Tensor  # (B, T) bool


class Starter(nn.Module):
    """The transformer and its token embedding, which the shipped pipeline keeps in its text encoder."""

    def __init__(self, size: Size, vocabulary_size: int) -> None:
        super().__init__()
        head = size.width // size.heads
        row = head // 8 * 3
        self.embedding = nn.Embedding(vocabulary_size, size.width)
        self.transformer = ZImageTransformer2DModel(
            in_channels=codec.LATENT_CHANNELS,
            dim=size.width,
            n_layers=size.layers,
            n_refiner_layers=size.refiners,
            n_heads=size.heads,
            n_kv_heads=size.heads,
            cap_feat_dim=size.width,
            axes_dims=[head - 2 * row, row, row],
            axes_lens=[1024, 256, 256],
        )
        nn.init.normal_(self.embedding.weight, std=1.0)
        final: Any = self.transformer.all_final_layer["2-1"]
        nn.init.zeros_(final.linear.weight)
        nn.init.zeros_(final.linear.bias)
        nn.init.zeros_(final.adaLN_modulation[1].weight)
        nn.init.zeros_(final.adaLN_modulation[1].bias)
        nn.init.normal_(self.transformer.cap_pad_token, std=0.02)
        for layer in [*self.transformer.noise_refiner, *self.transformer.layers]:
            modulation: Any = layer.adaLN_modulation[0]
            nn.init.zeros_(modulation.weight)
            # Gates start a little open: with zero gates and a zero head no gradient would reach the blocks at all.
            nn.init.constant_(modulation.bias, 0.0)
            modulation.bias.data.view(4, -1)[1::2] = 0.1

    def forward(self, noisy: Tensor, t: Tensor, tokens: Tensor, is_text: Tensor) -> Tensor:
        """The predicted clean latents, (B, C, h, w)."""
        return -denoise(self.transformer, noisy, t, self.embedding(tokens), is_text)


def loss(model: nn.Module, batch: Batch, rng: torch.Generator) -> Tensor:
    """Velocity loss of the clean prediction, float32 scalar. Source: Li & He 2025, arXiv:2511.13720."""
    x = batch.latents
    t = torch.randn(len(x), generator=rng).mul_(TIME_STD).add_(TIME_MEAN).sigmoid_().to(x.device)
    noise = torch.randn(x.shape, generator=rng).to(x.device)
    part = t.view(-1, 1, 1, 1)
    predicted = model(torch.lerp(noise, x, part), t, batch.tokens, batch.is_text).float()
    return ((predicted - x) / (1 - part).clamp_min(MIN_NOISE)).square().mean()


class Shards:
    """Latents and attributes of every shard rendered so far; encodes new ones once and keeps the result."""

    def __init__(self, data: Path, styles: list[str]) -> None:
        self.data, self.styles = data, styles
        self.chosen: list[int] = []  # places of the pictures in the wanted styles
        self.latents: list[np.ndarray] = []
        self.attributes: list[Attributes] = []
        self.names: list[str] = []
        self.basis, self.mean = codec.components(data)
        self.vae = codec.build(self.basis, self.mean)

    def refresh(self) -> None:
        for path in sorted(self.data.glob("shard-*.npy")):
            if path.name in self.names:
                continue
            cached = self.data / "latents" / path.name
            if not cached.exists():
                cached.parent.mkdir(parents=True, exist_ok=True)
                latents = codec.encode(np.load(path, mmap_mode="r"), self.basis, self.mean)
                staged = cached.with_suffix(".part.npy")
                np.save(staged, latents.half().numpy())
                os.replace(staged, cached)
            self.latents.append(np.load(cached, mmap_mode="r"))
            described = read_attributes(path.with_suffix(".jsonl"))
            self.chosen += [
                len(self.attributes) + i
                for i, each in enumerate(described)
                if not self.styles or each.style in self.styles
            ]
            self.attributes += described
            self.names.append(path.name)

    def batch(
        self, step: int, size: int, seed: int, tokenizer: PreTrainedTokenizerFast, overfit: int = 0
    ) -> Batch:
        """The batch of this step; the same for the same (seed, step) and shards."""
        rng = Random(f"{seed}/{step}")
        chosen = [self.chosen[rng.randrange(overfit or len(self.chosen))] for _ in range(size)]
        per_shard = len(self.latents[0])
        latents = np.stack([self.latents[i // per_shard][i % per_shard] for i in chosen])
        captions = [caption(self.attributes[i], Random(i) if overfit else rng) for i in chosen]
        tokens, is_text = tokenize(tokenizer, captions)
        return Batch(latents=torch.from_numpy(latents).float(), tokens=tokens, is_text=is_text)


def tokenize(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> tuple[Tensor, Tensor]:
    """(B, 32) token ids and their mask, with the start token and cut to the length that pretraining sees."""
    encoded = tokenizer(
        [vocabulary.START + text for text in captions],
        padding="max_length",
        max_length=vocabulary.MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    return encoded.input_ids, encoded.attention_mask.bool()


def read_average(run: Path) -> tuple[Starter, PreTrainedTokenizerFast]:
    """The moving average of a run's last saved state, and its tokenizer."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(run / "tokenizer")
    model = Starter(Size(**json.loads((run / "size.json").read_text())), len(tokenizer))
    tensors = load_file(_state_folder(run) / "state.safetensors")
    model.load_state_dict({k.removeprefix("ema/"): v for k, v in tensors.items() if k.startswith("ema/")})
    return model.eval().requires_grad_(False), tokenizer


def train(args: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(args.threads)
    run: Path = args.run
    run.mkdir(parents=True, exist_ok=True)
    shards = Shards(args.data, [each for each in args.styles.split(",") if each])
    shards.refresh()
    tokenizer = _tokenizer(run, shards)

    torch.manual_seed(args.seed)
    size = Size(width=args.width, layers=args.layers, heads=args.width // 64)
    (run / "size.json").write_text(json.dumps(asdict(size)))
    model, ema = Starter(size, len(tokenizer)).to(device), Starter(size, len(tokenizer)).to(device)
    ema.load_state_dict(model.state_dict())
    hidden = [
        p for n, p in model.transformer.named_parameters() if p.ndim == 2 and ".weight" in n and _in_block(n)
    ]
    hidden_ids = {id(p) for p in hidden}
    others = [p for p in model.parameters() if id(p) not in hidden_ids]
    muon = Muon(hidden, lr=args.lr, weight_decay=0.01)
    adam = torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    step, seen = _restore(run, model, ema, muon, adam)

    started = saved = drawn = logged = time.monotonic()
    stop = threading.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: stop.set())
    window: list[float] = []
    while not stop.is_set():
        hours = (time.monotonic() - started) / 3600
        if hours > args.hours or (args.samples and seen >= args.samples):
            break
        rate = min(1.0, (step + 1) / args.warmup)
        if args.samples and args.decay:  # the last part of a run with a known end: straight down to zero
            rate *= min(1.0, (args.samples - seen) / (args.decay * args.samples))
        for optimizer in (muon, adam):
            optimizer.param_groups[0]["lr"] = args.lr * max(rate, 0.02)

        batch = shards.batch(step, args.batch, args.seed, tokenizer, args.overfit)
        batch = Batch(
            latents=batch.latents.to(device), tokens=batch.tokens.to(device), is_text=batch.is_text.to(device)
        )
        rng = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss(model, batch, rng)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        model.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + args.batch
        keep = min(args.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - keep)

        window.append(value.item())
        if len(window) == args.log_every:
            _log(
                run,
                step=step,
                seen=seen,
                loss=round(sum(window) / len(window), 4),
                samples_a_second=round(len(window) * args.batch / (time.monotonic() - logged), 1),
                pictures=len(shards.chosen),
            )
            window, logged = [], time.monotonic()
        now = time.monotonic()
        if now - saved > args.save_minutes * 60:
            _save(run, model, ema, muon, adam, step, seen)
            shards.refresh()
            saved = now
        if now - drawn > args.sheet_minutes * 60:
            _sheet(run, ema, tokenizer, shards, seen, args)
            drawn = time.monotonic()
    _save(run, model, ema, muon, adam, step, seen)
    if not stop.is_set():
        _sheet(run, ema, tokenizer, shards, seen, args)


def _in_block(name: str) -> bool:
    """Whether a matrix belongs to a block's attention or feed-forward; those are what Muon is made for."""
    return any(part in name for part in (".attention.", ".feed_forward."))


def _tokenizer(run: Path, shards: Shards) -> PreTrainedTokenizerFast:
    folder = run / "tokenizer"
    if not folder.exists():
        rng = Random(0)
        texts = [caption(each, rng) for each in shards.attributes[:20_000] for _ in range(4)]
        vocabulary.learn(texts).save_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def _save(
    run: Path, model: Starter, ema: Starter, muon: Muon, adam: torch.optim.AdamW, step: int, seen: int
) -> None:
    """The whole state, staged and renamed; the last one stays until the new one is complete."""
    tensors: dict[str, Tensor] = {}
    for prefix, each in (("model", model), ("ema", ema)):
        tensors |= {f"{prefix}/{k}": v.contiguous() for k, v in each.state_dict().items()}
    for prefix, optimizer in (("muon", muon), ("adam", adam)):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{prefix}/{index}/{k}": torch.as_tensor(v).contiguous() for k, v in state.items()}
    staged, final, older = run / "state.part", run / "state", run / "state.old"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    save_file(tensors, staged / "state.safetensors")
    (staged / "position.json").write_text(json.dumps({"step": step, "seen": seen}))
    shutil.rmtree(older, ignore_errors=True)
    if final.exists():
        os.replace(final, older)
    os.replace(staged, final)


def _restore(run: Path, model: Starter, ema: Starter, muon: Muon, adam: torch.optim.AdamW) -> tuple[int, int]:
    try:
        folder = _state_folder(run)
    except FileNotFoundError:
        return 0, 0
    tensors = load_file(folder / "state.safetensors")
    for prefix, each in (("model", model), ("ema", ema)):
        each.load_state_dict(
            {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + "/")}
        )
    for prefix, optimizer in (("muon", muon), ("adam", adam)):
        whole = optimizer.state_dict()
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix + "/"):
                _, index, name = key.split("/")
                states.setdefault(int(index), {})[name] = value
        whole["state"] = states
        optimizer.load_state_dict(whole)
    position = json.loads((folder / "position.json").read_text())
    return position["step"], position["seen"]


def _state_folder(run: Path) -> Path:
    for folder in (run / "state", run / "state.old"):
        if (folder / "position.json").exists():
            return folder
    raise FileNotFoundError(f"{run} holds no saved state yet; train it first.")


def _sheet(
    run: Path,
    ema: Starter,
    tokenizer: PreTrainedTokenizerFast,
    shards: Shards,
    seen: int,
    args: argparse.Namespace,
) -> None:
    decoder = args.decoder if args.decoder and args.decoder.exists() else None
    pipe = pipeline(ema.transformer, ema.embedding, tokenizer, shards.vae, decoder)
    prompts = None
    if args.overfit:
        prompts = [caption(shards.attributes[i], Random(i)) for i in shards.chosen[:16]]
    draw_sheet(pipe, run / "sheets" / f"{seen:08d}.png", prompts=prompts)


def _log(run: Path, **values: object) -> None:
    line = json.dumps(values)
    print(line, flush=True)
    with (run / "log.jsonl").open("a") as file:
        file.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="greenroom.ml.starter.train", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of the run's state, log and sheets")
    parser.add_argument("--data", type=Path, required=True, help="folder of rendered shards")
    parser.add_argument(
        "--styles", default="", help="styles to learn, with commas; empty: all that were rendered"
    )
    parser.add_argument(
        "--hours", type=float, default=3.0, help="stop after this long; the same command goes on"
    )
    parser.add_argument(
        "--samples", type=int, default=0, help="stop after this many pictures seen (0: no end)"
    )
    parser.add_argument(
        "--decay", type=float, default=0.0, help="share of --samples at the end with a falling rate"
    )
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--overfit", type=int, default=0, help="gate 1: train on this many pictures only")
    parser.add_argument(
        "--decoder", type=Path, help="trained decoder weights for the sheets; without, linear"
    )
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--sheet-minutes", type=float, default=10)
    parser.add_argument("--log-every", type=int, default=20, help="steps")
    args = parser.parse_args()
    if not math.isclose(args.width % 64, 0):
        parser.error("--width must be a multiple of 64, the width of a head")
    train(args)


if __name__ == "__main__":
    main()
