"""The torch side of Greenroom: training, drawing, export. Knows folders and JSON, no database and no web."""

import os

# NOTE: OpenMP reads these once, when torch is imported, and that happens below this package only. By default idle
# threads spin; beside a busy neighbour on two cores, that was measured to turn a step of 1.1 s into 9 s. And when one
# thread of two must wait for a core, both wait at every product, hundreds of times a step: sixty steps of a toy took
# over five minutes with two threads on a busy core and less than one with a single thread. So half of the cores are
# left to others; whoever has the machine alone sets OMP_NUM_THREADS.
_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores // 2)))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
