"""`greenroom serve`: the studio in the browser, with a worker beside it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from greenroom.cli import terminal
from greenroom.errors import WrongUse

if TYPE_CHECKING:
    import socket

    from greenroom.settings import Settings


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs accounts.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    open_: Annotated[bool, typer.Option("--open", help="Open the studio in the browser.")] = False,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Train and draw here, too.")] = True,
) -> None:
    """Open the studio in the browser; it trains and draws as long as this command runs.

    On 127.0.0.1 nothing is asked of you, and only this machine can reach it. On any other address, and behind
    a proxy (GREENROOM_PUBLIC_URL), people sign in; the first start prints a one-time token for the owner.
    Ctrl-C saves a running training; the next `greenroom serve` goes on with it.

    \b
    greenroom serve --open
    greenroom serve --host 0.0.0.0
    """
    import gc
    import webbrowser

    # Hundreds of modules come now, and all of them stay: looking for garbage among them costs a sixth of the start.
    gc.disable()
    import uvicorn

    from greenroom import settings
    from greenroom.web import app, security
    from greenroom.web import worker as workers

    current = settings.current()
    has_accounts = bool(current.public_url) or not security.is_loopback(host)
    try:
        listening = listen(host, port)
    except OSError as error:
        raise WrongUse(
            f"The port {port} of {host} cannot be used ({error.strerror or error}). "
            "Maybe a studio runs there already; else use --port with another number, such as 8001."
        ) from error
    with listening:
        port = listening.getsockname()[1]
        studio = app.create(
            current,
            hosts=security.hosts(host, port) | _own_names(has_accounts, port),
            has_accounts=has_accounts,
        )
        gc.freeze()
        gc.enable()
        url = current.public_url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{port}"
        terminal.show(f"The studio is open at {url}")
        if has_accounts:
            _tell_accounts(current, url)
        terminal.say(f"Everything is kept in {current.home_folder}. Stop with Ctrl-C.")
        config = uvicorn.Config(
            studio,
            log_level="warning",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        with workers.beside(current) if worker else contextlib.nullcontext():
            if open_:
                webbrowser.open(url)
            # NOTE: uvicorn raises the signal again once it has ended in good order.
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket for a server there. Raises OSError when the port is taken or not allowed."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=128)
    # NOTE: asyncio does so with its own sockets only. Without it a small answer waits 40 ms for the browser's
    # acknowledgement; connections inherit it.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _own_names(has_accounts: bool, port: int) -> frozenset[str]:
    """The names of this machine on its network; none without accounts, when nobody else is answered."""
    import socket

    if not has_accounts:
        return frozenset()
    name = socket.gethostname().lower()
    names = {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
    return frozenset({f"{one}:{port}" for one in names} | (names if port == 80 else set()))


def _tell_accounts(current: Settings, url: str) -> None:
    """The one-time token while there is no account yet, and a warning where passwords would go unprotected."""
    from greenroom.db import session as db
    from greenroom.studio import members, workspaces

    with db.session(current) as session:
        token = members.first_owner_token(session, workspaces.default(session))
    if token is not None:
        terminal.show(f"Make the owner's account at {url}/set-up with this one-time token: {token}")
    if not current.public_url.startswith("https://"):
        terminal.say(
            "Whoever shares the network can read along, passwords too: put a proxy with https before it and set "
            "GREENROOM_PUBLIC_URL to its address."
        )
