"""Run folders with small drawn pictures, and the training child that works in them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from greenroom.ml import events
from greenroom.ml.config import TrainConfig

SOURCES = Path(__file__).parents[2] / "src"
SIZES = ((64, 64), (128, 64), (96, 96), (64, 128), (80, 64), (64, 64))


def make(run_dir: Path, family_id: str, source: Path, **changes: Any) -> Path:
    """A run folder as the studio lays it out: six pictures of several shapes, and a short run."""
    (run_dir / "pictures").mkdir(parents=True)
    pictures = []
    for number, size in enumerate(SIZES):
        image = Image.new("RGB", size, (40 * number, 200 - 30 * number, 120))
        ImageDraw.Draw(image).ellipse((10, 10, 20 + 8 * number, 50), fill=(250, 30 * number, 0))
        file = run_dir / "pictures" / f"{number:04d}.png"
        image.save(file)
        pictures.append(
            {
                "file": f"pictures/{file.name}",
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "caption": f"KIA_01, a red thing{' in a very odd place' * number}",
            }
        )
    (run_dir / "manifest.json").write_text(json.dumps({"pictures": pictures}))
    configure(run_dir, family_id, source, **changes)
    return run_dir


def configure(run_dir: Path, family_id: str, source: Path, **changes: Any) -> TrainConfig:
    """Write the run's config; alpha differs from rank, so that a lost alpha cannot hide."""
    config = TrainConfig(
        **{
            "name": "Kia",
            "trigger": "KIA_01",
            "base_family": family_id,
            "base_source": str(source),
            "resolution_px": 64,
            "steps": 12,
            "batch_size": 2,
            "learning_rate": 1e-2,
            "warmup_steps": 2,
            "lr_schedule": "cosine",
            "rank": 4,
            "alpha": 3.0,
            "caption_dropout": 0.3,
            "checkpoint_every": 4,
            "sample_steps": 2,
            "seed": 5,
            **changes,
        }
    )
    (run_dir / "config.json").write_text(config.model_dump_json())
    return config


def start(run_dir: Path, **environment: str) -> subprocess.Popen[str]:
    """The training child, its events on stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", "greenroom.ml.train", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=(run_dir / "stderr.txt").open("ab"),
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1", **environment},
    )


def finish(run_dir: Path) -> list[events.Event]:
    """Run the child to its end, which must be a good one; returns what it told."""
    child = start(run_dir)
    out, _ = child.communicate()
    assert child.returncode == 0, (run_dir / "stderr.txt").read_text()[-2000:]
    return [events.parse(line) for line in out.splitlines()]


class _Stopper(io.StringIO):
    """What a run tells; asks it to stop at the first line with these letters."""

    def __init__(self, stop: threading.Event, at: str | None) -> None:
        super().__init__()
        self._stop, self._at = stop, at

    def write(self, text: str) -> int:
        if self._at is not None and self._at in text:
            self._stop.set()
        return super().write(text)


def train_here(run_dir: Path, stop_at: str | None = None) -> tuple[events.Done, list[events.Event]]:
    """Train in this process, as the child does; raises Cancelled when a line with `stop_at` was told."""
    from greenroom.ml.train import train_or_climb

    stop = threading.Event()
    stream = _Stopper(stop, stop_at)
    journal = events.Journal(run_dir / "events.jsonl", stream)
    try:
        done = train_or_climb(run_dir, journal, stop)
    finally:
        journal.close()
    return done, [events.parse(line) for line in stream.getvalue().splitlines()]


def exported(run_dir: Path) -> dict[str, str]:
    """sha256 of each exported file but the model card, which tells the version of the code as well."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted((run_dir / "export").iterdir())
        if file.name != "model-card.json"
    }
