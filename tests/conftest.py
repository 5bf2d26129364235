"""What every test shares: no network, and toy bases that are saved once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random pipeline of the starter's layout at toy width."""
    from greenroom.ml.families.starter import model

    folder = tmp_path_factory.mktemp("toy") / "base"
    model.tiny(folder)
    return folder


@pytest.fixture(scope="session")
def juno() -> Path:
    """The sample character: 14 pictures with captions."""
    return CHECKOUT / "samples" / "character-juno"
