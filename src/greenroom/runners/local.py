"""Runs children on this machine. Knows processes, pipes and file locks; not what the children do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from greenroom.errors import StorageError
from greenroom.runners.ended import Ended, last_words, oom_kills

ORPHAN_PATIENCE_S = 20.0

DEFAULTS = {
    # NOTE: beside a busy neighbour, spinning OpenMP threads make a step ten times slower than sleeping ones.
    "OMP_WAIT_POLICY": "PASSIVE",
    # NOTE: glibc gives large blocks back to the kernel after each use, and every step faults the same pages in again;
    # keeping them makes a training step on a CPU twice as fast. Other allocators do not read these.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Of a child's environment, where its parent's says nothing."""


class LocalRunner:
    """Children of this very process."""

    def launch(
        self, module: str, arguments: Sequence[str], *, log: Path, lock: Path | None = None
    ) -> LocalRunning:
        """See runners.Runner.launch."""
        held = None if lock is None else _hold(lock)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", "greenroom.runners.child", str(os.getpid()), module, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**DEFAULTS, **os.environ},
                    pass_fds=() if held is None else (held,),
                    start_new_session=True,  # Ctrl-C reaches the command, which then asks the child to save
                )
            if held is not None:
                os.ftruncate(held, 0)
                os.pwrite(held, str(process.pid).encode(), 0)
        except OSError as error:
            raise StorageError(
                f"The child process could not be started ({error}). Free disk or memory and try again."
            ) from error
        finally:
            if held is not None:
                os.close(held)  # from here on only the child holds the lock
        return LocalRunning(process, log)


class LocalRunning:
    """One child process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self._ooms = oom_kills()
        self._log_start = log.stat().st_size
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._is_silent = False
        self._reader = threading.Thread(target=self._read, name="child-stdout", daemon=True)
        self._reader.start()

    def next_line(self, timeout_s: float) -> str | None:
        """See runners.Running.next_line."""
        if self._is_silent:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
            return None
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self._is_silent = line is None
        return line

    def send(self, line: str) -> None:
        """See runners.Running.send."""
        pipe = self.process.stdin
        assert pipe is not None
        pipe.write(line.encode() + b"\n")
        pipe.flush()

    def stop(self) -> None:
        """See runners.Running.stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """See runners.Running.kill."""
        self._signal(signal.SIGKILL)

    def ended(self) -> Ended | None:
        """See runners.Running.ended."""
        code = self.process.poll()
        if code is None or not self._is_silent:
            return None
        return Ended(
            code=code,
            ran_out_of_memory=code == -signal.SIGKILL and oom_kills() > self._ooms,
            last_words=last_words(self.log, self._log_start),
            log=self.log,
        )

    def close(self) -> None:
        """End it if it still runs, and free its pipes."""
        if self.process.poll() is None:
            self.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _read(self) -> None:
        pipe: IO[bytes] | None = self.process.stdout
        assert pipe is not None
        for line in pipe:
            self._lines.put(line.decode("utf-8", errors="replace").rstrip("\n"))
        self._lines.put(None)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


def _hold(lock: Path) -> int:
    """An open descriptor that holds the lock; a child that a dead worker left there is ended first."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + ORPHAN_PATIENCE_S
    is_asked = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            pass
        # The descriptor is inherited: whoever holds the lock is alive, and the number in the file is its own.
        holder = int(os.pread(descriptor, 20, 0) or b"0")
        is_late = time.monotonic() > until
        if holder and (not is_asked or is_late):
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL if is_late else signal.SIGTERM)
            is_asked = True
        time.sleep(0.05)
