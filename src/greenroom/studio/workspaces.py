"""Workspaces: what one group of people shares. Knows nothing about accounts."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from greenroom.db.models import Workspace


def default(session: Session) -> Workspace:
    """The workspace of a machine with a single user: the oldest one, made when there is none."""
    found = session.scalars(select(Workspace).order_by(Workspace.created_at, Workspace.id).limit(1)).first()
    if found is None:
        found = Workspace(name="Studio")
        session.add(found)
        session.flush()
    return found
