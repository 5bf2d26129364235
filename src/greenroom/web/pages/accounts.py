"""Signing in and out, the very first account, and joining a workspace by an invitation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from greenroom.db import session as db
from greenroom.db.models import Account
from greenroom.errors import BadInput, Conflict, TooManyTries, UnknownInvitation, WrongPassword
from greenroom.settings import Settings
from greenroom.studio import accounts, members, sign_ins
from greenroom.web import visiting
from greenroom.web.door import cookie_name
from greenroom.web.edge import page, see_other, settings_of

router = APIRouter()

_Name = Annotated[str, Form(max_length=200)]
_Password = Annotated[str, Form(max_length=1_000)]
_Secret = Annotated[str, Form(max_length=200)]


@router.get("/sign-in")
def sign_in_page(request: Request, next: Annotated[str, Query(max_length=600)] = "") -> Response:
    """The door."""
    if visiting.current() is not None:
        return see_other(_local(next))
    with db.session(settings_of(request)) as session:
        if not accounts.is_any(session):
            return see_other("/set-up")
    return page("accounts/sign_in.html", request, next=_local(next), name="", problem="")


@router.post("/sign-in")
def sign_in(
    request: Request,
    name: _Name = "",
    password: _Password = "",
    next: Annotated[str, Form(max_length=600)] = "",
) -> Response:
    """Let somebody in who knows their password."""
    settings, address = settings_of(request), _address(request)
    if not request.app.state.has_accounts:
        return see_other("/")
    try:
        with db.session(settings) as session:
            accounts.refuse_guessing(session, name, address)
            # Counted before it is looked at, so that many at once do not slip through together.
            accounts.note_wrong(session, name, address)
        with db.session(settings) as session:
            account = accounts.check_password(session, name, password)
            accounts.forget_wrong(session, name, address)
            secret = sign_ins.start(session, account)
    except (WrongPassword, TooManyTries) as error:
        answer = page(
            "accounts/sign_in.html",
            request,
            status=error.http_status,
            next=_local(next),
            name=name[: accounts.MAX_NAME_CHARS],
            problem=str(error),
        )
        if isinstance(error, TooManyTries):
            answer.headers["retry-after"] = str(error.wait_s)
        return answer
    return _signed_in(settings, secret, _local(next))


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End this browser's session."""
    settings = settings_of(request)
    with db.session(settings) as session:
        sign_ins.end(session, _cookie(request))
    answer = see_other("/sign-in")
    answer.delete_cookie(cookie_name(settings), path="/", secure=_is_secure(settings), httponly=True)
    return answer


@router.get("/set-up")
def set_up_page(request: Request, token: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Where the first owner's account is made."""
    if not request.app.state.has_accounts:
        return see_other("/")
    with db.session(settings_of(request)) as session:
        if accounts.is_any(session):
            return see_other("/sign-in")
    return page("accounts/set_up.html", request, token=token, name="", problems={})


@router.post("/set-up")
def set_up(
    request: Request, token: _Secret = "", name: _Name = "", password: _Password = "", again: _Password = ""
) -> Response:
    """Make it, with the one-time token that the server printed."""
    settings = settings_of(request)
    if not request.app.state.has_accounts:
        return see_other("/")
    with db.session(settings) as session:
        if accounts.is_any(session):
            return see_other("/sign-in")
        problems = _problems(name, password, again)
        try:
            members.find_invitation(session, token)
        except UnknownInvitation:
            problems["token"] = "This is not the token of the last start. Look at the server's output again."
    if problems:
        return page("accounts/set_up.html", request, status=422, token=token, name=name, problems=problems)
    return _join(settings, token, name, password)


@router.get("/invitations/{secret}")
def invitation(request: Request, secret: str) -> HTMLResponse:
    """What an invitation leads to."""
    return _invitation(request, secret)


@router.post("/invitations/{secret}")
def accept(
    request: Request, secret: str, name: _Name = "", password: _Password = "", again: _Password = ""
) -> Response:
    """Join: with the account that is signed in, or with a new one."""
    settings, visitor = settings_of(request), visiting.current()
    if visitor is not None and visitor.how == "browser" and visitor.account_id is not None:
        with db.session(settings) as session:
            account = session.get_one(Account, visitor.account_id)
            member = members.accept(session, secret, account)
            if (found := sign_ins.find(session, _cookie(request))) is not None:
                sign_ins.switch(session, found[0], member.workspace_id)
        return see_other("/")
    with db.session(settings) as session:
        members.find_invitation(session, secret)
    if problems := _problems(name, password, again):
        return _invitation(request, secret, status=422, name=name, problems=problems)
    try:
        return _join(settings, secret, name, password)
    except Conflict as error:
        return _invitation(request, secret, status=409, name=name, problems={"name": str(error)})


@router.get("/account")
def account_page(request: Request, saved: bool = False) -> Response:
    """One's own password and sessions."""
    return _account(request, saved=saved)


@router.post("/account/password")
def change_password(
    request: Request, old: _Password = "", password: _Password = "", again: _Password = ""
) -> Response:
    """Change one's own password; every other browser is signed out."""
    settings, visitor = settings_of(request), visiting.current()
    if visitor is None or visitor.account_id is None:
        return see_other("/")
    try:
        with db.session(settings) as session:
            accounts.refuse_guessing(session, visitor.account_name, _address(request))
            accounts.note_wrong(session, visitor.account_name, _address(request))
        with db.session(settings) as session:
            account = accounts.check_password(session, visitor.account_name, old)
            accounts.forget_wrong(session, visitor.account_name, _address(request))
            if problems := _problems(visitor.account_name, password, again):
                return _account(request, status=422, problems=problems)
            accounts.set_password(session, account, password)
            sign_ins.end_others(session, account, but=_cookie(request))
    except WrongPassword:
        return _account(request, status=422, problems={"old": "That is not your password so far."})
    except TooManyTries as error:
        return _account(request, status=429, problems={"old": str(error)})
    return see_other("/account?saved=true")


def _account(
    request: Request, *, status: int = 200, problems: dict[str, str] | None = None, saved: bool = False
) -> Response:
    visitor = visiting.current()
    if visitor is None or visitor.account_id is None:
        return see_other("/settings")
    return page("accounts/account.html", request, status=status, problems=problems or {}, saved=saved)


def _invitation(
    request: Request,
    secret: str,
    *,
    status: int = 200,
    name: str = "",
    problems: dict[str, str] | None = None,
) -> HTMLResponse:
    with db.session(settings_of(request)) as session:
        found, workspace = members.find_invitation(session, secret)
    values: dict[str, Any] = {"secret": secret, "name": name, "problems": problems or {}}
    return page(
        "accounts/invitation.html", request, status=status, role=found.role, workspace=workspace, **values
    )


def _join(settings: Settings, secret: str, name: str, password: str) -> Response:
    with db.session(settings) as session:
        account = accounts.create(session, name, password)
        members.accept(session, secret, account)
        cookie = sign_ins.start(session, account)
    return _signed_in(settings, cookie, "/")


def _signed_in(settings: Settings, secret: str, where: str) -> RedirectResponse:
    answer = see_other(where)
    answer.set_cookie(
        cookie_name(settings),
        secret,
        max_age=int(sign_ins.LASTS.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=_is_secure(settings),
    )
    return answer


def _problems(name: str, password: str, again: str) -> dict[str, str]:
    """What is wrong with a new account, by field."""
    found = {
        "name": _problem(lambda: accounts.checked_name(name)),
        "password": _problem(lambda: accounts.checked_password(password, name=name)),
        "again": "" if password == again else "The two passwords are not the same. Type both again.",
    }
    return {field: said for field, said in found.items() if said}


def _problem(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except BadInput as error:
        return str(error)
    return ""


def _local(where: str) -> str:
    """An address of this studio; anything else becomes the front page, so that no link leads away from here."""
    is_ours = where.startswith("/") and not where.startswith(("//", "/\\")) and where.isprintable()
    return where if is_ours and "\\" not in where else "/"


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _cookie(request: Request) -> str:
    return request.cookies.get(cookie_name(settings_of(request)), "")[:200]


def _is_secure(settings: Settings) -> bool:
    return settings.public_url.startswith("https://")
