"""The API, put together at its first request: that takes a fifth of a second, which no page should wait for."""

from __future__ import annotations

import threading

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from greenroom.settings import Settings


class Later:
    """An ASGI application that is made when it is first asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: FastAPI | None = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        app = self._made if self._made is not None else await run_in_threadpool(self.made)
        await app(scope, receive, send)

    def made(self) -> FastAPI:
        """The API itself."""
        with self._lock:
            if self._made is None:
                # Imported here, as the import is most of the work.
                from greenroom.web.api import app

                self._made = app.create(self._settings)
            return self._made
