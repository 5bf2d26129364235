"""Keeps one worker running beside the server, in a process of its own. Knows nothing about jobs.

A worker that dies, even by kill -9, costs no page: the next one is started and takes its job up again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from greenroom.settings import Settings

GRACE_S = 20.0
"""How long a worker may take to save a running training when the server ends."""
_SHORT_LIFE_S = 5.0
_MOST_PAUSE_S = 30.0


@contextmanager
def beside(settings: Settings) -> Iterator[None]:
    """Within it, a worker of these settings is always running."""
    stop = threading.Event()
    keeper = threading.Thread(target=_keep, args=(settings, stop), name="worker-keeper")
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


def _keep(settings: Settings, stop: threading.Event) -> None:
    logs = settings.make_home() / "logs"
    logs.mkdir(exist_ok=True)
    pause = 0.5
    # NOTE: the child dies with the thread that started it (PR_SET_PDEATHSIG), so this one lives to the end.
    while not stop.is_set():
        began = time.monotonic()
        with (logs / "worker.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "greenroom.runners.child", str(os.getpid()), "greenroom", "worker"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "GREENROOM_HOME": str(settings.home_folder)},
                # Ctrl-C reaches the server alone, which then asks the worker to save.
                start_new_session=True,
            )
        while child.poll() is None and not stop.wait(0.2):
            pass
        if child.poll() is None:
            _end(child)
            return
        is_short = time.monotonic() - began < _SHORT_LIFE_S
        pause = min(pause * 2, _MOST_PAUSE_S) if is_short else 0.5
        stop.wait(pause)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
