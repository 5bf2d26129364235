from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import commands
import pytest

from greenroom import __version__

COMMANDS = [
    "demo", "train", "generate", "check", "worker",
    "actors", "actors list", "actors show", "actors export", "actors delete", "actors restore",
    "captions", "captions list", "captions set", "captions replace",
    "bases", "bases list", "bases add", "bases remove",
]  # fmt: skip


def test_help_answers_in_half_a_second() -> None:
    def seconds() -> float:
        """Processor time, so that a busy neighbour does not decide; on a free core it is the time waited."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(commands.command("--help"), check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


def test_help_imports_neither_torch_nor_the_database() -> None:
    script = (
        "import sys; sys.argv = ['greenroom', '--help']\n"
        "from greenroom.cli import app\n"
        "try: app.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'sqlalchemy', 'obstore', 'PIL', 'numpy'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_the_studio_side_of_the_commands_imports_no_torch() -> None:
    script = (
        "import sys\n"
        "from greenroom import worker\n"
        "from greenroom.cli import edge, progress\n"
        "from greenroom.studio import actors, captions, checks, generations, images, recipes, trainings\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_shows_an_example(tmp_path: Path, name: str) -> None:
    result = commands.run(tmp_path, *name.split(), "--help")
    assert result.code == 0
    assert f"greenroom {name}" in result.out.partition("\n")[2]


def test_each_command_and_option_stands_in_the_docs(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"greenroom {name}" in docs
        for word in commands.run(tmp_path, *name.split(), "--help").out.replace(",", " ").split():
            if word.startswith("--") and word not in ("--help", "--trigger."):
                assert word.rstrip(".;:") in docs, f"{word} of {name} is not in docs/cli.md"


def test_version_is_told(tmp_path: Path) -> None:
    assert commands.run(tmp_path, "--version").out == f"greenroom {__version__}\n"


@pytest.mark.parametrize(
    "line", ["frob", "train --steps many", "train", "actors frob", "generate", "captions replace Juno"]
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path: Path, line: str) -> None:
    result = commands.run(tmp_path, *line.split())
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert result.error


def test_an_error_is_told_as_json_too_when_asked(home: Path) -> None:
    result = commands.run(home, "actors", "show", "Nobody", "--json")
    assert result.code == 3
    assert result.json["status"] == "failed"
    assert result.json["error"] == {"code": "UnknownActor", "message": result.error}


def test_an_unexpected_error_is_one_line_and_a_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from greenroom.studio import actors

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("what nobody thought of")

    monkeypatch.setattr(actors, "list_", broken)
    result = commands.run(home, "actors", "list")
    assert result.code == 4
    assert "what nobody thought of" in result.error
    log = home / "greenroom.log"
    assert str(log) in result.error
    assert "Traceback" in log.read_text()


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    line = f"'{sys.executable}' -m greenroom --help | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env={**os.environ, "GREENROOM_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_a_setting_that_makes_no_sense_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_MIN_PICTURES", "many")
    result = commands.run(home, "actors", "list")
    assert result.code == 2
    assert "GREENROOM_MIN_PICTURES" in result.error
