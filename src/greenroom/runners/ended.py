"""How a child ended, and why. Knows exit codes, signals and the kernel's memory counters."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended. `code` is negative for a signal; `last_words` is its last line on stderr."""

    code: int
    ran_out_of_memory: bool
    last_words: str
    log: Path

    def explain(self) -> str:
        """The cause in words, for a child that ended without saying why."""
        if self.ran_out_of_memory:
            return "the system ended it because memory ran out (SIGKILL by the OOM killer)"
        if self.code == -signal.SIGKILL:
            return "it was killed (signal 9), most often because memory ran out"
        if self.code < 0:
            return f"it was ended by signal {-self.code} ({_signal_name(-self.code)})"
        words = f": {self.last_words}" if self.last_words else ""
        return f"it ended with exit code {self.code}{words}"


def oom_kills() -> int:
    """How often the kernel has ended a process of our control group for memory; 0 where that is not told."""
    total = 0
    for file in _memory_event_files():
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    total += int(count)
    return total


def last_words(log: Path, start: int) -> str:
    """The last line with words that stands in the log after byte `start`."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 4096))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]


def _memory_event_files() -> set[Path]:
    root = Path("/sys/fs/cgroup")
    files = {root / "memory.events"}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                files.add(root / line.removeprefix("0::/") / "memory.events")
    return files


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
