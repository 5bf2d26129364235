"""Events of something that runs, as server-sent events with ids: who comes back misses none. Knows no noun."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from greenroom.web.sse import BEAT_EVERY_S, LOOK_EVERY_S, MOST_S

RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; the last one is `end`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; an empty id leaves the last one in force."""

    id: str = ""
    name: str
    data: dict[str, Any]


Look = Callable[[str], tuple[Sequence[Event], bool]]
"""Gets the id of the last event that was sent; gives those since, and whether no more will come."""


def stream(request: Request, look: Look) -> StreamingResponse:
    """Follow `look`, which runs in a thread; Last-Event-ID of the request says where to go on."""

    async def follow() -> AsyncIterator[str]:
        last = request.headers.get("last-event-id", "")[:64]
        yield "retry: 1000\n\n"
        began = told_at = time.monotonic()
        while not await request.is_disconnected():
            events, is_over = await run_in_threadpool(look, last)
            for event in events:
                last = event.id or last
                yield message(event)
            moment = time.monotonic()
            if is_over or moment - began > MOST_S:
                return
            if events:
                told_at = moment
            elif moment - told_at > BEAT_EVERY_S:
                told_at = moment
                yield ": still here\n\n"
            await anyio.sleep(LOOK_EVERY_S)

    return StreamingResponse(follow(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def message(event: Event) -> str:
    """The event as it goes over the wire; JSON has no line breaks of its own."""
    head = f"id: {event.id}\n" if event.id else ""
    return f"{head}event: {event.name}\ndata: {json.dumps(event.data, ensure_ascii=False)}\n\n"
