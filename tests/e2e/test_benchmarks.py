"""The benchmark that compares our loop with a plain one still runs, and measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_speed.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_loops_are_timed_in_one_run(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    ran = subprocess.run(
        [
            sys.executable, str(SCRIPT), "--steps", "8", "--repeats", "1", "--batch", "2", "--threads", "1",
            "--json", str(figures),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "seconds a step" in ran.stdout
    runs = json.loads(figures.read_text())["runs"]
    for name in ("plain", "greenroom"):
        (run,) = runs[name]
        assert 0.001 < run["step_s"] < run["startup_s"]
        assert 100e6 < run["peak_bytes"] < 4e9
