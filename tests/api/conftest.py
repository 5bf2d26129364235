"""A studio behind its real application: real SQLite, real files and pictures in tmp_path; no torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from tests_unit_pictures import draw_folder, write_base

from greenroom import files
from greenroom import settings as settings_module
from greenroom.db import session as db
from greenroom.db.models import Actor, JobKind, Training, Workspace
from greenroom.settings import Settings
from greenroom.studio import actors, bases, generations, images, jobs, plans, trainings, workspaces

ORIGIN = "http://127.0.0.1:8000"
PICTURE = b"\x89PNG\r\n\x1a\n-as-drawn"


@dataclass(frozen=True, kw_only=True)
class World:
    """Ids of what a workspace holds: a trained actor, its version and what was drawn with it."""

    workspace: str
    actor: str
    picture: str
    training: str
    checkpoint: str
    generation: str
    made: str


def fill(
    settings: Settings, session: Session, workspace: Workspace, folder: Path, *, trigger: str = "KIA_01"
) -> World:
    """A trained actor with pictures, a version, a drawing: as the worker would have left them."""
    store = files.store(settings)
    actor = actors.create(
        session, workspace, kind="character", name=trigger[:3], trigger=trigger, base="tiny"
    )
    images.add_folder(session, store, actor, folder)
    training = trained(session, store, actor)
    asked = generations.request(prompt=f"@{trigger} laughing", count=2, seed=7)
    generation = generations.start(session, workspace, asked)
    job = jobs.claim(session, "test", kinds=[JobKind.GENERATE])
    assert job is not None
    for seed in (7, 8):
        key = files.made_key(generation.id, f"{seed:04d}")
        store.put(key, PICTURE)
        drawn = generations.add_picture(
            session, generation, key=key, seed=seed, prompt="laughing", width_px=64, height_px=64
        )
    generations.complete(session, generation)
    return World(
        workspace=workspace.id,
        actor=actor.id,
        picture=images.list_(session, actor)[0].id,
        training=training.id,
        checkpoint=trainings.checkpoints(session, training)[0].id,
        generation=generation.id,
        made=drawn.id,
    )


def trained(session: Session, store: files.Store, actor: Actor) -> Training:
    """A version that is done, with its files in the store."""
    training = plans.start(session, actor, steps=4)
    job = jobs.claim(session, "test", kinds=[JobKind.TRAIN])
    assert job is not None
    for step in range(1, 5):
        trainings.record(
            session,
            training,
            {"event": "progress", "phase": "train", "step": step, "total_steps": 4, "loss": 1 / step,
             "seconds": float(step), "seconds_left": 4.0 - step},
        )  # fmt: skip
    trainings.record(session, training, {"event": "saved", "step": 4, "folder": "checkpoints/step-000004"})
    sample = files.sample_key(actor.id, training.id, 4, 0)
    store.put(sample, PICTURE)
    trainings.add_checkpoint_files(session, training, 4, sample_keys=[sample])
    lora = files.export_key(actor.id, training.id, "lora.safetensors")
    store.put(lora, b"weights")
    store.put(files.export_key(actor.id, training.id, "model-card.json"), b"{}")
    trainings.complete(session, training, lora_key=lora, seconds=4.0)
    return training


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """A home that is made once, as decoding pictures takes time."""
    root = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENROOM_HOME", str(root / "home"))
        settings_module.current.cache_clear()
        settings = settings_module.current()
        with db.session(settings) as session:
            bases.add(session, "tiny", write_base(root / "tiny"))
            world = fill(settings, session, workspaces.default(session), draw_folder(root / "pictures"))
        db.engine(settings).dispose()
        settings_module.current.cache_clear()
    return root / "home", world


@pytest.fixture
def world(template: tuple[Path, World]) -> World:
    """What is in the workspace."""
    return template[1]


@pytest.fixture
def home(template: tuple[Path, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A copy of it for one test."""
    shutil.copytree(template[0], tmp_path / "home")
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    settings_module.current.cache_clear()
    yield settings_module.current()
    settings_module.current.cache_clear()


@pytest.fixture
def api(home: Settings) -> Iterator[TestClient]:
    """A program on this machine, without a key."""
    from greenroom.web import app

    studio = app.create(home, hosts={"127.0.0.1:8000"})
    with TestClient(studio, base_url=f"{ORIGIN}/api/v1", follow_redirects=False) as opened:
        yield opened
