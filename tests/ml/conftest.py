"""Toy bases, saved once for all tests."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from greenroom.ml import families

torch.set_num_threads(1)  # toys are faster so, and the tests may have a busy neighbour


@pytest.fixture(scope="session")
def tiny_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family id -> a saved toy base."""
    root = tmp_path_factory.mktemp("bases")
    for family_id in families.CARDS:
        importlib.import_module(f"greenroom.ml.families.{family_id}.model").tiny(root / family_id)
    return {family_id: root / family_id for family_id in families.CARDS}
