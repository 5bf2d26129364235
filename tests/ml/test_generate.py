"""A seed gives the same bytes alone or in company, cold or warm, and nothing is ever half done."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import BaseModel
from tiny_actors import CPU, attach_trained, base, exported, request, same, train_config, write_export

from greenroom.errors import BadInput, BadPrompt, BaseMissing, Cancelled, GreenroomError, UnsafeFile, WrongUse
from greenroom.ml import families, generate, pictures, safe, warm
from greenroom.ml.config import GenerateConfig, LoraUse
from greenroom.ml.generate import Server, draw, make
from greenroom.ml.warm import WarmBase

FAMILIES = sorted(families.CARDS)


class Stage:
    """A toy base with two actors."""

    def __init__(self, folder: Path, family_id: str) -> None:
        self.family_id = family_id
        self.source = base(folder / "base", family_id)
        self.files = [
            exported(folder / f"run{i}", family_id, self.source, seed=i) / "lora.safetensors" for i in (1, 2)
        ]

    def loras(self, *weights: float) -> tuple[LoraUse, ...]:
        return tuple(
            LoraUse(file=str(file), weight=weight, trigger=f"ACTOR_{i}")
            for i, (file, weight) in enumerate(zip(self.files, weights, strict=False))
            if weight
        )

    def request(self, **changes: Any) -> GenerateConfig:
        return request(self.family_id, self.source, **changes)

    def warm(self) -> WarmBase:
        return WarmBase(self.family_id, self.source, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module", params=FAMILIES)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("sd15"), "sd15")


def nothing(step: int, total: int) -> None:
    """Nobody watches."""


def paint(where: WarmBase, wanted: GenerateConfig) -> list[Image.Image]:
    where.cast(wanted.loras)
    return draw(where.family, where.pipe, wanted, nothing)


def listen(events: list[dict[str, Any]]) -> generate.Tell:
    def tell(event: BaseModel) -> None:
        events.append(event.model_dump())

    return tell


def digests(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


# ---- the same seed, the same bytes


def test_a_picture_depends_on_its_seed_and_not_on_its_neighbours(stage: Stage, tmp_path: Path) -> None:
    together = make(stage.warm(), stage.request(count=3, seed=7, out_dir=str(tmp_path / "a")), listen([]))
    assert len(set(digests(together))) == 3
    for index in range(3):
        alone = make(
            stage.warm(), stage.request(seed=7 + index, out_dir=str(tmp_path / str(index))), listen([])
        )
        assert digests(alone) == digests(together[index : index + 1])


def test_a_warm_base_draws_what_a_cold_one_draws(stage: Stage) -> None:
    wanted = [
        stage.request(),
        stage.request(loras=stage.loras(1.0)),
        stage.request(loras=stage.loras(0.0, 1.0)),
        stage.request(loras=stage.loras(0.7, 1.2)),
        stage.request(loras=stage.loras(1.2, 0.7)),
        stage.request(loras=stage.loras(1.0, -0.5)),
    ]
    cold = [paint(stage.warm(), each)[0] for each in wanted]
    assert len({each.tobytes() for each in cold}) == len(wanted)
    server = stage.warm()
    for index in (0, 3, 1, 1, 0, 5, 2, 4, 3, 0, 2):
        assert same(paint(server, wanted[index])[0], cold[index]), index


def test_with_nobody_cast_the_base_is_what_it_was_before(stage: Stage) -> None:
    where = stage.warm()
    before = {name: weight.clone() for name, weight in where.family.denoiser(where.pipe).state_dict().items()}
    plain = paint(where, stage.request())[0]
    assert not same(paint(where, stage.request(loras=stage.loras(1.0, 1.0)))[0], plain)
    assert same(paint(where, stage.request())[0], plain)
    where.forget()
    after = where.family.denoiser(where.pipe).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert same(paint(where, stage.request())[0], plain)


def test_only_the_last_used_loras_stay_loaded(sd15: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "KEPT_LORAS", 1)
    where = sd15.warm()
    expected = [
        paint(sd15.warm(), sd15.request(loras=sd15.loras(*pair)))[0] for pair in ((1, 0), (0, 1), (1, 1))
    ]
    for index in (0, 1, 2, 0, 2, 1):
        pair = ((1, 0), (0, 1), (1, 1))[index]
        assert same(paint(where, sd15.request(loras=sd15.loras(*pair)))[0], expected[index])
        assert len(where.family.denoiser(where.pipe).peft_config) <= max(1, sum(pair))


def test_an_actor_named_twice_counts_twice(sd15: Stage) -> None:
    twice = paint(sd15.warm(), sd15.request(loras=sd15.loras(0.5) + sd15.loras(0.75)))
    assert same(twice[0], paint(sd15.warm(), sd15.request(loras=sd15.loras(1.25)))[0])


def test_a_lora_that_was_trained_anew_at_the_same_path_is_a_new_one(sd15: Stage, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    wanted = sd15.request(loras=(LoraUse(file=str(file)),))
    where = sd15.warm()
    drawn = []
    for source in sd15.files:
        file.write_bytes(source.read_bytes())
        drawn.append(paint(where, wanted)[0])
        assert same(drawn[-1], paint(sd15.warm(), wanted)[0])
    assert not same(*drawn)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_sample_of_the_training_is_the_users_picture(
    stage: Stage, tmp_path: Path, dtype: torch.dtype
) -> None:
    """Also with dropout, and with a base in half precision; and drawing leaves the training as it was."""
    family = families.get(stage.family_id)
    config = train_config(stage.family_id, stage.source, dropout=0.5)
    pipe = family.load(stage.source, CPU, dtype)
    weights = attach_trained(stage.family_id, pipe, config, seed=1)
    denoiser = family.denoiser(pipe)
    denoiser.train()
    torch.manual_seed(5)
    (sample,) = draw(family, pipe, stage.request(), nothing)
    state = torch.get_rng_state()
    assert torch.equal(state, torch.manual_seed(5).get_state())
    assert denoiser.training
    trained = {n: p for n, p in denoiser.named_parameters() if ".lora_" in n}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert all(torch.equal(p.data, weights[n.replace(".default.", ".")]) for n, p in trained.items())

    file = tmp_path / write_export(tmp_path, config, weights).lora
    where = WarmBase(stage.family_id, stage.source, device=CPU, dtype=dtype)
    assert same(paint(where, stage.request(loras=(LoraUse(file=str(file)),)))[0], sample)


def test_drawing_does_not_hinder_a_training_step_after_it(stage: Stage) -> None:
    family = families.get(stage.family_id)
    config = train_config(stage.family_id, stage.source)
    pipe = family.load(stage.source, CPU, torch.float32)
    attach_trained(stage.family_id, pipe, config)
    draw(family, pipe, stage.request(), nothing)
    latents = family.encode_pictures(pipe, torch.zeros(2, 3, 64, 64))
    prompts = family.encode_prompts(pipe, ["KIA_01", "KIA_01 laughing"])
    family.loss(pipe, latents, prompts, config, torch.Generator().manual_seed(0)).backward()


# ---- what a picture says


def test_a_picture_tells_how_it_was_drawn_and_can_be_drawn_again(stage: Stage, tmp_path: Path) -> None:
    where = stage.warm()
    cast = ({"id": "act_1", "name": "Kia", "trigger": "ACTOR_0", "version": "3"},)
    wanted = stage.request(
        count=2,
        loras=stage.loras(0.8),
        negative="blurry",
        actors=cast,
        out_dir=str(tmp_path),
        guidance=None,
        steps=None,
    )
    files = make(where, wanted, listen([]))
    made = pictures.read_back(files[1])
    assert made is not None
    card = families.CARDS[stage.family_id]
    assert (made.prompt, made.negative, made.seed) == ("KIA_01 laughing", "blurry", 8)
    assert (made.steps, made.guidance) == (card.default_steps, card.default_guidance)
    assert made.base.sha256 == where.identity
    assert made.cast == cast
    (actor,) = made.actors
    assert (actor.trigger, actor.weight) == ("ACTOR_0", 0.8)
    assert actor.sha256 == hashlib.sha256(stage.files[0].read_bytes()).hexdigest()
    assert str(tmp_path).encode() not in files[1].read_bytes()

    again = stage.request(
        prompt=made.prompt,
        negative=made.negative,
        seed=made.seed,
        steps=made.steps,
        guidance=made.guidance,
        width_px=made.width_px,
        height_px=made.height_px,
        loras=stage.loras(actor.weight),
        actors=made.cast,
        out_dir=str(tmp_path / "again"),
    )
    assert digests(make(stage.warm(), again, listen([]))) == digests(files[1:])


def test_every_step_is_told(stage: Stage, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    make(stage.warm(), stage.request(count=2, out_dir=str(tmp_path)), listen(events))
    steps = [event["step"] for event in events if event["event"] == "progress"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 6
    assert {event["total_steps"] for event in events if event["event"] == "progress"} == {6}
    made = [event for event in events if event["event"] == "picture"]
    assert [(event["seed"], event["index"]) for event in made] == [(7, 0), (8, 1)]
    assert events[-1]["event"] == "done"
    assert list(events[-1]["files"]) == [event["file"] for event in made]


def test_a_prompt_that_is_too_long_is_said(sd15: Stage, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    make(sd15.warm(), sd15.request(prompt="KIA_01 " + "very " * 60, out_dir=str(tmp_path)), listen(events))
    assert any("ignores the rest" in event["text"] for event in events if event["event"] == "note")
    events.clear()
    make(sd15.warm(), sd15.request(out_dir=str(tmp_path)), listen(events))
    assert not [event for event in events if event["event"] == "note"]


# ---- bad requests


def test_bad_requests_are_told_and_the_server_goes_on(sd15: Stage, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    server = Server(listen(events))
    foreign = (
        exported(tmp_path / "foreign", "starter", base(tmp_path / "starter", "starter")) / "lora.safetensors"
    )
    fake = tmp_path / "fake.safetensors"
    fake.write_bytes(b"\x80\x04pickle")

    def answer(**changes: Any) -> GreenroomError | None:
        return server.answer(sd15.request(**{"out_dir": str(tmp_path / "out"), **changes}).model_dump_json())

    bad: list[tuple[type[GreenroomError], str, GreenroomError | None]] = [
        (BadPrompt, "cannot be drawn", server.answer(b"{not json")),
        (BadPrompt, "base_source: Field required", server.answer(b'{"base_family": "sd15"}')),
        (BadPrompt, "Shorten", server.answer(b" " * (generate.MAX_REQUEST_BYTES + 1))),
        (BadPrompt, "in steps of 64 px. Use 128", answer(width_px=100)),
        (WrongUse, "out_dir", answer(out_dir="")),
        (UnsafeFile, "pickle", answer(loras=(LoraUse(file=str(fake)),))),
        (UnsafeFile, "No such file", answer(loras=(LoraUse(file=str(tmp_path / "gone")),))),
        (BadInput, "another base|no LoRA for this base", answer(loras=(LoraUse(file=str(foreign)),))),
        (BaseMissing, "", answer(base_source=str(tmp_path / "nowhere"))),
    ]
    for kind, words, error in bad:
        assert isinstance(error, kind), error
        assert any(word in str(error) for word in words.split("|")), error
    failures = [event for event in events if event["event"] == "failed"]
    assert [event["code"] for event in failures] == [type(error).__name__ for _, _, error in bad]
    assert not (tmp_path / "out").exists()
    assert answer() is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000-7.png"]


def test_a_lora_of_a_base_of_another_width_is_refused(sd15: Stage, tmp_path: Path) -> None:
    tensors, metadata = safe.load(sd15.files[0])
    name = next(name for name in sorted(tensors) if name.endswith("lora_A.weight"))
    tensors[name] = torch.zeros(tensors[name].shape[0], tensors[name].shape[1] + 1)
    safe.save(tmp_path / "wide.safetensors", tensors, metadata)
    where = sd15.warm()
    plain = paint(where, sd15.request())[0]
    with pytest.raises(BadInput, match="another base of this family"):
        where.cast([LoraUse(file=str(tmp_path / "wide.safetensors"))])
    assert same(paint(where, sd15.request())[0], plain)


def test_a_failed_cast_leaves_the_cast_before_it(sd15: Stage, tmp_path: Path) -> None:
    where = sd15.warm()
    expected = paint(where, sd15.request(loras=sd15.loras(1.0)))[0]
    with pytest.raises(UnsafeFile):
        where.cast([*sd15.loras(0.0, 1.0), LoraUse(file=str(tmp_path / "gone"))])
    assert same(draw(where.family, where.pipe, sd15.request(), nothing)[0], expected)


def test_a_fault_of_our_own_is_told_and_the_next_request_starts_afresh(sd15: Stage, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    server = Server(listen(events))
    wanted = sd15.request(out_dir=str(tmp_path / "out")).model_dump_json()
    assert server.answer(wanted) is None
    assert server._base is not None
    server._base.pipe.scheduler = None  # something that no request can do
    error = server.answer(wanted)
    assert error is not None
    assert error.code == "RunFailed"
    assert events[-1]["event"] == "failed"
    assert server.answer(wanted) is None


def test_full_memory_is_named(sd15: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    server = Server(listen([]))
    monkeypatch.setattr(generate, "draw", full)
    error = server.answer(sd15.request(out_dir=str(tmp_path)).model_dump_json())
    assert error is not None
    assert (error.code, "64x64" in str(error)) == ("OutOfMemory", True)


# ---- the real processes


@pytest.fixture
def child() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def start(child: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "greenroom.ml.generate", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    child.append(process)
    return process


def until_the_end(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The events of one request."""
    events: list[dict[str, Any]] = []
    assert process.stdout
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] in ("done", "failed"):
            break
    return events


def test_one_shot_and_warm_server_write_the_same_files(
    stage: Stage, tmp_path: Path, child: list[subprocess.Popen[str]]
) -> None:
    def wanted(name: str, **changes: Any) -> str:
        return stage.request(count=2, out_dir=str(tmp_path / name), **changes).model_dump_json()

    (tmp_path / "request.json").write_text(wanted("once", loras=stage.loras(1.0)))
    once = start(child, str(tmp_path / "request.json"))
    out, _ = once.communicate(timeout=120)
    events = [json.loads(line) for line in out.splitlines()]  # nothing but events stands on stdout
    assert once.returncode == 0, events[-1]
    assert events[-1]["event"] == "done"

    server = start(child, "--serve")
    assert server.stdin
    for name, changes in (
        ("other", {"loras": stage.loras(0.0, 1.0)}),
        ("plain", {}),
        ("warm", {"loras": stage.loras(1.0)}),
    ):
        server.stdin.write(wanted(name, **changes) + "\n")
        server.stdin.flush()
        events = until_the_end(server)
        assert events[-1]["event"] == "done", events
        has_loaded = any(event.get("phase") == "load" for event in events)
        assert has_loaded == (name == "other")  # the base is loaded once
    server.stdin.write("\n{broken\n")
    server.stdin.flush()
    assert until_the_end(server)[-1]["code"] == "BadPrompt"
    server.stdin.close()
    assert server.wait(timeout=60) == 0
    names = sorted(path.name for path in (tmp_path / "once").iterdir())
    assert names == ["000-7.png", "001-8.png"]
    assert digests([tmp_path / "once" / name for name in names]) == digests(
        [tmp_path / "warm" / name for name in names]
    )
    assert digests([tmp_path / "once" / name for name in names]) != digests(
        [tmp_path / "other" / name for name in names]
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_a_stopped_process_leaves_only_whole_pictures(
    sd15: Stage, tmp_path: Path, child: list[subprocess.Popen[str]], number: int, code: int
) -> None:
    server = start(child, "--serve")
    assert server.stdin
    assert server.stdout
    out = tmp_path / "out"
    server.stdin.write(sd15.request(count=256, out_dir=str(out)).model_dump_json() + "\n")
    server.stdin.flush()
    for line in server.stdout:
        if json.loads(line)["event"] == "picture":
            break
    time.sleep(0.2)
    server.send_signal(number)
    rest, _ = server.communicate(timeout=60)
    assert server.returncode == code
    if number != signal.SIGKILL:
        last = json.loads(rest.splitlines()[-1])
        assert (last["event"], last["code"]) == ("failed", "Cancelled")
        assert not list(out.glob(".*"))
    files = list(out.glob("[!.]*"))
    assert 1 <= len(files) < 256
    assert all(pictures.read_back(file) for file in files)


def test_a_bad_request_ends_the_one_shot_with_exit_code_3(
    tmp_path: Path, child: list[subprocess.Popen[str]]
) -> None:
    (tmp_path / "bad.json").write_text("{}")
    process = start(child, str(tmp_path / "bad.json"))
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 3
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["failed"]


def test_wrong_use_is_said_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert generate.main([]) == 2
    assert generate.main([str(tmp_path / "none.json")]) == 2
    out, error = capfd.readouterr()
    assert (out, "usage" in error, "none.json cannot be read" in error) == ("", True, True)


def test_a_stop_signal_reaches_the_drawing(sd15: Stage, tmp_path: Path) -> None:
    def stop(step: int, total: int) -> None:
        raise Cancelled("The drawing was stopped.")

    where = sd15.warm()
    with pytest.raises(Cancelled):
        draw(where.family, where.pipe, sd15.request(), stop)
