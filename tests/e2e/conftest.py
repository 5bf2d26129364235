"""The helpers of the command line's tests, used here on whole journeys."""

from __future__ import annotations

from pathlib import Path

import commands
import pytest


@pytest.fixture
def home(tmp_path: Path, toy_base: Path) -> Path:
    """A home that knows the toy base."""
    assert commands.run(tmp_path / "home", "bases", "add", "toy", toy_base).code == 0
    return tmp_path / "home"
