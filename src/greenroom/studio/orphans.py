"""Files that nothing knows any more: what a process that was killed between its file and its row left behind."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, Generation, MadePicture, Picture, Training, now

AGE = timedelta(days=30)
"""A young file may belong to a row that is about to be committed, or to a newer database than a restored one."""
_TABLES: dict[str, Any] = {
    "act": Actor,
    "pic": Picture,
    "trn": Training,
    "gen": Generation,
    "mad": MadePicture,
}
_ID = re.compile(r"\b(act|pic|trn|gen|mad)_[0-9a-z]{12}\b")


def sweep(session: Session, store: files.Store, age: timedelta = AGE) -> int:
    """Delete the files older than `age` whose key names an id that no row has; returns how many went.

    Only of a store on this machine: another studio may keep its files in the same bucket.
    """
    if store.root is None:
        return 0
    before = now() - age
    known = {kind: set(session.scalars(select(table.id))) for kind, table in _TABLES.items()}
    orphans = [
        key
        for prefix in files.PREFIXES
        for key in store.list_(prefix, before=before)
        if any(match[0] not in known[match[1]] for match in _ID.finditer(key))
    ]
    for key in orphans:
        store.delete(key)
    return len(orphans)
