"""Workspaces: what one group of people shares. Knows who is a member only through members.py."""

from __future__ import annotations

import unicodedata

from sqlalchemy import select
from sqlalchemy.orm import Session

from greenroom.db.models import Workspace
from greenroom.errors import BadName

MAX_NAME_CHARS = 100


def default(session: Session) -> Workspace:
    """The workspace of a machine with a single user: the oldest one, made when there is none."""
    found = session.scalars(select(Workspace).order_by(Workspace.created_at, Workspace.id).limit(1)).first()
    if found is None:
        found = Workspace(name="Studio")
        session.add(found)
        session.flush()
    return found


def create(session: Session, name: str) -> Workspace:
    """A new, empty workspace without members. Raises BadName."""
    made = Workspace(name=checked_name(name))
    session.add(made)
    session.flush()
    return made


def rename(session: Session, workspace: Workspace, name: str) -> None:
    """Give a workspace another name. Raises BadName."""
    workspace.name = checked_name(name)
    session.flush()


def checked_name(name: str) -> str:
    """The name as it will be kept: one line, something to read in it. Raises BadName."""
    shown = " ".join(name.split())
    if len(shown) > MAX_NAME_CHARS:
        raise BadName(f"The name has {len(shown)} characters; at most {MAX_NAME_CHARS} are kept. Shorten it.")
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in shown):
        raise BadName("The name holds a control character. Leave it out.")
    if not any(char.isalnum() for char in shown):
        raise BadName("The name has no letter or digit. Give one that can be read out, such as Studio.")
    return shown
