"""A real `greenroom serve` on a home of its own, for the benchmarks that look at it from outside."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server's address, its process, and how long it took to answer its first page."""

    url: str
    pid: int
    start_s: float
    start_cpu_s: float
    """Processor time of the same."""


@dataclass
class Times:
    """Answer times of one address, in seconds."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu_s: float | None = None
    """Processor time of the server for one answer: what the time would be on a machine without neighbours."""

    def line(self, limit_s: float) -> str:
        """Median, 95th percentile, worst and processor time in ms, and whether the limit holds at the 95th."""
        ordered = sorted(self.seconds)
        p95 = ordered[max(0, round(0.95 * len(ordered)) - 1)]
        verdict = "holds" if p95 < limit_s else "DOES NOT HOLD"
        cpu = "" if self.cpu_s is None else f"{self.cpu_s * 1000:.1f}"
        return (
            f"{self.name:<44} {statistics.median(ordered) * 1000:8.1f} {p95 * 1000:8.1f} "
            f"{ordered[-1] * 1000:8.1f} {cpu:>8}  {verdict}"
        )


HEAD = f"{'':<44} {'median':>8} {'p95':>8} {'worst':>8} {'CPU':>8}  (ms)"


@contextmanager
def server(home: Path) -> Iterator[Server]:
    """`greenroom serve --no-worker` on a free port, ended at the end."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "greenroom", "serve", "--port", "0", "--no-worker"],
        env={**os.environ, "GREENROOM_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the server printed no address"
        httpx.get(found[0], timeout=60).raise_for_status()
        yield Server(
            url=found[0],
            pid=process.pid,
            start_s=time.perf_counter() - began,
            start_cpu_s=cpu_s(process.pid),
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held so far."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM")


def children_bytes(pid: int) -> int:
    """What all descendants of a process hold now, what they share counted once among them."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            total += _field(Path(f"/proc/{child}/smaps_rollup"), "Pss") + children_bytes(int(child))
    return total


def _field(file: Path, name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    except OSError:
        return 0  # it has ended meanwhile
    return int(found[1]) * 1024 if found else 0
