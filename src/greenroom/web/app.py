"""Puts the studio's pages and its API together as one ASGI application. Who is let in: security.py, door.py."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from greenroom import files
from greenroom.db import session as db
from greenroom.errors import GreenroomError
from greenroom.settings import Settings
from greenroom.web import door, edge, problems, security
from greenroom.web.api.later import Later
from greenroom.web.pages import accounts, actors, captions, exports, generations, images, media, trainings
from greenroom.web.pages import settings as settings_pages

STATIC = Path(__file__).parent / "static"
PAGES = (actors, images, captions, trainings, exports, generations, media, accounts, settings_pages)


def create(settings: Settings, *, hosts: Iterable[str], has_accounts: bool = False) -> FastAPI:
    """The application of a studio.

    hosts: the Host headers that are answered, with their port, such as "127.0.0.1:8000".
    has_accounts: everybody signs in; else whoever reaches the studio sits at this machine.
    """
    db.engine(settings)  # opened and upgraded here, so that the first page does not wait for it
    files.store(settings)
    app = FastAPI(title="Greenroom", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.settings = settings
    app.state.has_accounts = has_accounts
    app.mount("/api/v1", Later(settings))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for pages in PAGES:
        app.include_router(pages.router)
    app.add_exception_handler(GreenroomError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    # The one that is added last is the first that a request meets.
    app.add_middleware(door.Door, settings=settings, has_accounts=has_accounts)
    app.add_middleware(
        security.Guard,
        hosts=frozenset(hosts),
        picture_bytes=settings.max_picture_bytes,
        has_accounts=has_accounts,
        public_url=settings.public_url,
    )
    return app


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, GreenroomError)
    return _told(request, error.http_status, str(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {
        404: "There is no such page. Go back to your models.",
        405: "This address cannot be used like that. Go back to your models.",
    }.get(error.status_code, str(error.detail))
    if problems.is_api(request.url.path):
        return problems.problem(error.status_code, "NotFound", str(error.detail), request.url.path)
    return _told(request, error.status_code, said)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"][1:]) or "The request"
    return _told(request, 422, f"{field} cannot be used: {problem['msg']}. Go back and correct it.")


def _told(request: Request, status: int, message: str) -> Response:
    if request.headers.get("accept", "").startswith("application/json"):
        return JSONResponse({"message": message}, status_code=status)
    return edge.page("error.html", request, status=status, message=message, code=status)
