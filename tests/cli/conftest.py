"""Homes to work in: an empty one, one with a draft, one with a trained actor. Each test has its own copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import commands
import pytest


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, toy_base: Path) -> Path:
    """A home that knows the toy base."""
    home = tmp_path_factory.mktemp("homes") / "empty"
    assert commands.run(home, "bases", "add", "toy", toy_base).code == 0
    return home


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, empty: Path, juno: Path
) -> tuple[Path, commands.Result]:
    """A home where Juno was trained by the real command, and what it printed."""
    home = tmp_path_factory.mktemp("homes") / "trained"
    shutil.copytree(empty, home)
    result = commands.run(
        home, "train", juno, "--name", "Juno", "--trigger", "JUNO_01", "--json", *commands.quick(),
        "--set", 'sample_prompts=["{trigger}, at the beach"]',
    )  # fmt: skip
    assert result.code == 0, result.err
    return home, result


@pytest.fixture
def home(tmp_path: Path, empty: Path) -> Path:
    """A fresh home that knows the toy base."""
    return Path(shutil.copytree(empty, tmp_path / "home"))


@pytest.fixture
def draft(home: Path, juno: Path) -> Path:
    """A home where Juno has her pictures and waits to be trained."""
    from greenroom import files, settings
    from greenroom.db import session as db
    from greenroom.studio import actors, workspaces

    here = settings.Settings(home=home)
    with db.session(here) as session:
        actors.find_or_create_for_folder(
            session,
            files.store(here),
            workspaces.default(session),
            juno,
            kind="character",
            name="Juno",
            trigger="JUNO_01",
            base="toy",
        )
    return home


@pytest.fixture
def studio(tmp_path: Path, trained: tuple[Path, commands.Result]) -> Path:
    """A home with the trained Juno."""
    return Path(shutil.copytree(trained[0], tmp_path / "studio"))


@pytest.fixture
def report(trained: tuple[Path, commands.Result]) -> dict[str, Any]:
    """The JSON that her training printed."""
    return trained[1].json
