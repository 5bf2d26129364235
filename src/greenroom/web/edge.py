"""The edge of the studio for the browser: opens it for one request, and renders templates. Holds no rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.orm import Session

from greenroom import __version__, files
from greenroom.db import session as db
from greenroom.db.models import Actor, Generation, Training, Workspace
from greenroom.errors import (
    NotAllowed,
    NotSignedIn,
    UnknownActor,
    UnknownGeneration,
    UnknownTraining,
    UnknownWorkspace,
)
from greenroom.settings import Settings
from greenroom.studio import generations, trainings, workspaces
from greenroom.web import visiting, wording
from greenroom.web.visiting import Visitor


@dataclass(frozen=True, kw_only=True)
class Studio:
    """An open studio. Everything done through `session` is saved together at the end, or not at all."""

    settings: Settings
    session: Session
    store: files.Store
    workspace: Workspace
    visitor: Visitor

    def require_owner(self) -> None:
        """Raise NotAllowed unless the visitor owns the workspace."""
        if not self.visitor.is_owner:
            raise NotAllowed("Only an owner of the workspace may do that. Ask one of them.")

    def actor(self, actor_id: str, *, deleted: bool = False) -> Actor:
        """The workspace's actor of that id; with `deleted`, also one in the trash. Raises UnknownActor."""
        actor = self.session.get(Actor, actor_id)
        if (
            actor is None
            or actor.workspace_id != self.workspace.id
            or (actor.deleted_at is not None and not deleted)
        ):
            raise UnknownActor("There is no such model here, or it is in the trash. Go back to your models.")
        return actor

    def training(self, training_id: str) -> tuple[Training, Actor]:
        """A training of the workspace and its actor. Raises UnknownTraining."""
        training = trainings.find(self.session, training_id)
        actor = self.session.get_one(Actor, training.actor_id)
        if actor.workspace_id != self.workspace.id:
            raise UnknownTraining("There is no such training here. Go back to your models.")
        return training, actor

    def generation(self, generation_id: str) -> Generation:
        """A generation of the workspace. Raises UnknownGeneration."""
        generation = generations.find(self.session, generation_id)
        if generation.workspace_id != self.workspace.id:
            raise UnknownGeneration("There are no such pictures here. Go back to Generate.")
        return generation


@contextmanager
def studio(settings: Settings) -> Iterator[Studio]:
    """The visitor's workspace for one request; commits at the end, rolls back on any error.

    Raises NotSignedIn when nobody known has asked: no page can open a workspace by accident.
    """
    visitor = visiting.current()
    if visitor is None:
        raise NotSignedIn("Sign in first.")
    store = files.store(settings)
    with db.session(settings) as session:
        yield Studio(
            settings=settings,
            session=session,
            store=store,
            workspace=_workspace(session, visitor),
            visitor=visitor,
        )


def _workspace(session: Session, visitor: Visitor) -> Workspace:
    if visitor.workspace_id is None:
        return workspaces.default(session)
    found = session.get(Workspace, visitor.workspace_id)
    if found is None:
        raise UnknownWorkspace("This workspace is gone. Sign in again.")
    return found


def settings_of(request: Request) -> Settings:
    """The settings that the application was created with."""
    found = request.app.state.settings
    assert isinstance(found, Settings)
    return found


def page(template: str, request: Request, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A rendered template as an answer."""
    path = request.url.path
    section = "generate" if path.startswith(("/generat", "/history", "/made")) else "models"
    if path.startswith(("/settings", "/account", "/workspaces", "/members", "/keys")):
        section = "settings"
    visitor = visiting.current()
    return HTMLResponse(render(template, section=section, visitor=visitor, **values), status_code=status)


def render(template: str, **values: Any) -> str:
    """A rendered template as text."""
    return _templates.get_template(template).render(**values)


def proof() -> str:
    """What every form's address ends with, so that no page of somebody else can send one in a visitor's name.

    In the address and not in a field: it is checked before a body, which may be 600 MB of pictures, is read.
    """
    visitor = visiting.current()
    return f"?proof={visitor.form_token}" if visitor is not None and visitor.form_token else ""


def see_other(url: str) -> RedirectResponse:
    """Where to look after a form was taken."""
    return RedirectResponse(url, status_code=303)


def is_part(request: Request) -> bool:
    """Whether htmx asks for a part of the page."""
    return request.headers.get("hx-request") == "true"


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(version=__version__, proof=proof)
_templates.filters.update(
    sentence=wording.card_sentence,
    state_word=wording.state_word,
    phase=wording.phase,
    duration=wording.duration,
    when=wording.when,
    count=wording.count,
    face=wording.face_url,
)
