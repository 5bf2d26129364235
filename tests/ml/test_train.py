"""The training as a whole: what it leaves behind, and that nothing which breaks it off changes its result."""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from run_folders import configure, exported, finish, make, start

from greenroom.errors import BadBase, BadInput, BaseMissing, Cancelled, ChangedDataset, OutOfMemory, RunFailed
from greenroom.ml import events, families, safe
from greenroom.ml.config import GenerateConfig, LoraUse, read_train
from greenroom.ml.events import Done, Failed, Journal, Note, Progress, Sample, Saved
from greenroom.ml.generate import draw
from greenroom.ml.train import train
from greenroom.ml.warm import WarmBase

FAMILIES = sorted(families.CARDS)
# Their loss at one noise level is many times that at another, so only a run on the same noise compares.
UNEVEN = {"sd3", "starter"}
EVERYTHING = {  # all that could make a resumed run differ
    "dropout": 0.1,
    "ema_decay": 0.9,
    "flip_augment": True,
    "min_snr_gamma": 5.0,
    "sample_prompts": ("KIA_01 on a beach", "a thing"),
}


@pytest.fixture(autouse=True)
def _restore_torch() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


class Listener(io.StringIO):
    """Keeps what a run tells, and calls back at each line."""

    def __init__(self, on_line: Callable[[str], object]) -> None:
        super().__init__()
        self._on_line = on_line

    def write(self, text: str) -> int:
        self._on_line(text)
        return super().write(text)


def run(
    run_dir: Path, stop: threading.Event | None = None, on_line: Callable[[str], object] = lambda _line: None
) -> tuple[Done, list[events.Event]]:
    """Train in this process."""
    stream = Listener(on_line)
    journal = Journal(run_dir / "events.jsonl", stream)
    try:
        done = train(run_dir, journal, stop or threading.Event())
    finally:
        journal.close()
    return done, [events.parse(line) for line in stream.getvalue().splitlines()]


def told(child: subprocess.Popen[str], kind: str, count: int = 1) -> None:
    """Wait until the child has told so many events of a kind."""
    assert child.stdout is not None
    for line in child.stdout:
        count -= events.parse(line).event == kind
        if count == 0:
            return
    raise AssertionError(f"the child ended before it told of {kind!r}")


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.returncode == -signal.SIGKILL


def pictures(run_dir: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run_dir / "samples").iterdir()}


def steps_saved(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").glob("*"))


@pytest.mark.parametrize("family_id", FAMILIES, scope="class")
class TestEveryFamily:
    @pytest.fixture(scope="class")
    def trained(
        self, family_id: str, tmp_path_factory: pytest.TempPathFactory, tiny_bases: dict[str, Path]
    ) -> tuple[Path, Done, list[events.Event]]:
        """One whole run, which several tests look at."""
        folder = tmp_path_factory.mktemp("trained") / "run"
        make(folder, family_id, tiny_bases[family_id], sample_prompts=("KIA_01 smiling",), sample_seed=3)
        return folder, *run(folder)

    def test_a_run_leaves_what_the_studio_needs(
        self, family_id: str, trained: tuple[Path, Done, list[events.Event]]
    ) -> None:
        folder, done, lines = trained
        assert (folder / done.lora).is_file()
        assert (done.kohya is not None) == ("kohya" in families.CARDS[family_id].key_formats)
        assert steps_saved(folder) == ["step-000004", "step-000008", "step-000012"]
        assert len(json.loads((folder / "export" / "losses.json").read_text())) == 12
        phases = [line.phase for line in lines if isinstance(line, Progress)]
        assert list(dict.fromkeys(phases)) == ["preflight", "cache", "train", "export"]
        assert [line.step for line in lines if isinstance(line, Saved)] == [4, 8, 12]
        assert [(line.step, line.prompt) for line in lines if isinstance(line, Sample)] == [
            (4, "KIA_01 smiling"),
            (8, "KIA_01 smiling"),
            (12, "KIA_01 smiling"),
        ]
        assert any(isinstance(line, Note) and "no picture is mirrored" in line.text for line in lines)
        last = [line for line in lines if isinstance(line, Progress) and line.phase == "train"][-1]
        assert (last.step, last.total_steps) == (12, 12)

    def test_a_sample_is_the_very_picture_that_the_exported_lora_draws(
        self, family_id: str, trained: tuple[Path, Done, list[events.Event]], tiny_bases: dict[str, Path]
    ) -> None:
        source = tiny_bases[family_id]
        folder, done, _ = trained
        wanted = GenerateConfig(
            base_family=family_id, base_source=str(source), prompt="KIA_01 smiling", seed=3, width_px=64,
            height_px=64, steps=2, loras=(LoraUse(file=str(folder / done.lora)),),
        )  # fmt: skip
        base = WarmBase(family_id, source, device=torch.device("cpu"), dtype=torch.float32)
        plain = draw(base.family, base.pipe, wanted, lambda *_: None)[0]
        base.cast(wanted.loras)
        ours = draw(base.family, base.pipe, wanted, lambda *_: None)[0]
        with Image.open(folder / "samples" / "step-000012-00.png") as sample:
            assert sample.tobytes() == ours.tobytes()
            assert sample.tobytes() != plain.tobytes()

    def test_a_seed_gives_the_same_bytes_and_another_seed_others(
        self,
        family_id: str,
        trained: tuple[Path, Done, list[events.Event]],
        tmp_path: Path,
        tiny_bases: dict[str, Path],
    ) -> None:
        files = [safe.load(trained[0] / "export" / "lora.safetensors")[0]]
        for seed in (5, 6):
            folder = make(tmp_path / str(seed), family_id, tiny_bases[family_id], seed=seed)
            run(folder)
            files.append(safe.load(folder / "export" / "lora.safetensors")[0])
        first, same, other = files
        assert all(torch.equal(first[name], same[name]) for name in first)
        assert not any(torch.equal(first[name], other[name]) for name in first)

    def test_the_loss_falls(self, family_id: str, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        # A transformer's patch has 32 to 64 numbers, and a LoRA passes on no more of them than its rank.
        of_a_patch = {"rank": 64, "alpha": 64, "learning_rate": 1e-2, "warmup_steps": 10}
        of_a_cell = {"rank": 16, "alpha": 16, "learning_rate": 2e-2}
        changes = of_a_cell if family_id in {"sd15", "sdxl"} else of_a_patch

        def losses(name: str, **more: float) -> list[float]:
            folder = make(
                tmp_path / name, family_id, tiny_bases[family_id], steps=90, batch_size=6,
                caption_dropout=0.0, checkpoint_every=100, **(changes | more),
            )  # fmt: skip
            run(folder)
            return list(json.loads((folder / "export" / "losses.json").read_text()))

        learned = losses("run")
        before = losses("still", learning_rate=1e-12)[-30:] if family_id in UNEVEN else learned[:30]
        assert sum(learned[-30:]) < 0.9 * sum(before)  # the noise is fresh at each step

    def test_a_resumed_run_ends_with_the_very_bytes_of_an_unbroken_one(
        self, family_id: str, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        whole = make(tmp_path / "whole", family_id, tiny_bases[family_id], **EVERYTHING)
        run(whole)
        broken = make(tmp_path / "broken", family_id, tiny_bases[family_id], **EVERYTHING)
        for _ in range(4):  # each time it goes on for one step, saves and ends
            stop = threading.Event()
            with pytest.raises(Cancelled):
                run(
                    broken,
                    stop,
                    on_line=lambda line, stop=stop: '"phase":"cache","step":6' in line and stop.set(),
                )
        assert "step-000004" in steps_saved(broken)
        assert not (broken / "samples").exists()  # step 4 was saved, and stopped before its pictures
        _, lines = run(broken)
        assert any(isinstance(line, Note) and "Going on after step 4" in line.text for line in lines)
        assert exported(broken) == exported(whole)
        assert pictures(broken) == pictures(whole)


@pytest.mark.slow
@pytest.mark.parametrize("family_id", ["starter", "sd15"])
def test_a_run_killed_at_random_moments_ends_with_the_very_bytes_of_an_unbroken_one(
    family_id: str, tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    changes = {**EVERYTHING, "keep_checkpoints": 2}
    whole = make(tmp_path / "whole", family_id, tiny_bases[family_id], **changes)
    finish(whole)
    broken = make(tmp_path / "broken", family_id, tiny_bases[family_id], **changes)
    moments = random.Random(time.time_ns())
    for kind in ("progress", "saved", "sample"):
        child = start(broken)
        told(child, kind)
        time.sleep(moments.random() * 0.3)
        kill(child)
    lines = finish(broken)
    assert isinstance(lines[-1], Done)
    assert exported(broken) == exported(whole)
    assert pictures(broken) == pictures(whole)


@pytest.mark.slow
def test_a_run_killed_while_it_writes_a_checkpoint_loses_only_that_one(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    large = {
        "rank": 64,
        "ema_decay": 0.5,
        "checkpoint_every": 2,
        "steps": 8,
    }  # megabytes, so that writing takes time
    whole = make(tmp_path / "whole", "starter", tiny_bases["starter"], **large)
    finish(whole)
    broken = make(tmp_path / "broken", "starter", tiny_bases["starter"], **large)
    half_written = 0
    for count in (1, 2):
        child = start(broken)
        seen = 0
        while seen < count and child.poll() is None:
            seen += any((broken / "checkpoints").glob(".tmp-step-*"))
        kill(child)
        half_written += any((broken / "checkpoints").glob(".tmp-step-*"))
    assert half_written > 0
    lines = finish(broken)
    assert not any(isinstance(line, Note) and "corrupt" in line.text for line in lines)
    assert exported(broken) == exported(whole)
    assert not any((broken / "checkpoints").glob(".tmp-*"))


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_stopped_run_saves_and_says_so(
    tmp_path: Path, tiny_bases: dict[str, Path], which: signal.Signals
) -> None:
    longer = {"steps": 400, "checkpoint_every": 400}
    folder = make(tmp_path / "run", "starter", tiny_bases["starter"], **longer)
    child = start(folder)
    assert child.stdout is not None
    for line in child.stdout:
        event = events.parse(line)
        if isinstance(event, Progress) and event.phase == "train":
            break
    child.send_signal(which)
    out = child.stdout.read()  # and not communicate(), which passes over what the loop above had read ahead
    assert child.wait() == 130
    saved, failed = (events.parse(line) for line in out.splitlines()[-2:])
    assert isinstance(saved, Saved)
    assert isinstance(failed, Failed)
    assert failed.code == "Cancelled"
    assert steps_saved(folder) == [f"step-{saved.step:06d}"]
    assert 0 < saved.step < 400


def test_a_run_that_is_stopped_before_its_first_step_keeps_nothing_half(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    folder = make(tmp_path / "run", "starter", tiny_bases["starter"])
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        run(folder, stop)
    assert not (folder / "checkpoints").exists()
    run(folder)


def test_a_finished_run_ends_at_once_with_the_same_files(tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
    folder = make(tmp_path / "run", "starter", tiny_bases["starter"], sample_prompts=("a",))
    run(folder)
    before = exported(folder)
    shutil.rmtree(folder / "export")
    _, lines = run(folder)
    assert exported(folder) == before
    assert not any(isinstance(line, Saved | Sample) for line in lines)


def test_a_corrupt_checkpoint_is_named_and_the_result_is_the_same(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    folder = make(tmp_path / "run", "starter", tiny_bases["starter"])
    run(folder)
    before = exported(folder)
    (folder / "checkpoints" / "step-000012" / "optimizer.safetensors").write_bytes(b"noise")
    _, lines = run(folder)
    notes = [line.text for line in lines if isinstance(line, Note)]
    assert any("step-000012 is corrupt" in note for note in notes)
    assert any("Going on after step 8" in note for note in notes)
    assert exported(folder) == before


def test_changed_captions_settings_or_bases_are_refused_with_the_reason(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    source = tiny_bases["starter"]
    folder = make(tmp_path / "run", "starter", source)
    run(folder)
    before = steps_saved(folder)

    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace("a red thing", "a blue thing"))
    with pytest.raises(ChangedDataset, match="pictures or captions differ"):
        run(folder)
    (folder / "manifest.json").write_text(manifest)

    configure(folder, "starter", source, steps=13)
    with pytest.raises(ChangedDataset, match="settings differ"):
        run(folder)

    other = shutil.copytree(source, tmp_path / "other")
    (other / "scheduler" / "scheduler_config.json").write_text("{}")
    configure(folder, "starter", other)
    with pytest.raises(ChangedDataset, match="base model differ"):
        run(folder)
    assert steps_saved(folder) == before

    moved = shutil.copytree(source, tmp_path / "moved")
    configure(folder, "starter", moved)
    run(folder)


def test_a_broken_down_loss_is_told_and_not_saved(tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
    base = shutil.copytree(tiny_bases["starter"], tmp_path / "base")
    file = next((base / "transformer").glob("*.safetensors"))
    tensors, metadata = safe.load(file)
    tensors["t_embedder.mlp.0.bias"][0] = float("nan")
    safe.save(file, tensors, metadata)
    folder = make(tmp_path / "run", "starter", base)
    with pytest.raises(RunFailed, match=r"loss became nan at step 1.*lower learning rate"):
        run(folder)
    assert not (folder / "checkpoints").exists()


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_the_reason_and_it_goes_on_when_there_is_room(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    whole = make(tmp_path / "whole", "starter", tiny_bases["starter"], rank=32)
    run(whole)
    folder = make(tmp_path / "run", "starter", tiny_bases["starter"], rank=32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))  # the optimizer's file is larger
    try:
        child = start(folder)
        out, _ = child.communicate()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    failed = events.parse(out.splitlines()[-1])
    assert isinstance(failed, Failed)
    assert child.returncode == 3
    assert failed.code == "StorageError"
    assert "disk is full" in failed.message
    assert steps_saved(folder) == []
    run(folder)
    assert exported(folder) == exported(whole)


class TestBadStart:
    def fails(self, folder: Path) -> Failed:
        child = start(folder)
        out, _ = child.communicate()
        failed = events.parse(out.splitlines()[-1])
        assert isinstance(failed, Failed)
        assert "Traceback" not in (folder / "stderr.txt").read_text()
        assert child.returncode == {"BadInput": 3, "BaseMissing": 4}[failed.code]
        return failed

    @pytest.mark.slow
    def test_a_wrong_config_is_told_by_the_child_in_one_sentence(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        folder = make(tmp_path / "run", "starter", tiny_bases["starter"])
        (folder / "config.json").write_text('{"name": "Kia"}')
        assert "trigger" in self.fails(folder).message

    def test_a_missing_base_is_named(self, tmp_path: Path) -> None:
        folder = make(tmp_path / "run", "starter", tmp_path / "nowhere")
        with pytest.raises(BaseMissing, match="nowhere"):
            run(folder)

    def test_a_base_of_another_family_is_refused(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        folder = make(tmp_path / "run", "starter", tiny_bases["sd15"])
        with pytest.raises(BadBase):
            run(folder)

    def test_a_run_that_cannot_fit_is_refused_before_it_loads(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        folder = make(tmp_path / "run", "starter", tiny_bases["starter"], max_memory_gb=0.1)
        with pytest.raises(OutOfMemory):
            run(folder)

    def test_a_missing_config_is_bad_input(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"config\.json cannot be read"):
            run(tmp_path)


def test_the_run_keeps_its_thread_count(tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
    folder = make(tmp_path / "run", "starter", tiny_bases["starter"], steps=4)
    torch.set_num_threads(2)
    run(folder)
    torch.set_num_threads(1)
    run(folder)
    assert torch.get_num_threads() == 2
    assert read_train(folder).steps == 4


def test_encoders_are_let_go_and_fetched_again_without_changing_a_byte(
    tmp_path: Path, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[bool, Any] = {}
    for is_large in (False, True):
        folder = make(tmp_path / str(is_large), "sd15", tiny_bases["sd15"], sample_prompts=("a",))
        if is_large:
            monkeypatch.setattr("greenroom.ml.encoders.KEPT_BELOW_BYTES", 0)
        run(folder)
        kept[is_large] = exported(folder)
    assert kept[True] == kept[False]
