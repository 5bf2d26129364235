"""Workspaces, their members and invitations, and who asks."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from greenroom.db.models import Account, Invitation, Role
from greenroom.db.models import Workspace as Row
from greenroom.errors import Conflict, UnknownWorkspace
from greenroom.studio import members, workspaces
from greenroom.web.api.common import Id, IdempotencyKey, Page, Sent, Told, create
from greenroom.web.edge import Studio, settings_of, studio

router = APIRouter(tags=["workspaces"])


class Workspace(Told):
    """What one group of people shares."""

    id: str = Field(examples=["wsp_q8m4kx7w2v9n"])
    name: str = Field(examples=["Studio"])
    role: Role = Field(description="What the one who asks may do there.")
    is_current: bool = Field(description="Whether this request works in it.")
    created_at: datetime


class NewWorkspace(Sent):
    """A name for a workspace."""

    name: str = Field(min_length=1, max_length=200, examples=["Feature film"])


class Me(Told):
    """Who asks."""

    account_id: str | None = Field(description="Null in a studio without accounts.")
    name: str
    role: Role
    can_write: bool
    workspace: Workspace


class Member(Told):
    """One account in a workspace."""

    account_id: str = Field(examples=["acc_m7v2q9xk4w5n"])
    name: str
    role: Role


class NewRole(Sent):
    """Another role for a member."""

    role: Role = Field(examples=["viewer"])


class Invited(Told):
    """An invitation that can still be used."""

    id: str = Field(examples=["inv_n3k8w5xq2m7v"])
    role: Role
    created_at: datetime
    expires_at: datetime


class InvitedWithLink(Invited):
    """An invitation at the moment it was made: the only time that its link is shown."""

    path: str = Field(description="To be opened in a browser, once.", examples=["/invitations/…"])


@router.get("/me")
def get_me(request: Request) -> Me:
    """Who asks, and where."""
    with studio(settings_of(request)) as open_:
        account_id = open_.visitor.account_id
        account = open_.session.get(Account, account_id) if account_id else None
        return Me(
            account_id=account_id,
            name=account.name if account is not None else "",
            role=open_.visitor.role,
            can_write=open_.visitor.can_write,
            workspace=_told(open_, open_.workspace, open_.visitor.role),
        )


@router.get("/workspaces")
def list_workspaces(request: Request) -> Page[Workspace]:
    """The workspaces of the one who asks. An API key and a studio without accounts know one."""
    with studio(settings_of(request)) as open_:
        return Page[Workspace](items=[_told(open_, row, role) for row, role in _mine(open_)])


@router.post("/workspaces", status_code=201, response_model=Workspace)
def create_workspace(request: Request, new: NewWorkspace, key: IdempotencyKey = None) -> Response:
    """A new workspace, owned by the one who asks; for people who are signed in."""

    def make(open_: Studio) -> tuple[Workspace, str]:
        account_id = open_.visitor.account_id
        if open_.visitor.how != "browser" or account_id is None:
            raise Conflict("Only somebody who is signed in can make a workspace. Sign in and try again.")
        made = workspaces.create(open_.session, new.name)
        members.add(open_.session, made, open_.session.get_one(Account, account_id), Role.OWNER)
        return _told(open_, made, Role.OWNER), f"/workspaces/{made.id}"

    return create(request, key, new, make)


@router.get("/workspaces/{workspace_id}")
def get_workspace(request: Request, workspace_id: Id) -> Workspace:
    """One workspace."""
    with studio(settings_of(request)) as open_:
        row, role = _one(open_, workspace_id)
        return _told(open_, row, role)


@router.patch("/workspaces/{workspace_id}")
def rename_workspace(request: Request, workspace_id: Id, new: NewWorkspace) -> Workspace:
    """Give it another name; for owners."""
    with studio(settings_of(request)) as open_:
        row, role = _current(open_, workspace_id)
        workspaces.rename(open_.session, row, new.name)
        return _told(open_, row, role)


@router.get("/workspaces/{workspace_id}/members")
def list_members(request: Request, workspace_id: Id) -> Page[Member]:
    """Its members, oldest first; for owners."""
    with studio(settings_of(request)) as open_:
        row, _ = _current(open_, workspace_id)
        found = members.list_(open_.session, row)
        return Page[Member](
            items=[Member(account_id=one.id, name=one.name, role=role) for one, role in found]
        )


@router.patch("/workspaces/{workspace_id}/members/{account_id}")
def change_member(request: Request, workspace_id: Id, account_id: Id, new: NewRole) -> Member:
    """Give a member another role; for owners. The last owner stays one."""
    with studio(settings_of(request)) as open_:
        row, _ = _current(open_, workspace_id)
        member = members.set_role(open_.session, row, account_id, new.role)
        account = open_.session.get_one(Account, account_id)
        return Member(account_id=account.id, name=account.name, role=member.role)


@router.delete("/workspaces/{workspace_id}/members/{account_id}", status_code=204)
def remove_member(request: Request, workspace_id: Id, account_id: Id) -> Response:
    """Take a member out; their keys end. For owners."""
    with studio(settings_of(request)) as open_:
        row, _ = _current(open_, workspace_id)
        members.remove(open_.session, row, account_id)
    return Response(status_code=204)


@router.get("/workspaces/{workspace_id}/invitations")
def list_invitations(request: Request, workspace_id: Id) -> Page[Invited]:
    """Invitations that can still be used; for owners."""
    with studio(settings_of(request)) as open_:
        row, _ = _current(open_, workspace_id)
        return Page[Invited](items=[_invited(one) for one in members.invitations(open_.session, row)])


@router.post("/workspaces/{workspace_id}/invitations", status_code=201)
def invite(request: Request, workspace_id: Id, new: NewRole) -> InvitedWithLink:
    """A link that makes its holder a member, once; for owners who are signed in."""
    with studio(settings_of(request)) as open_:
        row, _ = _current(open_, workspace_id)
        account_id = open_.visitor.account_id
        if account_id is None:
            raise Conflict("This studio has no accounts, so nobody can be invited. See docs/studio.md.")
        by = open_.session.get_one(Account, account_id)
        made, secret = members.invite(open_.session, row, new.role, by=by)
        return InvitedWithLink(**_invited(made).model_dump(), path=f"/invitations/{secret}")


@router.delete("/workspaces/{workspace_id}/invitations/{invitation_id}", status_code=204)
def revoke_invitation(request: Request, workspace_id: Id, invitation_id: Id) -> Response:
    """Take an invitation back; for owners."""
    with studio(settings_of(request)) as open_:
        row, _ = _current(open_, workspace_id)
        members.revoke(open_.session, row, invitation_id)
    return Response(status_code=204)


def _mine(open_: Studio) -> list[tuple[Row, Role]]:
    if open_.visitor.how == "browser" and open_.visitor.account_id is not None:
        return members.workspaces_of(open_.session, open_.visitor.account_id)
    return [(open_.workspace, open_.visitor.role)]


def _one(open_: Studio, workspace_id: str) -> tuple[Row, Role]:
    for row, role in _mine(open_):
        if row.id == workspace_id:
            return row, role
    raise UnknownWorkspace("There is no such workspace among yours. Look at the list.")


def _current(open_: Studio, workspace_id: str) -> tuple[Row, Role]:
    """The workspace when the visitor owns it and works in it."""
    row, role = _one(open_, workspace_id)
    if row.id != open_.workspace.id:
        raise Conflict("You are looking at another workspace. Switch to this one first.")
    open_.require_owner()
    return row, role


def _told(open_: Studio, row: Row, role: Role) -> Workspace:
    return Workspace(
        id=row.id,
        name=row.name,
        role=role,
        is_current=row.id == open_.workspace.id,
        created_at=row.created_at,
    )


def _invited(row: Invitation) -> Invited:
    return Invited(id=row.id, role=row.role, created_at=row.created_at, expires_at=row.expires_at)
