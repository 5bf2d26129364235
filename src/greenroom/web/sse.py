"""Sends a part of a page again whenever what it shows has changed, as server-sent events. Knows no noun.

Each message is the whole part, with a mark of what it shows as its id: a browser that comes back with
Last-Event-ID gets the newest one if it missed any, and nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

LOOK_EVERY_S = 0.7
BEAT_EVERY_S = 15.0
MOST_S = 900.0
"""After this long the browser comes back by itself, and shows anew who it is."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A part of a page as it stands, the mark of that state, and whether it will not change any more."""

    mark: str
    html: str
    is_over: bool


def stream(request: Request, look: Callable[[str], View | None]) -> StreamingResponse:
    """Follow `look`, which gets the last mark and gives None while nothing has changed; it runs in a thread."""

    async def follow() -> AsyncIterator[str]:
        mark = request.headers.get("last-event-id", "")[:200]
        yield "retry: 1000\n\n"
        began = told_at = time.monotonic()
        while time.monotonic() - began < MOST_S and not await request.is_disconnected():
            view = await run_in_threadpool(look, mark)
            if view is not None:
                mark, told_at = view.mark, time.monotonic()
                yield message(view)
                if view.is_over:
                    yield f"id: {mark}\nevent: ended\ndata: \n\n"
                    return
            elif time.monotonic() - told_at > BEAT_EVERY_S:
                told_at = time.monotonic()
                yield ": still here\n\n"
            await anyio.sleep(LOOK_EVERY_S)

    return StreamingResponse(follow(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def message(view: View) -> str:
    """One unnamed event, which is what htmx puts into the page."""
    data = "".join(f"data: {line}\n" for line in view.html.splitlines())
    return f"id: {view.mark}\n{data}\n"
