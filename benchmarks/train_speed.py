"""Our training loop against a plain one: seconds a step, seconds until the first step, and peak memory.

    python benchmarks/train_speed.py [--family starter|sd15] [--base FOLDER] [--steps 40] [--repeats 3] [--threads N]

The plain loop is written as the common example scripts are: float32; in every step, pictures are read,
resized and encoded, captions are encoded, the stock forward pass runs. Both train the same LoRA layers of the
same base on the same pictures at the same size and batch, in turns, each run in a process of its own; the table
gives medians. Both get the same number of threads; Greenroom by itself takes half of the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from greenroom.runners import local

CHECKOUT = Path(__file__).parents[1]
PICTURES = CHECKOUT / "samples" / "character-juno"
STARTER = CHECKOUT / "src" / "greenroom" / "ml" / "starter" / "weights"
TRIGGER = "JUNO_01"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run. Seconds, and bytes of resident memory at its peak."""

    step_s: float
    startup_s: float
    peak_bytes: int


def main() -> None:
    """Measure both loops in turns and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=("starter", "sd15"), default="starter")
    parser.add_argument(
        "--base", type=Path, help="a diffusers folder; else the starter, or a toy of the family"
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch, in both loops")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain:
        _plain(json.loads(given.plain.read_text()))
        return
    with tempfile.TemporaryDirectory() as scratch:
        config = _config(given, _base(given, Path(scratch)))
        runs: dict[str, list[Measured]] = {"plain": [], "greenroom": []}
        for number in range(given.repeats):
            print(f"run {number + 1} of {given.repeats}", file=sys.stderr)
            runs["plain"].append(_run_plain(config, Path(scratch)))
            runs["greenroom"].append(_run_ours(config, Path(scratch) / f"run-{number}"))
    _print(config, runs)
    if given.json:
        figures = {name: [vars(run) for run in found] for name, found in runs.items()}
        given.json.write_text(json.dumps({"config": config, "runs": figures}, indent=2))


def _base(given: argparse.Namespace, scratch: Path) -> Path:
    if given.base:
        return Path(given.base)
    if given.family == "starter" and (STARTER / "model_index.json").exists():
        return STARTER
    from importlib import import_module

    import_module(f"greenroom.ml.families.{given.family}.model").tiny(scratch / "toy")
    return scratch / "toy"


def _config(given: argparse.Namespace, base: Path) -> dict[str, Any]:
    return {
        "name": "bench",
        "trigger": TRIGGER,
        "base_family": given.family,
        "base_source": str(base),
        "resolution_px": given.size,
        "steps": given.steps,
        "batch_size": given.batch,
        "learning_rate": 1e-4,
        "rank": given.rank,
        "alpha": float(given.rank),
        "checkpoint_every": given.steps,
        "caption_dropout": 0.0,
        "seed": 1,
        "threads": given.threads,
    }


def _run_ours(config: dict[str, Any], run_dir: Path) -> Measured:
    """`greenroom.ml.train` as the worker launches it; its own events tell the time."""
    (run_dir / "pictures").mkdir(parents=True)
    told = {key: value for key, value in config.items() if key != "threads"}
    (run_dir / "config.json").write_text(json.dumps(told))
    lines = []
    for file, text in _set():
        shutil.copy(file, run_dir / "pictures" / file.name)
        lines.append({"file": f"pictures/{file.name}", "sha256": _sha256(file), "caption": text})
    (run_dir / "manifest.json").write_text(json.dumps({"pictures": lines}))
    output, peak = _measured(
        [sys.executable, "-m", "greenroom.ml.train", str(run_dir)],
        {**local.DEFAULTS, **os.environ, "OMP_NUM_THREADS": str(config["threads"])},
    )
    events = [json.loads(line) for line in output.splitlines()]
    steps = [event for event in events if event.get("phase") == "train" and event["step"] > 0]
    # The last line comes after the last step and before the last checkpoint, so no saving is in the measure.
    spans = [
        (later["seconds"] - earlier["seconds"]) / (later["step"] - earlier["step"])
        for earlier, later in pairwise(steps)
    ]
    step_s = statistics.median(spans)
    return Measured(step_s=step_s, startup_s=steps[0]["seconds"] - steps[0]["step"] * step_s, peak_bytes=peak)


def _run_plain(config: dict[str, Any], scratch: Path) -> Measured:
    request = scratch / "plain.json"
    request.write_text(json.dumps({**config, "began": time.time()}))
    output, peak = _measured(
        [sys.executable, __file__, "--plain", str(request)],
        {**os.environ, "OMP_NUM_THREADS": str(config["threads"])},
    )
    told = json.loads(output.splitlines()[-1])
    return Measured(step_s=statistics.median(told["steps"][1:]), startup_s=told["startup"], peak_bytes=peak)


def _measured(command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """Run it to its end; what it printed, and its peak of resident memory in bytes."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{output[-2000:]}")
    return output, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _plain(config: dict[str, Any]) -> None:
    """The plain loop, in this process."""
    import torch
    from diffusers import DiffusionPipeline
    from peft import LoraConfig
    from torch.utils.data import DataLoader

    from greenroom.ml.families import CARDS

    torch.manual_seed(config["seed"])
    stock: Any = DiffusionPipeline  # its methods have no types
    pipe = stock.from_pretrained(
        config["base_source"], torch_dtype=torch.float32, use_safetensors=True, local_files_only=True,
        **({"safety_checker": None} if config["base_family"] == "sd15" else {}),
    )  # fmt: skip
    card = CARDS[config["base_family"]]
    denoiser = getattr(pipe, card.denoiser)
    for network in (denoiser, pipe.vae, pipe.text_encoder):
        network.requires_grad_(False)
    denoiser.add_adapter(
        LoraConfig(r=config["rank"], lora_alpha=config["alpha"], target_modules=list(card.lora_targets))
    )
    denoiser.train()
    weights = [weight for weight in denoiser.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=config["learning_rate"])
    loss_of = _starter_loss if config["base_family"] == "starter" else _sd15_loss
    pictures: Any = _Pictures(config["resolution_px"])
    batches: Any = DataLoader(pictures, batch_size=config["batch_size"], shuffle=True, drop_last=True)

    def endless() -> Iterator[Any]:
        while True:
            yield from batches

    took: list[float] = []
    startup = time.time() - config["began"]
    for pixels, texts in endless():
        began = time.perf_counter()
        loss = loss_of(pipe, pixels, list(texts))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        took.append(time.perf_counter() - began)
        if len(took) == config["steps"]:
            break
    print(json.dumps({"steps": took, "startup": startup}))


class _Pictures:
    """A data set that opens and resizes its pictures whenever they are asked for."""

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self.pairs = list(_set())

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        import numpy as np
        import torch
        from PIL import Image

        file, text = self.pairs[index]
        with Image.open(file) as opened:
            picture = opened.convert("RGB").resize((self.size_px, self.size_px), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1, text


def _starter_loss(pipe: Any, pixels: Any, texts: list[str]) -> Any:
    import torch
    from torch.nn import functional

    with torch.no_grad():
        latents = pipe.vae.encode(pixels).latent * pipe.vae.config.scaling_factor
        embeds, _ = pipe.encode_prompt(texts, do_classifier_free_guidance=False)
    noise = torch.randn_like(latents)
    t = torch.sigmoid(torch.randn(len(latents)) * 1.2 + 0.5)
    part = t.view(-1, 1, 1, 1)
    noisy = part * latents + (1 - part) * noise
    out = pipe.transformer(list(noisy.unsqueeze(2).unbind()), t, embeds, return_dict=False)[0]
    clean = -torch.stack(out).squeeze(2)
    return (functional.mse_loss(clean, latents, reduction="none") / (1 - part).clamp_min(0.05) ** 2).mean()


def _sd15_loss(pipe: Any, pixels: Any, texts: list[str]) -> Any:
    import torch
    from torch.nn import functional

    with torch.no_grad():
        latents = pipe.vae.encode(pixels).latent_dist.sample() * pipe.vae.config.scaling_factor
        tokens = pipe.tokenizer(
            texts, padding="max_length", truncation=True, max_length=pipe.tokenizer.model_max_length,
            return_tensors="pt",
        )  # fmt: skip
        embeds = pipe.text_encoder(tokens.input_ids)[0]
    noise = torch.randn_like(latents)
    steps = torch.randint(pipe.scheduler.config.num_train_timesteps, (len(latents),))
    noisy = pipe.scheduler.add_noise(latents, noise, steps)
    return functional.mse_loss(pipe.unet(noisy, steps, embeds, return_dict=False)[0], noise)


def _set() -> Iterator[tuple[Path, str]]:
    for file in sorted(PICTURES.glob("*.png")):
        yield file, f"{TRIGGER}, {file.with_suffix('.txt').read_text(encoding='utf-8').strip()}"


def _sha256(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


def _print(config: dict[str, Any], runs: dict[str, list[Measured]]) -> None:
    print(
        f"{config['base_family']} at {config['base_source']}: batch {config['batch_size']}, "
        f"{config['resolution_px']} px, rank {config['rank']}, {config['steps']} steps, "
        f"medians of {len(runs['plain'])} runs, {config['threads']} of {os.cpu_count()} cores"
    )
    print(f"{'':<22}{'plain loop':>12}{'greenroom':>12}{'ratio':>8}")
    for title, key, unit in (
        ("seconds a step", "step_s", 1.0),
        ("seconds to first step", "startup_s", 1.0),
        ("peak memory, MB", "peak_bytes", 1e-6),
    ):
        plain, ours = (
            statistics.median(getattr(run, key) for run in runs[name]) * unit
            for name in ("plain", "greenroom")
        )
        print(f"{title:<22}{plain:>12.3f}{ours:>12.3f}{plain / ours:>7.2f}x")


if __name__ == "__main__":
    main()
