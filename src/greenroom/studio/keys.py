"""API keys: made, found by their secret, revoked. The secret is shown once and kept as a hash."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from greenroom.db.models import Account, ApiKey, KeyScope, Member, Role, Workspace, now
from greenroom.errors import UnknownKey
from greenroom.studio import tokens, workspaces

PREFIX = "gr_"
_NOTE_EVERY = timedelta(minutes=1)


def create(
    session: Session,
    workspace: Workspace,
    *,
    name: str,
    scope: KeyScope = KeyScope.READ,
    account: Account | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never shown again. Raises BadName."""
    secret = tokens.new(PREFIX)
    made = ApiKey(
        workspace_id=workspace.id,
        account_id=account.id if account is not None else None,
        name=workspaces.checked_name(name),
        scope=scope,
        secret_sha256=tokens.sha256(secret),
        hint=secret[: len(PREFIX) + 5],
    )
    session.add(made)
    session.flush()
    return made, secret


def list_(session: Session, workspace: Workspace) -> list[ApiKey]:
    """The keys of a workspace that are in force, newest first."""
    return list(
        session.scalars(
            select(ApiKey)
            .where(ApiKey.workspace_id == workspace.id, ApiKey.revoked_at.is_(None))
            .order_by(ApiKey.created_at.desc(), ApiKey.id)
        )
    )


def find(session: Session, workspace: Workspace, key_id: str) -> ApiKey:
    """A key in force of that id. Raises UnknownKey."""
    found = session.get(ApiKey, key_id)
    if found is None or found.workspace_id != workspace.id or found.revoked_at is not None:
        raise UnknownKey(f"There is no API key {key_id[:40]!r}. Look at the list again.")
    return found


def revoke(session: Session, key: ApiKey) -> None:
    """End a key at once and for good."""
    key.revoked_at = key.revoked_at or now()
    session.flush()


def by_secret(session: Session, secret: str, *, needs_account: bool) -> tuple[ApiKey, Role] | None:
    """The key of that secret and the role it acts in; None when there is none, or it is in force no more.

    needs_account: a key that was made before there were accounts does not count.
    """
    key = session.scalars(select(ApiKey).where(ApiKey.secret_sha256 == tokens.sha256(secret))).first()
    if key is None or key.revoked_at is not None:
        return None
    if key.account_id is None:
        if needs_account:
            return None
        role = Role.OWNER
    else:
        member = session.get(Member, (key.workspace_id, key.account_id))
        if member is None:
            return None
        role = member.role
    moment = now()
    if key.last_used_at is None or moment - key.last_used_at > _NOTE_EVERY:
        key.last_used_at = moment
    return key, role
