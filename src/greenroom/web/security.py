"""From where one may speak to the studio, how much may be sent, and what every answer carries. Knows no page.

On loopback, without accounts, two things could still come through the one door: a foreign page in the person's
own browser (Origin is checked), and a foreign name that resolves to 127.0.0.1 (Host is checked). With accounts
the same checks hold for every address, so that a cookie is never used by a page that is not ours. Who asks is
found out behind this, in door.py.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenroom.web import problems

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
MOST_PATH_CHARS = 2_000
_SAFE = {"GET", "HEAD"}
_PICTURES = re.compile(r"(?:/api/v1)?/actors/[a-z0-9_]+/pictures")


class Guard:
    """Checks Host and Origin, limits bodies while they are read, and adds HEADERS to every answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str],
        picture_bytes: int,
        has_accounts: bool = False,
        public_url: str = "",
    ) -> None:
        self.app, self.hosts, self.picture_bytes = app, hosts, picture_bytes
        self.has_accounts, self.public = has_accounts, origin_of(public_url)
        self.headers = dict(HEADERS)
        if self.public.startswith("https://"):
            self.headers["strict-transport-security"] = "max-age=31536000"

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
                for name, value in self.headers.items():
                    added.setdefault(name, value)
                added.setdefault("cache-control", "no-store")
            await send(message)

        if refusal := self._refusal(scope, headers):
            await _said(scope, *refusal)(scope, receive, answer)
            return
        most = self._most_bytes(scope["method"], scope["path"])
        if int(headers.get("content-length") or 0) > most:
            response = _said(scope, 413, _too_large(most))
            response.headers["connection"] = "close"
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
        host = headers["host"].lower() if len(headers.getlist("host")) == 1 else ""
        if not self._is_ours(host):
            return 421, "This studio answers only under its own address. Open the one that it printed."
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 15:
            return 400, "The length of the request is not a number."
        if len(scope["path"]) > MOST_PATH_CHARS:
            return 414, "The address is too long."
        if scope["method"] in _SAFE:
            return None
        if scope["method"] not in {"POST", "PUT"} and not (
            problems.is_api(scope["path"]) and scope["method"] in {"PATCH", "DELETE"}
        ):
            return 405, "This studio takes GET, POST and PUT only."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        # NOTE: an old browser may send no Origin with a form; every one since 2023 sends Sec-Fetch-Site.
        is_foreign = (origin is not None and not self._is_own(origin.lower(), host)) or (
            site is not None and site not in {"same-origin", "none"}
        )
        # A cookie goes along by itself, so with accounts a page must prove where it comes from; a key does not.
        is_unproved = self.has_accounts and origin is None and site is None and "authorization" not in headers
        if is_foreign or is_unproved:
            return 403, "The request comes from another site, so it was refused. Use the studio's own page."
        return None

    def _is_ours(self, host: str) -> bool:
        if host in self.hosts or (self.public and host == urlsplit(self.public).netloc):
            return True
        # Names can be made to resolve to us by anybody; an address cannot.
        return self.has_accounts and _is_address(host)

    def _is_own(self, origin: str, host: str) -> bool:
        if origin in {f"http://{name}" for name in self.hosts} or (self.public and origin == self.public):
            return True
        return self.has_accounts and origin in {f"http://{host}", f"https://{host}"}

    def _most_bytes(self, method: str, path: str) -> int:
        if not _PICTURES.fullmatch(path):
            return FORM_BYTES
        return self.picture_bytes if method == "PUT" else self.picture_bytes * FORM_PICTURES


def _said(scope: Scope, status: int, message: str) -> Response:
    if problems.is_api(scope["path"]):
        return problems.problem(status, _CODES[status], message, scope["path"])
    return JSONResponse({"message": message}, status_code=status)


_CODES = {
    400: "WrongUse",
    403: "NotAllowed",
    405: "WrongUse",
    413: "TooLarge",
    414: "TooLarge",
    421: "WrongHost",
}


def _too_large(most: int) -> str:
    return (
        f"That is more than {most // 1_000_000} MB, the most that is taken in one request. Send less at once."
    )


def _is_address(host: str) -> bool:
    """True for a Host header that names an IP address and no name."""
    try:
        ip_address((urlsplit(f"//{host}").hostname or "").partition("%")[0])
    except ValueError:
        return False
    return re.fullmatch(r"[0-9a-f.:\[\]]+", host) is not None


def origin_of(url: str) -> str:
    """Scheme and host of a URL in lower case, as browsers send an Origin; empty for an empty one."""
    parts = urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


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
