"""Toy bases, saved once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from greenroom.ml.families.sd15 import model as sd15
from greenroom.ml.families.starter import model as starter

torch.set_num_threads(1)  # toys are faster so, and the tests may have a busy neighbour


@pytest.fixture(scope="session")
def tiny_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family id -> a saved toy base."""
    root = tmp_path_factory.mktemp("bases")
    starter.tiny(root / "starter")
    sd15.tiny(root / "sd15")
    return {"starter": root / "starter", "sd15": root / "sd15"}
