"""A training that is killed and stopped through the command line, and goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import commands
import pytest

STEPS = 60


def _arguments(juno: Path) -> list[str | Path]:
    more = ("--set", "checkpoint_every=7", "--json")
    return ["train", juno, "--name", "Juno", "--trigger", "JUNO_01", *commands.quick(STEPS), *more]


def _told(home: Path) -> list[str]:
    """What the unfinished training has told so far, in all its tries."""
    return [
        line for file in (home / "runs").glob("trn_*/events.jsonl") for line in file.read_text().splitlines()
    ]


def _wait_for_step(home: Path, step: int, *, word: str = '"train"', after: int = 0) -> None:
    """Until the running try has told of that step; after: how much the tries before it told."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for line in _told(home)[after:]:
            if word in line and line.endswith("}") and json.loads(line)["step"] >= step:
                return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was never reached")


def _exported(report: dict[str, Any]) -> bytes:
    return Path(report["lora"]).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_and_a_stopped_run_end_with_the_bytes_of_an_unbroken_one(
    home: Path, juno: Path, tmp_path: Path
) -> None:
    dice = Random(os.urandom(8))
    moments = sorted(dice.sample(range(3, STEPS - 10), 2))

    killed = commands.spawn(home, *_arguments(juno))
    _wait_for_step(home, moments[0])
    killed.kill()
    killed.communicate()
    (actor,) = commands.run(home, "actors", "list", "--json").json["actors"]
    assert actor["state"] in ("queued", "training")

    before = len(_told(home))
    stopped = commands.spawn(home, *_arguments(juno))
    _wait_for_step(home, moments[1], after=before)
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, err
    said = json.loads(out.splitlines()[-1])
    assert said["status"] == "cancelled"
    assert said["steps"] >= moments[1]
    (actor,) = commands.run(home, "actors", "list", "--json").json["actors"]
    assert actor["state"] == "cancelled"

    resumed = commands.run(home, "train", "--resume", "Juno", "--json")
    assert resumed.code == 0, resumed.err
    assert "Going on after step" in resumed.err

    again = commands.run(home, *_arguments(juno), "--new-version")
    assert again.code == 0, again.err
    assert resumed.json["training"] != again.json["training"]
    assert (resumed.json["version"], again.json["version"]) == (1, 2)
    assert Path(resumed.json["losses"]).read_bytes() == Path(again.json["losses"]).read_bytes()
    assert _exported(resumed.json) == _exported(again.json), f"killed at {moments}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_while_it_is_measured_chooses_what_an_unbroken_one_chooses(
    home: Path, juno: Path
) -> None:
    measured = [*_arguments(juno)[:6], *commands.quick(12), "--set", "measure=true", "--json"]
    killed = commands.spawn(home, *measured)
    _wait_for_step(home, 6, word='"saved"')  # the first that is measured is step 3, which takes a while
    killed.kill()
    killed.communicate()

    resumed = commands.run(home, "train", "--resume", "Juno", "--json")
    assert resumed.code == 0, resumed.err
    again = commands.run(home, *measured, "--new-version")
    assert again.code == 0, again.err
    assert resumed.json["chosen_step"] == again.json["chosen_step"]
    assert _exported(resumed.json) == _exported(again.json)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_command_is_refused_while_the_first_trains(home: Path, juno: Path) -> None:
    first = commands.spawn(home, *_arguments(juno))
    try:
        _wait_for_step(home, 1)
        second = commands.run(home, *_arguments(juno))
        assert second.code == 3
        assert second.json["error"]["code"] == "AlreadyTraining"
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    assert first.returncode == 130
