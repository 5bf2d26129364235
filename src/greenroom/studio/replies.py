"""Replies that are kept under an Idempotency-Key, so that a repeated request does nothing more.

The reply is written in the transaction of what it tells, so both are kept or neither. Sees no request.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from greenroom.db.models import Reply, Workspace, now
from greenroom.errors import KeyReused, WrongUse

LASTS = timedelta(days=1)
MAX_KEY_CHARS = 255


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was answered: the status, the JSON body, and where the new thing is."""

    status: int
    body: dict[str, Any]
    location: str | None = None


def find(session: Session, workspace: Workspace, key: str, request_sha256: str) -> Answer | None:
    """What the same request was answered before; None the first time.

    Raises WrongUse for a key that cannot be one, KeyReused when it came with another request.
    """
    if not 1 <= len(key) <= MAX_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise WrongUse(f"An Idempotency-Key has 1 to {MAX_KEY_CHARS} printable ASCII characters. Use a UUID.")
    row = session.get(Reply, (workspace.id, key), populate_existing=True)
    if row is None or row.created_at <= now() - LASTS:
        return None
    if row.request_sha256 != request_sha256:
        raise KeyReused(
            "This Idempotency-Key came with another request before. Use a new key for a new request."
        )
    return Answer(status=row.status, body=row.body, location=row.location)


def keep(session: Session, workspace: Workspace, key: str, request_sha256: str, answer: Answer) -> None:
    """Remember an answer, and forget those that are too old.

    Raises KeyReused when the same key is being answered at this moment: nothing of this one is kept.
    """
    session.execute(delete(Reply).where(Reply.created_at <= now() - LASTS))
    try:
        with session.begin_nested():
            session.add(
                Reply(
                    workspace_id=workspace.id,
                    key=key,
                    request_sha256=request_sha256,
                    status=answer.status,
                    location=answer.location,
                    body=answer.body,
                )
            )
    except IntegrityError as error:
        raise KeyReused(
            "A request with this Idempotency-Key was answered at this very moment. Send it again to see how."
        ) from error


def fingerprint(*parts: Any) -> str:
    """sha256 of what makes two requests the same."""
    return hashlib.sha256(
        json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "replace")
    ).hexdigest()
