"""Finds out who asks, and turns away whom the studio does not know or who may only look. Knows no page.

On loopback, without accounts, whoever reaches the studio sits at this machine. Otherwise a browser shows its
cookie and a program its API key. What a visitor may see is decided where objects are opened (edge.Studio), by
the workspace; here it is decided only whether they may change anything at all.
"""

from __future__ import annotations

import hmac
import re
from urllib.parse import quote

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from greenroom.db import session as db
from greenroom.db.models import KeyScope, Role
from greenroom.errors import GreenroomError, NotAllowed, NotSignedIn
from greenroom.settings import Settings
from greenroom.studio import keys, sign_ins
from greenroom.web import edge, problems, visiting
from greenroom.web.visiting import MACHINE, Visitor

_SAFE = {"GET", "HEAD"}
_OPEN = re.compile(
    r"/static/.*|/sign-in|/set-up|/invitations/[A-Za-z0-9_-]{20,100}|/api/v1/openapi\.json|/favicon\.ico"
)
_BEFORE_SIGNING_IN = {"/sign-in", "/set-up"}
_OWN = re.compile(r"/sign-out|/account(/.*)?|/workspaces/[a-z0-9_]+/switch")
"""What also a viewer may send: it changes nothing but how they themselves look at the studio."""


def cookie_name(settings: Settings) -> str:
    """The session cookie's name; behind https browsers themselves hold it to this host and to https."""
    return "__Host-greenroom" if settings.public_url.startswith("https://") else "greenroom"


class Door:
    """Puts the visitor in place for everything behind it, or answers in its stead."""

    def __init__(self, app: ASGIApp, *, settings: Settings, has_accounts: bool) -> None:
        self.app, self.settings, self.has_accounts = app, settings, has_accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        try:
            visitor = await self._visitor(scope)
            if visitor is None and not _OPEN.fullmatch(path):
                raise NotSignedIn("Sign in first, or send an API key as: Authorization: Bearer gr_…")
            if visitor is not None and method not in _SAFE:
                _refuse_unproved(visitor, scope)
                if not _OPEN.fullmatch(path):
                    _refuse_lookers(visitor, path)
        except GreenroomError as error:
            await self._refused(scope, error)(scope, receive, send)
            return
        with visiting.by(visitor):
            await self.app(scope, receive, send)

    async def _visitor(self, scope: Scope) -> Visitor | None:
        authorization = Headers(scope=scope).get("authorization")
        if authorization is not None:
            kind, _, secret = authorization.partition(" ")
            found = (
                await run_in_threadpool(_by_key, self.settings, secret.strip(), self.has_accounts)
                if kind.lower() == "bearer"
                else None
            )
            if found is None:
                raise NotSignedIn(
                    "This API key is not known here, or was revoked. Make a new one under Settings."
                )
            return found
        if not self.has_accounts:
            return MACHINE
        secret = HTTPConnection(scope).cookies.get(cookie_name(self.settings), "")
        return await run_in_threadpool(_by_cookie, self.settings, secret[:200]) if secret else None

    def _refused(self, scope: Scope, error: GreenroomError) -> Response:
        path = scope["path"]
        if problems.is_api(path):
            return problems.response(error, path)
        is_page = scope["method"] in _SAFE and not path.startswith("/media/")
        if isinstance(error, NotSignedIn) and is_page and not path.endswith("/live"):
            asked = path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            return RedirectResponse(
                "/sign-in" if asked == "/" else f"/sign-in?next={quote(asked[:500], safe='')}",
                status_code=303,
            )
        html = edge.render("error.html", section="", visitor=None, message=str(error), code=error.http_status)
        return Response(html, status_code=error.http_status, media_type="text/html")


def _refuse_lookers(visitor: Visitor, path: str) -> None:
    if visitor.can_write or (visitor.how == "browser" and _OWN.fullmatch(path)):
        return
    if visitor.how == "key":
        raise NotAllowed("This API key may only read. Make one of the scope write under Settings.")
    raise NotAllowed("You are a viewer of this workspace: you may look, but not change anything.")


def _refuse_unproved(visitor: Visitor, scope: Scope) -> None:
    """A cookie goes along by itself, so what changes something must also bring what only our pages know."""
    if not visitor.form_token or scope["path"] in _BEFORE_SIGNING_IN:
        return
    given = QueryParams(scope["query_string"]).get("proof", "")
    if not hmac.compare_digest(given.encode(), visitor.form_token.encode()):
        raise NotAllowed("This page is from before you signed in. Open it again and send it once more.")


def _form_token(secret: str) -> str:
    """Of the session of that cookie; without the cookie it cannot be guessed, and it does not tell the cookie."""
    return hmac.new(secret.encode(), b"forms", "sha256").hexdigest()[:32]


def _by_key(settings: Settings, secret: str, has_accounts: bool) -> Visitor | None:
    with db.session(settings) as session:
        found = keys.by_secret(session, secret[:200], needs_account=has_accounts)
        if found is None:
            return None
        key, role = found
        return Visitor(
            how="key",
            role=role,
            can_write=key.scope == KeyScope.WRITE and role != Role.VIEWER,
            workspace_id=key.workspace_id,
            account_id=key.account_id,
        )


def _by_cookie(settings: Settings, secret: str) -> Visitor | None:
    with db.session(settings) as session:
        found = sign_ins.find(session, secret)
        if found is None:
            return None
        row, account, role = found
        return Visitor(
            how="browser",
            role=role,
            can_write=role != Role.VIEWER,
            workspace_id=row.workspace_id,
            account_id=account.id,
            account_name=account.name,
            form_token=_form_token(secret),
        )
