"""Runs real commands: in this process, which is quick, or in one of their own, which can be killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from greenroom import settings
from greenroom.cli import app, terminal


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout."""
        found = json.loads(self.out.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> str:
        """The one sentence of a command that failed."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("Error: ")


def run(home: Path, *arguments: str | Path) -> Result:
    """`greenroom arguments…` in this process, through the very entry point."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    terminal.wants_json = False
    terminal._facts.clear()
    with (
        mock.patch.dict(os.environ, {"GREENROOM_HOME": str(home)}),
        mock.patch.object(sys, "argv", ["greenroom", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        settings.current.cache_clear()
        try:
            app.main()
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, before)
            settings.current.cache_clear()
    assert isinstance(code, int)
    return Result(code=code, out=out.getvalue(), err=err.getvalue())


def spawn(home: Path, *arguments: str | Path, **more: str) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        command(*arguments),
        env={**os.environ, "GREENROOM_HOME": str(home), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(*arguments: str | Path) -> Sequence[str]:
    """The command line of `greenroom arguments…`."""
    return [sys.executable, "-m", "greenroom", *map(str, arguments)]


def quick(steps: int = 6) -> list[str]:
    """Options that make a training short; it is not measured, which would take longer than its steps."""
    sets = (
        "batch_size=2", "rank=4", "sample_prompts=[]", "checkpoint_every=3", "warmup_steps=0", "measure=false"
    )  # fmt: skip
    return ["--base", "toy", "--steps", str(steps), *(word for pair in sets for word in ("--set", pair))]
