"""Errors as application/problem+json (RFC 9457), all from the one tree in errors.py. Knows no noun."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from greenroom.errors import GreenroomError, NotReady, NotSignedIn, RunFailed, TooManyTries

MEDIA_TYPE = "application/problem+json"


def is_api(path: str) -> bool:
    """Whether an address belongs to the API, whose errors are JSON."""
    return path == "/api" or path.startswith("/api/")


def response(error: GreenroomError, path: str, **more: Any) -> JSONResponse:
    """One of our errors as an answer; `more` are members of the problem beside the standard ones."""
    # A run that cannot even begin is the request's trouble, not the server's.
    status = 409 if isinstance(error, RunFailed) else error.http_status
    if isinstance(error, NotReady):
        more["findings"] = [finding.as_json() for finding in error.findings]
    headers = {}
    if isinstance(error, NotSignedIn):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooManyTries):
        headers["retry-after"] = str(error.wait_s)
    return problem(status, error.code, str(error), path, title=_title(error), headers=headers, **more)


def problem(
    status: int,
    code: str,
    detail: str,
    path: str,
    *,
    title: str = "",
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """A problem document. `code` is a stable word for programs, `detail` a sentence for a person."""
    content = {
        "type": f"urn:greenroom:problem:{_dashed(code)}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path[:500],
        "code": code,
        **more,
    }
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def _title(error: GreenroomError) -> str:
    """The first line of the error class's own docstring."""
    return (type(error).__doc__ or "").strip().splitlines()[0].rstrip(".")


def _dashed(code: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", code).lower()
