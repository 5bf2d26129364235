"""A studio of its own for each test: real SQLite, real files, real pictures, all in tmp_path."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from tests_unit_pictures import draw_folder, write_base

from greenroom import files
from greenroom import settings as settings_module
from greenroom.db import session as db
from greenroom.db.models import Actor, Base, Workspace
from greenroom.ml.config import TrainConfig
from greenroom.settings import Settings
from greenroom.studio import actors, bases, images, recipes, workspaces
from greenroom.studio.bases import BaseInfo


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with KIA's six pictures in it, made once, as decoding takes time."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENROOM_HOME", str(root / "home"))
        settings_module.current.cache_clear()
        settings = settings_module.current()
        with db.session(settings) as session:
            bases.add(session, "tiny", write_base(root / "tiny"))
            made = actors.create(
                session,
                workspaces.default(session),
                kind="character",
                name="KIA",
                trigger="KIA_01",
                base="tiny",
            )
            images.add_folder(session, files.store(settings), made, draw_folder(root / "pictures"))
        db.engine(settings).dispose()
        settings_module.current.cache_clear()
    return root / "home"


@pytest.fixture
def settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Settings]:
    """An empty home, or a copy of the template where the test uses `actor`."""
    if "actor" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("template"), tmp_path / "home")
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
    folder = write_base(tmp_path / "tiny")
    row = session.get(Base, "tiny")
    if row is None:
        return bases.add(session, "tiny", folder)
    row.source = str(folder)
    session.flush()
    return bases.find(session, "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, four of them with a caption, one of those with the trigger in it already."""
    return draw_folder(tmp_path / "pictures")


@pytest.fixture
def actor(session: Session, workspace: Workspace, base: BaseInfo, folder: Path) -> Actor:
    """A draft with the six pictures of `folder`."""
    return actors.find(session, workspace, "KIA_01")


@pytest.fixture
def config(actor: Actor, base: BaseInfo) -> Callable[..., TrainConfig]:
    """The configuration that the actor's recipe gives, with overrides."""

    def make(**overrides: object) -> TrainConfig:
        recipe = recipes.default_for(base.family, actor.kind)
        return recipes.config(
            recipe, name=actor.name, trigger=actor.trigger, kind=actor.kind, base=base, **overrides
        )

    return make
