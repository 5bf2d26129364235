"""Puts the studio's pages together as one ASGI application. Knows who is let in only through security.py."""

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
from greenroom.web import edge, security
from greenroom.web.pages import actors, captions, exports, generations, images, media, trainings

STATIC = Path(__file__).parent / "static"
PAGES = (actors, images, captions, trainings, exports, generations, media)


def create(settings: Settings, *, hosts: Iterable[str]) -> FastAPI:
    """The application of a single-user studio.

    hosts: the Host headers that are answered, with their port, such as "127.0.0.1:8000".
    """
    db.engine(settings)  # opened and upgraded here, so that the first page does not wait for it
    files.store(settings)
    app = FastAPI(title="Greenroom", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.settings = settings
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for pages in PAGES:
        app.include_router(pages.router)
    app.add_exception_handler(GreenroomError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(
        security.Guard,
        hosts=frozenset(hosts),
        picture_bytes=settings.max_picture_bytes,
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
