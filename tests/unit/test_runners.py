"""Real children: their lines, their ends, and what becomes of them when a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom import runners
from greenroom.errors import WrongUse
from greenroom.runners import Ended, Running


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files the children can run as modules."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def _finish(child: Running) -> tuple[list[str], Ended]:
    lines = []
    until = time.monotonic() + 20
    while time.monotonic() < until:
        line = child.next_line(0.1)
        if line is not None:
            lines.append(line)
        elif (ended := child.ended()) is not None:
            child.close()
            return lines, ended
    raise AssertionError("the child did not end")


@pytest.mark.parametrize("name", list(runners.RUNNERS))
class TestEveryRunner:
    def test_lines_come_in_order_and_then_the_end(self, modules: Path, name: str) -> None:
        (modules / "says.py").write_text(
            "import sys\nfor i in range(3): print('line', i)\nprint(sys.argv[1:])"
        )
        child = runners.get(name).launch("says", ["a", "b c"], log=modules / "log")
        lines, ended = _finish(child)
        assert lines == ["line 0", "line 1", "line 2", "['a', 'b c']"]
        assert ended.code == 0

    def test_a_child_that_answers_lines(self, modules: Path, name: str) -> None:
        (modules / "echo.py").write_text("for line in iter(input, 'end'): print(line.upper(), flush=True)")
        child = runners.get(name).launch("echo", [], log=modules / "log")
        child.send("hello")
        assert child.next_line(20) == "HELLO"
        child.send("end")
        assert _finish(child)[1].code == 0

    def test_a_crash_is_explained_by_its_last_words(self, modules: Path, name: str) -> None:
        (modules / "dies.py").write_text("raise ValueError('the reason')")
        log = modules / "logs" / "log"
        _, ended = _finish(runners.get(name).launch("dies", [], log=log))
        assert ended.code == 1
        assert "ValueError: the reason" in ended.explain()
        assert "Traceback" in log.read_text()

    def test_stop_lets_it_save_and_kill_does_not(self, modules: Path, name: str) -> None:
        (modules / "saves.py").write_text(
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(130)))\n"
            "print('ready', flush=True)\n"
            "while True: time.sleep(0.05)"
        )
        child = runners.get(name).launch("saves", [], log=modules / "log")
        assert child.next_line(20) == "ready"
        child.stop()
        lines, ended = _finish(child)
        assert (lines, ended.code) == (["saved"], 130)
        child = runners.get(name).launch("saves", [], log=modules / "log")
        assert child.next_line(20) == "ready"
        child.kill()
        _, ended = _finish(child)
        assert ended.code == -signal.SIGKILL
        assert "signal 9" in ended.explain()

    def test_a_child_left_in_a_folder_is_ended_before_the_next(self, modules: Path, name: str) -> None:
        (modules / "stays.py").write_text(
            "import time\nprint('here', flush=True)\nwhile True: time.sleep(0.05)"
        )
        lock = modules / "run" / ".lock"
        left = runners.get(name).launch("stays", [], log=modules / "log", lock=lock)
        assert left.next_line(20) == "here"
        (modules / "quick.py").write_text("print('mine')")
        lines, _ = _finish(runners.get(name).launch("quick", [], log=modules / "log", lock=lock))
        assert lines == ["mine"]
        assert _finish(left)[1].code == -signal.SIGTERM


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems end it when the next child needs its folder"
)
def test_a_child_dies_with_its_worker(modules: Path) -> None:
    (modules / "stays.py").write_text("import time\nwhile True: time.sleep(0.05)")
    (modules / "parent.py").write_text(
        "import time\nfrom pathlib import Path\nfrom greenroom import runners\n"
        f"child = runners.get('local').launch('stays', [], log=Path({str(modules / 'log')!r}))\n"
        "print(child.process.pid, flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    parent = subprocess.Popen([sys.executable, modules / "parent.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _is_alive(child)
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 10
    while _is_alive(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _is_alive(child)


def test_an_unknown_runner_names_the_known_ones() -> None:
    with pytest.raises(WrongUse, match="local"):
        runners.get("ray")


def test_the_ends_of_children_are_told_in_words(tmp_path: Path) -> None:
    def words(code: int, *, ran_out: bool = False) -> str:
        return Ended(code=code, ran_out_of_memory=ran_out, last_words="", log=tmp_path).explain()

    assert "memory ran out" in words(-9, ran_out=True)
    assert "signal 11 (SIGSEGV)" in words(-11)
    assert "exit code 7" in words(7)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return status != "Z"
