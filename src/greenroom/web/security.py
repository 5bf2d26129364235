"""Who may speak to the studio, how much they may send, and what every answer carries.

There are no accounts yet, so the only door is this machine's loopback address. Two things could still come
through it: a foreign page in the person's own browser (Origin is checked), and a foreign name that resolves to
127.0.0.1 (Host is checked). Knows no page.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
FORM_BYTES = 1_000_000
FORM_PICTURES = 12
"""As many of the largest pictures may come in one plain form; with JavaScript each has a request of its own."""
_SAFE = {"GET", "HEAD"}
_PICTURES = re.compile(r"/actors/[a-z0-9_]+/pictures")


class Guard:
    """Checks Host and Origin, limits bodies while they are read, and adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], picture_bytes: int) -> None:
        self.app, self.hosts, self.picture_bytes = app, hosts, picture_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; anything that is neither HTTP nor the server's own start and stop is closed."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    added.setdefault(name, value)
                added.setdefault("cache-control", "no-store")
            await send(message)

        if refusal := self._refusal(scope, headers):
            status, said = refusal
            await JSONResponse({"message": said}, status_code=status)(scope, receive, answer)
            return
        most = self._most_bytes(scope["method"], scope["path"])
        if int(headers.get("content-length") or 0) > most:
            close = {"connection": "close"}
            response = JSONResponse({"message": _too_large(most)}, status_code=413, headers=close)
            await response(scope, receive, answer)
            return
        taken = 0

        async def limited() -> Message:
            # A body may come without a length, so it is counted as well.
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(413, _too_large(most))
            return message

        await self.app(scope, limited, answer)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self.hosts:
            return 421, "This studio answers only under its own address. Open the one that it printed."
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return 400, "The length of the request is not a number."
        if scope["method"] in _SAFE:
            return None
        if scope["method"] not in {"POST", "PUT"}:
            return 405, "This studio takes GET, POST and PUT only."
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self.hosts}:
            return 403, "The request comes from another site, so it was refused. Use the studio's own page."
        # NOTE: an old browser may send no Origin with a form; every one since 2023 sends Sec-Fetch-Site.
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return 403, "The request comes from another site, so it was refused. Use the studio's own page."
        return None

    def _most_bytes(self, method: str, path: str) -> int:
        if not _PICTURES.fullmatch(path):
            return FORM_BYTES
        return self.picture_bytes if method == "PUT" else self.picture_bytes * FORM_PICTURES


def _too_large(most: int) -> str:
    return (
        f"That is more than {most // 1_000_000} MB, the most that is taken in one request. Send less at once."
    )


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def hosts(host: str, port: int) -> frozenset[str]:
    """The Host headers under which a studio bound there may be called."""
    names = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))
