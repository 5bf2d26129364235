"""A studio of its own for each test: real SQLite, real files, real pictures, all in tmp_path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from tests_unit_pictures import draw, write_base

from greenroom import files
from greenroom import settings as settings_module
from greenroom.db import session as db
from greenroom.db.models import Actor, Workspace
from greenroom.ml.config import TrainConfig
from greenroom.settings import Settings
from greenroom.studio import actors, bases, images, recipes, workspaces
from greenroom.studio.bases import BaseInfo


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    settings_module.current.cache_clear()
    yield settings_module.current()
    settings_module.current.cache_clear()


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    with db.session(settings) as opened:
        yield opened


@pytest.fixture
def store(settings: Settings) -> files.Store:
    return files.store(settings)


@pytest.fixture
def workspace(session: Session) -> Workspace:
    return workspaces.default(session)


@pytest.fixture
def base(session: Session, tmp_path: Path) -> BaseInfo:
    return bases.add(session, "tiny", write_base(tmp_path / "tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, four of them with a caption, one of those with the trigger in it already."""
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(6):
        draw(made / f"kia-{number}.{'jpg' if number % 2 else 'png'}", number)
    for number in range(3):
        (made / f"kia-{number}.txt").write_text(f"a woman, picture {number}", encoding="utf-8")
    (made / "kia-3.txt").write_text("KIA_01, laughing", encoding="utf-8")
    return made


@pytest.fixture
def actor(session: Session, store: files.Store, workspace: Workspace, base: BaseInfo, folder: Path) -> Actor:
    """A draft with the six pictures of `folder`."""
    made = actors.create(session, workspace, kind="character", name="KIA", trigger="KIA_01", base="tiny")
    images.add_folder(session, store, made, folder)
    return made


@pytest.fixture
def config(actor: Actor, base: BaseInfo) -> Callable[..., TrainConfig]:
    """The configuration that the actor's recipe gives, with overrides."""

    def make(**overrides: object) -> TrainConfig:
        recipe = recipes.default_for(base.family, actor.kind)
        return recipes.config(
            recipe, name=actor.name, trigger=actor.trigger, kind=actor.kind, base=base, **overrides
        )

    return make
