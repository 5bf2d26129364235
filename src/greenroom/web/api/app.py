"""Puts the API together: its nouns, its errors as problem documents, and its OpenAPI description."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from greenroom import __version__
from greenroom.errors import GreenroomError
from greenroom.settings import Settings
from greenroom.web import problems
from greenroom.web.api import (
    actors,
    bases,
    captions,
    checks,
    estimates,
    exports,
    generations,
    keys,
    made,
    pictures,
    recipes,
    trainings,
    trash,
    workspaces,
)
from greenroom.web.api.common import Problem

NOUNS = (
    workspaces, actors, pictures, captions, checks, estimates, trainings, exports, generations, made, trash,
    bases, recipes, keys,
)  # fmt: skip
DESCRIPTION = """
Everything that the pages of a Greenroom studio do, for programs.

- **Who asks**: `Authorization: Bearer gr_…` with an API key. A studio on this machine alone needs none.
- **Lists** come in pages: `limit`, and `cursor` with the `next` of the page before.
- **Errors** are `application/problem+json` (RFC 9457); `code` is a stable word for programs.
- **Creating twice by accident** is ruled out with an `Idempotency-Key`.
"""
_REF = {"schema": {"$ref": "#/components/schemas/Problem"}}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "It was refused; `detail` says why.", "content": {problems.MEDIA_TYPE: _REF}},
    "507": {"description": "The disk is full.", "content": {problems.MEDIA_TYPE: _REF}},
}
_log = logging.getLogger("greenroom.api")


def create(settings: Settings) -> FastAPI:
    """The API as an application of its own, to be mounted at /api/v1."""
    api = FastAPI(
        title="Greenroom",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=_PROBLEMS,
    )
    api.state.settings = settings
    for noun in NOUNS:
        api.include_router(noun.router)
    api.add_exception_handler(GreenroomError, _ours)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(Exception, _unexpected)

    @api.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return describe(api)

    return api


def describe(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made at its first use."""
    if api.openapi_schema is None:
        made = get_openapi(
            title=api.title, version=api.version, description=api.description, routes=api.routes
        )
        made["servers"] = [{"url": "/api/v1"}]
        parts = made.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}}
        made["security"] = [{"key": []}, {}]
        api.openapi_schema = made
    return api.openapi_schema


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, GreenroomError)
    return problems.response(error, request.url.path)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "NotFound", 405: "WrongUse", 413: "TooLarge"}.get(error.status_code, "WrongUse")
    return problems.problem(
        error.status_code, code, str(error.detail), request.url.path, headers=error.headers
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What was sent is not sent back: it may be long, secret, or no valid text.
    fields = [
        {
            "field": ".".join(str(part)[:80] for part in problem["loc"][1:]),
            "in": str(problem["loc"][0]),
            "message": str(problem["msg"])[:200],
        }
        for problem in error.errors()[:20]
    ]
    first = fields[0] if fields else {"field": "", "message": "it cannot be read"}
    said = f"{first['field'] or 'The request'} cannot be used: {first['message']}."
    shown = [{key: _printable(value) for key, value in field.items()} for field in fields]
    return problems.problem(422, "BadInput", _printable(said), request.url.path, errors=shown)


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.exception("an unexpected error at %s", request.url.path, exc_info=error)
    said = "Something unexpected went wrong; the server's log has the details. Try again."
    return problems.problem(500, "Unexpected", said, request.url.path)


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
