"""Settings: API keys, members and invitations of the workspace, and the choice of the workspace."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response

from greenroom.db.models import Account, KeyScope, Role
from greenroom.errors import BadInput, Conflict, NotFound
from greenroom.studio import keys, members, sign_ins, workspaces
from greenroom.web.door import cookie_name
from greenroom.web.edge import Studio, page, see_other, settings_of, studio

router = APIRouter()

ROLES = {
    Role.VIEWER: ("Viewer", "looks at everything, changes nothing"),
    Role.EDITOR: ("Editor", "trains, draws, edits and deletes"),
    Role.OWNER: ("Owner", "also invites people and makes API keys"),
}
SCOPES = {KeyScope.READ: "Read only", KeyScope.WRITE: "Read and write"}


@router.get("/settings")
def settings_page(request: Request) -> HTMLResponse:
    """Everything that is not about one model."""
    with studio(settings_of(request)) as open_:
        return _page(request, open_)


@router.post("/settings/keys")
def create_key(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    scope: Annotated[KeyScope, Form()] = KeyScope.READ,
) -> HTMLResponse:
    """Make an API key; its secret is shown this once, so there is no redirect."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        try:
            _, secret = keys.create(
                open_.session, open_.workspace, name=name, scope=scope, account=_account(open_)
            )
        except BadInput as error:
            return _page(request, open_, status=422, problems={"key": str(error)}, typed=name)
        return _page(request, open_, status=201, secret=secret)


@router.post("/settings/keys/{key_id}/revoke")
def revoke_key(request: Request, key_id: str) -> Response:
    """End a key."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        keys.revoke(open_.session, keys.find(open_.session, open_.workspace, key_id))
    return see_other("/settings#keys")


@router.post("/settings/invitations")
def invite(request: Request, role: Annotated[Role, Form()] = Role.VIEWER) -> HTMLResponse:
    """Make an invitation; its link is shown this once."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        by = _account(open_)
        if by is None:
            raise Conflict("This studio has no accounts, so nobody can be invited.")
        _, secret = members.invite(open_.session, open_.workspace, role, by=by)
        origin = open_.settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")
        return _page(request, open_, status=201, link=f"{origin}/invitations/{secret}")


@router.post("/settings/invitations/{invitation_id}/revoke")
def revoke_invitation(request: Request, invitation_id: str) -> Response:
    """Take an invitation back."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        members.revoke(open_.session, open_.workspace, invitation_id)
    return see_other("/settings#members")


@router.post("/settings/members/{account_id}/role")
def set_role(request: Request, account_id: str, role: Annotated[Role, Form()]) -> Response:
    """Give a member another role."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        try:
            members.set_role(open_.session, open_.workspace, account_id, role)
        except Conflict as error:
            return _page(request, open_, status=409, problems={"members": str(error)})
    return see_other("/settings#members")


@router.post("/settings/members/{account_id}/remove")
def remove_member(request: Request, account_id: str) -> Response:
    """Take a member out."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        try:
            members.remove(open_.session, open_.workspace, account_id)
        except Conflict as error:
            return _page(request, open_, status=409, problems={"members": str(error)})
    return see_other("/settings#members")


@router.post("/settings/workspace")
def rename_workspace(request: Request, name: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Give the workspace another name."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        try:
            workspaces.rename(open_.session, open_.workspace, name)
        except BadInput as error:
            return _page(request, open_, status=422, problems={"workspace": str(error)})
    return see_other("/settings")


@router.post("/account/workspaces")
def create_workspace(request: Request, name: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Make a workspace of one's own and look at it."""
    with studio(settings_of(request)) as open_:
        account = _account(open_)
        if account is None:
            raise Conflict("This studio has no accounts, and so one workspace.")
        try:
            made = workspaces.create(open_.session, name)
        except BadInput as error:
            return _page(request, open_, status=422, problems={"new": str(error)})
        members.add(open_.session, made, account, Role.OWNER)
        _switch(request, open_, made.id)
    return see_other("/")


@router.post("/workspaces/{workspace_id}/switch")
def switch(request: Request, workspace_id: str) -> Response:
    """Look at another workspace."""
    with studio(settings_of(request)) as open_:
        _switch(request, open_, workspace_id)
    return see_other("/")


def _switch(request: Request, open_: Studio, workspace_id: str) -> None:
    found = sign_ins.find(open_.session, request.cookies.get(cookie_name(open_.settings), "")[:200])
    if found is None:
        raise NotFound("There is no such workspace among yours.")
    sign_ins.switch(open_.session, found[0], workspace_id)


def _account(open_: Studio) -> Account | None:
    account_id = open_.visitor.account_id
    return open_.session.get(Account, account_id) if account_id is not None else None


def _page(
    request: Request,
    open_: Studio,
    *,
    status: int = 200,
    problems: dict[str, str] | None = None,
    secret: str = "",
    link: str = "",
    typed: str = "",
) -> HTMLResponse:
    visitor, session = open_.visitor, open_.session
    mine = members.workspaces_of(session, visitor.account_id) if visitor.account_id is not None else []
    return page(
        "settings/settings.html",
        request,
        status=status,
        workspace=open_.workspace,
        role=ROLES[visitor.role][0],
        mine=mine,
        keys=keys.list_(session, open_.workspace) if visitor.is_owner else [],
        members=members.list_(session, open_.workspace) if visitor.is_owner else [],
        invitations=members.invitations(session, open_.workspace) if visitor.is_owner else [],
        roles=ROLES,
        scopes=SCOPES,
        problems=problems or {},
        secret=secret,
        link=link,
        typed=typed,
        has_accounts=bool(request.app.state.has_accounts),
    )
