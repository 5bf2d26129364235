"""The first lines of every child: die with the worker, go first when memory runs out, then be the module.

Runs as `python -m greenroom.runners.child MODULE ARGUMENTS…`. Knows nothing about what the module does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
OOM_SCORE = 500  # of 1000: well above a web server or an editor, below nothing that matters more


def main() -> None:
    """Tie this process to its parent and become the module."""
    parent, module, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        # NOTE: SIGKILL, not SIGTERM. The worker that read our lines is gone, so nobody would see us save;
        # a resumed run repeats the steps since the last checkpoint and ends with the same bytes.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    if os.getppid() != int(parent):
        sys.exit(1)  # the parent died before the line above could see it
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
