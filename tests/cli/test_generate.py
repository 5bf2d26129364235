from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import commands
import pytest
from PIL import Image

PROMPT = "@JUNO_01 laughing, in space"


def _draw(home: Path, out: Path, *more: str) -> commands.Result:
    return commands.run(
        home, "generate", PROMPT, "--steps", "3", "--seed", "7", "--out", out, "--json", *more
    )


def _bytes(result: commands.Result) -> list[str]:
    return [hashlib.sha256(Path(image["path"]).read_bytes()).hexdigest() for image in result.json["images"]]


def test_the_same_seed_draws_the_same_bytes_cold_and_warm(studio: Path, tmp_path: Path) -> None:
    cold = _draw(studio, tmp_path / "cold", "--count", "2")
    assert cold.code == 0, cold.err
    assert len(cold.out.splitlines()) == 1
    images = cold.json["images"]
    assert [Path(image["path"]).name for image in images] == ["JUNO_01-7.png", "JUNO_01-8.png"]
    assert [image["seed"] for image in images] == [7, 8]
    assert images[0]["prompt"] == "JUNO_01 laughing, in space"
    with Image.open(images[0]["path"]) as picture:
        assert picture.size == (128, 128)
        assert "JUNO_01 laughing" in picture.info["parameters"]
        assert json.loads(picture.info["greenroom"])

    worker = commands.spawn(studio, "worker")
    try:
        deadline = time.monotonic() + 60
        while not list((studio / "workers").glob("*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        warm = _draw(studio, tmp_path / "warm", "--count", "2")
        assert warm.code == 0, warm.err
        again = _draw(studio, tmp_path / "again")
    finally:
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert said.count("generate gen_") == 4  # two jobs, each told when it begins and when it ends
    assert said.count(": done") == 2
    assert _bytes(warm) == _bytes(cold)
    assert _bytes(again) == _bytes(cold)[:1]
    assert not list((studio / "workers").glob("*"))


def test_another_picture_of_that_name_is_never_replaced(studio: Path, tmp_path: Path) -> None:
    (tmp_path / "JUNO_01-7.png").write_bytes(b"somebody's own")
    result = _draw(studio, tmp_path)
    assert Path(result.json["images"][0]["path"]).name == "JUNO_01-7-2.png"
    assert (tmp_path / "JUNO_01-7.png").read_bytes() == b"somebody's own"


@pytest.mark.parametrize(
    ("prompt", "options", "code", "said"),
    [
        ("@JUNO_02 laughing", [], 3, "@JUNO_01"),
        ("@Juno laughing", [], 3, "@JUNO_01"),
        ("   ", [], 3, "empty"),
        (PROMPT, ["--size", "huge"], 2, "--size"),
        (PROMPT, ["--size", "250x250"], 3, "multiples"),
        (PROMPT, ["--size", "9000x9000"], 3, "width_px"),
        (PROMPT, ["--weight", "11"], 3, "weight"),
        (PROMPT, ["--base", "toi"], 3, "toy"),
        (PROMPT, ["--out", "/proc/greenroom"], 3, "--out"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_sentence(
    studio: Path, prompt: str, options: list[str], code: int, said: str
) -> None:
    result = commands.run(studio, "generate", prompt, *options)
    assert result.code == code
    assert said in result.error


def test_an_actor_that_is_not_trained_yet(draft: Path) -> None:
    result = commands.run(draft, "generate", PROMPT)
    assert result.code == 3
    assert "not trained yet" in result.error


def test_a_killed_child_is_a_failed_drawing_with_its_cause(studio: Path, tmp_path: Path) -> None:
    drawing = commands.spawn(studio, "generate", PROMPT, "--steps", "200", "--count", "64", "--out", tmp_path)
    child = _child_of(drawing.pid)
    os.kill(child, signal.SIGKILL)
    _, said = drawing.communicate(timeout=60)
    assert drawing.returncode == 4
    assert "killed (signal 9)" in said


def _child_of(pid: int) -> int:
    """The torch child of a command, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise AssertionError("no child came up")
