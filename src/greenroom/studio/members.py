"""Members of a workspace, their roles, and invitations. Knows nothing about requests."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from greenroom.db.models import Account, ApiKey, Invitation, Member, Role, SignIn, Workspace, now
from greenroom.errors import Conflict, UnknownAccount, UnknownInvitation
from greenroom.studio import accounts, tokens

INVITATION_LASTS = timedelta(days=7)


def list_(session: Session, workspace: Workspace) -> list[tuple[Account, Role]]:
    """The members of a workspace, oldest first."""
    found = session.execute(
        select(Account, Member.role)
        .join(Member, Member.account_id == Account.id)
        .where(Member.workspace_id == workspace.id)
        .order_by(Member.created_at, Account.id)
    )
    return [(account, role) for account, role in found]


def workspaces_of(session: Session, account_id: str) -> list[tuple[Workspace, Role]]:
    """The workspaces of an account and its role in each, oldest membership first."""
    found = session.execute(
        select(Workspace, Member.role)
        .join(Member, Member.workspace_id == Workspace.id)
        .where(Member.account_id == account_id)
        .order_by(Member.created_at, Workspace.id)
    )
    return [(workspace, role) for workspace, role in found]


def add(session: Session, workspace: Workspace, account: Account, role: Role) -> Member:
    """Make an account a member; one that is a member already keeps the greater of both roles."""
    member = session.get(Member, (workspace.id, account.id))
    if member is None:
        member = Member(workspace_id=workspace.id, account_id=account.id, role=role)
        session.add(member)
    elif _rank(role) > _rank(member.role):
        member.role = role
    session.flush()
    return member


def set_role(session: Session, workspace: Workspace, account_id: str, role: Role) -> Member:
    """Give a member another role. Raises UnknownAccount, or Conflict for the last owner."""
    member = _member(session, workspace, account_id)
    if member.role == Role.OWNER and role != Role.OWNER:
        _refuse_last_owner(session, workspace)
    member.role = role
    session.flush()
    return member


def remove(session: Session, workspace: Workspace, account_id: str) -> None:
    """Take a member out; their keys for it end. Raises UnknownAccount, or Conflict for the last owner."""
    member = _member(session, workspace, account_id)
    if member.role == Role.OWNER:
        _refuse_last_owner(session, workspace)
    session.delete(member)
    session.execute(
        update(ApiKey)
        .where(
            ApiKey.workspace_id == workspace.id, ApiKey.account_id == account_id, ApiKey.revoked_at.is_(None)
        )
        .values(revoked_at=now())
    )
    session.execute(
        delete(SignIn).where(SignIn.account_id == account_id, SignIn.workspace_id == workspace.id)
    )
    session.flush()


def invite(
    session: Session, workspace: Workspace, role: Role, *, by: Account | None = None
) -> tuple[Invitation, str]:
    """A link that makes its holder a member, once; returns it and its secret, which is never shown again."""
    secret = tokens.new()
    made = Invitation(
        workspace_id=workspace.id,
        role=role,
        token_sha256=tokens.sha256(secret),
        invited_by=by.id if by is not None else None,
        expires_at=now() + INVITATION_LASTS,
    )
    session.add(made)
    session.flush()
    return made, secret


def invitations(session: Session, workspace: Workspace) -> list[Invitation]:
    """Invitations that can still be used, newest first."""
    return list(
        session.scalars(
            select(Invitation)
            .where(
                Invitation.workspace_id == workspace.id,
                Invitation.used_at.is_(None),
                Invitation.expires_at > now(),
                Invitation.invited_by.is_not(None),
            )
            .order_by(Invitation.created_at.desc(), Invitation.id)
        )
    )


def find_invitation(session: Session, secret: str) -> tuple[Invitation, Workspace]:
    """A usable invitation by its secret. Raises UnknownInvitation."""
    found = session.scalars(
        select(Invitation).where(Invitation.token_sha256 == tokens.sha256(secret))
    ).first()
    if found is None or found.used_at is not None or found.expires_at <= now():
        raise UnknownInvitation(
            "This link was used already, was taken back or is too old. Ask for a new one."
        )
    return found, session.get_one(Workspace, found.workspace_id)


def accept(session: Session, secret: str, account: Account) -> Member:
    """Use an invitation up. Raises UnknownInvitation, also when somebody else was faster."""
    found, workspace = find_invitation(session, secret)
    taken = session.execute(
        update(Invitation)
        .where(Invitation.id == found.id, Invitation.used_at.is_(None))
        .values(used_at=now())
        .returning(Invitation.id)
    ).first()
    if taken is None:
        raise UnknownInvitation("Somebody else has used this link just now. Ask for a new one.")
    return add(session, workspace, account, found.role)


def revoke(session: Session, workspace: Workspace, invitation_id: str) -> None:
    """Take an invitation back. Raises UnknownInvitation."""
    found = session.get(Invitation, invitation_id)
    if found is None or found.workspace_id != workspace.id or found.used_at is not None:
        raise UnknownInvitation("There is no such open invitation. Look at the list again.")
    session.delete(found)
    session.flush()


def first_owner_token(session: Session, workspace: Workspace) -> str | None:
    """A one-time token for the very first account, which will own `workspace`; None when there is an account.

    Asking again makes a new one and ends the one before.
    """
    if accounts.is_any(session):
        return None
    session.execute(delete(Invitation).where(Invitation.invited_by.is_(None)))
    return invite(session, workspace, Role.OWNER)[1]


def _member(session: Session, workspace: Workspace, account_id: str) -> Member:
    member = session.get(Member, (workspace.id, account_id))
    if member is None:
        raise UnknownAccount("There is no such member of this workspace. Look at the list again.")
    return member


def _refuse_last_owner(session: Session, workspace: Workspace) -> None:
    owners = session.scalar(
        select(func.count())
        .select_from(Member)
        .where(Member.workspace_id == workspace.id, Member.role == Role.OWNER)
    )
    if (owners or 0) <= 1:
        raise Conflict("This is the only owner of the workspace. Make somebody else an owner first.")


def _rank(role: Role) -> int:
    return [Role.VIEWER, Role.EDITOR, Role.OWNER].index(role)
