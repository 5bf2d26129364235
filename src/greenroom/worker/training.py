"""Does a training job: lays out the run folder, launches the loop, mirrors its events, keeps what it made.

Knows run folders and the studio's records; knows nothing about torch.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from greenroom import files, runners
from greenroom.db import session as db
from greenroom.db.models import Job, Training
from greenroom.ml import events
from greenroom.settings import Settings
from greenroom.studio import trainings
from greenroom.worker import subjects
from greenroom.worker.watch import Watch, attend, failure, unexplained

RECORD_EVERY_S = 0.5
EXPORTS = ("lora.safetensors", "lora-kohya.safetensors", "model-card.json", "losses.json")


def train(settings: Settings, job: Job, watch: Watch) -> None:
    """Run or resume a claimed training and record its result. Raises what broke it, or Cancelled."""
    store = files.store(settings)
    with db.session(settings) as session:
        training = trainings.find(session, job.target_id)
        inputs = trainings.inputs(training)
    run_dir = settings.runs / training.id
    run_dir.mkdir(parents=True, exist_ok=True)
    for name, key in inputs.files.items():
        if not (run_dir / name).exists():
            store.local_copy(key, run_dir / name)
    config, manifest = inputs.config, inputs.manifest
    if config.get("device", "auto") == "auto":
        config = {**config, "device": settings.device}
    if config.get("background_weight", 1.0) < 1:
        manifest = subjects.with_boxes(manifest, run_dir)
    _write_json(run_dir / "config.json", config)
    _write_json(run_dir / "manifest.json", manifest)

    record = _Recorder(settings, store, training, run_dir, watch)
    log = run_dir / "child.log"
    child = runners.get(settings.runner).launch(
        "greenroom.ml.train", [str(run_dir)], log=log, lock=run_dir / ".lock"
    )
    try:
        ended = attend(settings, job, child, watch, record)
    finally:
        child.close()
    if record.failed is not None:
        raise failure(record.failed.code, f"{record.failed.message} {record.failed.remedy}".strip())
    if record.done is None:
        assert ended is not None, "nothing else ends the attending here"
        raise unexplained(
            "training", ended, "The last checkpoint is kept: give the same command again to go on."
        )

    exported = {name: files.export_key(training.actor_id, training.id, name) for name in EXPORTS}
    for name, key in list(exported.items()):
        if (run_dir / "export" / name).exists():
            store.put(key, run_dir / "export" / name)
        else:
            del exported[name]
    kept = _keep_choice(store, training, run_dir, record.chosen)
    with db.session(settings) as session:
        trainings.complete(
            session,
            trainings.find(session, training.id),
            lora_key=exported["lora.safetensors"],
            kohya_key=exported.get("lora-kohya.safetensors"),
            steps=record.done.steps,
            chosen_step=record.done.chosen_step,
            seconds=record.done.seconds,
        )
        for step, key in kept.items():
            trainings.add_checkpoint_files(session, training, step, key=key)
    watch.on_event(record.done)
    shutil.rmtree(run_dir, ignore_errors=True)  # all that is worth keeping is in the store


def _keep_choice(
    store: files.Store, training: Training, run_dir: Path, chosen: events.Chosen | None
) -> dict[int, str]:
    """Store what the person can choose instead; step -> key of its weights."""
    kept = {}
    for step, folder in chosen.kept.items() if chosen else ():
        for name in EXPORTS:
            file = run_dir / folder / name
            if file.exists():
                store.put(files.checkpoint_key(training.actor_id, training.id, step, name), file)
        kept[step] = files.checkpoint_key(training.actor_id, training.id, step, "lora.safetensors")
    base = run_dir / "measures" / "step-000000.png"
    if base.exists():
        store.put(files.sheet_key(training.actor_id, training.id, 0), base)
    return kept


class _Recorder:
    """Mirrors a training's lines to the database and its sample pictures to the store."""

    def __init__(
        self, settings: Settings, store: files.Store, training: Training, run_dir: Path, watch: Watch
    ) -> None:
        self.settings, self.store, self.training, self.run_dir, self.watch = (
            settings, store, training, run_dir, watch,
        )  # fmt: skip
        self.done: events.Done | None = None
        self.failed: events.Failed | None = None
        self.chosen: events.Chosen | None = None
        self._phase = ""
        self._recorded_at = 0.0
        self._held: events.Progress | None = None
        self._samples: dict[int, list[str]] = {}

    def __call__(self, line: str) -> None:
        try:
            event = events.parse(line)
        except ValidationError:
            return  # a library printed something
        if isinstance(event, events.Done):
            self.done = event  # told once its files are safe
            return
        if isinstance(event, events.Failed):
            self.failed = event
            return  # the job's end records it, with its reason
        self.watch.on_event(event)
        if isinstance(event, events.Progress) and not self._is_due(event):
            self._held = event
            return
        if isinstance(event, events.Sample):
            self._keep(event)
        if isinstance(event, events.Measured):
            key = files.sheet_key(self.training.actor_id, self.training.id, event.step)
            self.store.put(key, self.run_dir / event.sheet)
        if isinstance(event, events.Chosen):
            self.chosen = event
        with db.session(self.settings) as session:
            training = trainings.find(session, self.training.id)
            if self._held is not None and not isinstance(event, events.Progress):
                trainings.record(session, training, self._held)  # a saved step is never ahead of the told one
            trainings.record(session, training, event)
            if isinstance(event, events.Sample):
                keys = self._samples[event.step]
                trainings.add_checkpoint_files(session, training, event.step, sample_keys=keys)
        self._held = None

    def _keep(self, event: events.Sample) -> None:
        key = files.sample_key(self.training.actor_id, self.training.id, event.step, event.index)
        self.store.put(key, self.run_dir / event.file)
        self._samples.setdefault(event.step, []).append(key)

    def _is_due(self, event: events.Progress) -> bool:
        """Twice a second, at each new phase and at its end."""
        is_new = event.phase != self._phase or event.step == event.total_steps
        if not is_new and time.monotonic() - self._recorded_at < RECORD_EVERY_S:
            return False
        self._phase, self._recorded_at = event.phase, time.monotonic()
        return True


def _write_json(file: Path, content: dict[str, Any]) -> None:
    """Write it unless it stands there already, in one step."""
    text = json.dumps(content, ensure_ascii=False, indent=2)
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    staged = file.with_suffix(".part")
    staged.write_text(text, encoding="utf-8")
    staged.replace(file)
