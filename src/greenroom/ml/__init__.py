"""The torch side of Greenroom: training, drawing, export. Knows folders and JSON, no database and no web."""

import os

# NOTE: OpenMP reads this once, when torch is imported, and that happens below this package only. By default
# idle threads spin; beside a busy neighbour on two cores, that was measured to turn a step of 1.1 s into 9 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
