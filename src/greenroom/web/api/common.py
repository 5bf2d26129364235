"""What every noun of the API shares: ids, pages of lists, answers that may be asked for twice. Knows no noun."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from greenroom.errors import BadCursor, Conflict
from greenroom.studio import replies
from greenroom.studio.replies import Answer
from greenroom.web.edge import Studio, settings_of, studio

Id = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,40}$", examples=["act_k3v9mwq2hx7d"])]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before; without it, the first page.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=replies.MAX_KEY_CHARS,
        description="The same request with the same key again is answered as before and does nothing more.",
        examples=["0b6a3d0e-8c1f-4d55-9a8e-3a1f2b9c7d10"],
    ),
]
Search = Annotated[str, Query(max_length=200)]
_CURSOR = "v1"


class Sent(BaseModel):
    """What a client sends: unknown members are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Told(BaseModel):
    """What the API answers."""

    model_config = ConfigDict(frozen=True)


T = TypeVar("T", bound=BaseModel)


class Page(BaseModel, Generic[T]):
    """Some items of a list, and where it goes on."""

    items: list[T]
    next: str | None = Field(
        default=None, description="The cursor of the next page; null on the last one.", examples=[None]
    )


class Problem(BaseModel):
    """What went wrong: RFC 9457."""

    type: str = Field(examples=["urn:greenroom:problem:trigger-taken"])
    title: str = Field(examples=["Another actor of the workspace has that trigger"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["The trigger KIA_01 is taken by Kia. Choose another, such as KIA01B_01."])
    instance: str = Field(examples=["/api/v1/actors"])
    code: str = Field(description="A stable word for programs.", examples=["TriggerTaken"])
    findings: list[dict[str, Any]] | None = Field(default=None, description="Of NotReady: what blocks.")
    errors: list[dict[str, Any]] | None = Field(default=None, description="Fields that cannot be used.")


def write_cursor(kind: str, last: str | int) -> str:
    """Where a list goes on after its item `last`; opaque to whoever gets it."""
    return base64.urlsafe_b64encode(f"{_CURSOR}:{kind}:{last}".encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None) -> str | None:
    """The item after which the list goes on; None for the first page. Raises BadCursor."""
    if not cursor:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        version, of, last = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split(":")
    except (binascii.Error, ValueError) as error:
        raise BadCursor("This cursor is none of ours. Begin with the first page.") from error
    if (version, of) != (_CURSOR, kind) or not last or len(last) > 40:
        raise BadCursor("This cursor belongs to another list. Begin with the first page.")
    return last


def cut(found: Sequence[Any], limit: int, kind: str) -> tuple[list[Any], str | None]:
    """At most `limit` of the rows, of which one more was asked for, and the cursor if there was one more."""
    shown = list(found[:limit])
    return shown, write_cursor(kind, shown[-1].id) if len(found) > limit else None


Made = tuple[BaseModel, str | None]
"""What was made, and its path below /api/v1."""


def create(
    request: Request, key: str | None, asked: Any, make: Callable[[Studio], Made], *, status: int = 201
) -> Response:
    """Make something once: with an Idempotency-Key, the same request again gets the answer of the first time.

    The answer is kept in the transaction of what was made. Raises what `make` raises, and KeyReused.
    """
    settings = settings_of(request)
    told = asked.model_dump(mode="json") if isinstance(asked, BaseModel) else asked
    seen = replies.fingerprint(request.method, request.url.path, told)
    try:
        with studio(settings) as open_:
            before = replies.find(open_.session, open_.workspace, key, seen) if key is not None else None
            if before is not None:
                return answered(before, is_replayed=True)
            made, path = make(open_)
            answer = Answer(
                status=status,
                body=made.model_dump(mode="json"),
                location=f"/api/v1{path}" if path is not None else None,
            )
            if key is not None:
                replies.keep(open_.session, open_.workspace, key, seen, answer)
    except Conflict:
        if key is None:
            raise
        # Perhaps the very same request was faster, and what it made is what stands in the way.
        with studio(settings) as open_:
            before = replies.find(open_.session, open_.workspace, key, seen)
        if before is None:
            raise
        return answered(before, is_replayed=True)
    return answered(answer)


def answered(answer: Answer, *, is_replayed: bool = False) -> JSONResponse:
    """A kept answer as a response."""
    headers = {"location": answer.location} if answer.location else {}
    if is_replayed:
        headers["idempotent-replayed"] = "true"
    return JSONResponse(answer.body, status_code=answer.status, headers=headers)


BINARY: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def picture_of(media_type: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI answer of a route that sends one kind of picture."""
    return {200: {"description": "The picture.", "content": {media_type: {"schema": {"type": "string"}}}}}
