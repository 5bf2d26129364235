"""Browsers in which people are signed in. Knows accounts and members; sees no request and sets no cookie."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from greenroom.db.models import Account, Member, Role, SignIn, Workspace, now
from greenroom.errors import UnknownWorkspace
from greenroom.studio import tokens

LASTS = timedelta(days=30)
"""How long a browser that is not used stays signed in."""
_NOTE_EVERY = timedelta(minutes=5)


def start(session: Session, account: Account) -> str:
    """Sign a browser in; returns the secret for its cookie. It looks at the oldest workspace of the account.

    Raises UnknownWorkspace when the account is a member of none.
    """
    session.execute(delete(SignIn).where(SignIn.expires_at <= now()))
    first = session.scalars(
        select(Member.workspace_id)
        .where(Member.account_id == account.id)
        .order_by(Member.created_at, Member.workspace_id)
        .limit(1)
    ).first()
    if first is None:
        raise UnknownWorkspace("Your account is in no workspace any more. Ask an owner to invite you again.")
    secret = tokens.new()
    session.add(
        SignIn(
            token_sha256=tokens.sha256(secret),
            account_id=account.id,
            workspace_id=first,
            expires_at=now() + LASTS,
        )
    )
    session.flush()
    return secret


def find(session: Session, secret: str) -> tuple[SignIn, Account, Role] | None:
    """The sign-in of that secret, whose it is and their role where they look; None when it has ended.

    One whose workspace has lost the account moves to another of its workspaces.
    """
    row = session.get(SignIn, tokens.sha256(secret)) if secret else None
    moment = now()
    if row is None or row.expires_at <= moment:
        return None
    account = session.get(Account, row.account_id)
    if account is None:
        return None
    member = session.get(Member, (row.workspace_id, account.id))
    if member is None:
        member = session.scalars(
            select(Member).where(Member.account_id == account.id).order_by(Member.created_at).limit(1)
        ).first()
        if member is None:
            return None
        row.workspace_id = member.workspace_id
    # Not at every request: that would make each of them a write.
    if moment - row.seen_at > _NOTE_EVERY:
        row.seen_at, row.expires_at = moment, moment + LASTS
    return row, account, member.role


def switch(session: Session, row: SignIn, workspace_id: str) -> Workspace:
    """Look at another workspace from now on. Raises UnknownWorkspace when the account is no member of it."""
    if session.get(Member, (workspace_id, row.account_id)) is None:
        raise UnknownWorkspace("There is no such workspace among yours. Choose one of the list.")
    row.workspace_id = workspace_id
    session.flush()
    return session.get_one(Workspace, workspace_id)


def end(session: Session, secret: str) -> None:
    """Sign a browser out."""
    session.execute(delete(SignIn).where(SignIn.token_sha256 == tokens.sha256(secret)))


def end_others(session: Session, account: Account, but: str = "") -> int:
    """Sign an account out everywhere, but for the browser with that secret; returns how many ended."""
    ended = session.execute(
        delete(SignIn)
        .where(SignIn.account_id == account.id, SignIn.token_sha256 != tokens.sha256(but))
        .returning(SignIn.token_sha256)
    )
    return len(ended.all())
