"""`greenroom serve`: the studio in the browser, with a worker beside it."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from greenroom.cli import terminal
from greenroom.errors import WrongUse


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; this machine's own only.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    open_: Annotated[bool, typer.Option("--open", help="Open the studio in the browser.")] = False,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Train and draw here, too.")] = True,
) -> None:
    """Open the studio in the browser; it trains and draws as long as this command runs.

    Nothing is asked of you: there are no accounts, and only this machine can reach it.
    Ctrl-C saves a running training; the next `greenroom serve` goes on with it.

    \b
    greenroom serve --open
    """
    from greenroom.web import security

    if not security.is_loopback(host):
        raise WrongUse(
            f"The studio can only listen on this machine's own address, not on {host}: it has no accounts yet, "
            "so whoever reached it could use everything. Use --host 127.0.0.1; from another machine, come "
            "through an SSH tunnel."
        )
    import socket
    import webbrowser

    import uvicorn

    from greenroom import settings
    from greenroom.web import app
    from greenroom.web import worker as workers

    current = settings.current()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise WrongUse(
            f"The port {port} of {host} cannot be used ({error.strerror or error}). "
            "Maybe a studio runs there already; else use --port with another number, such as 8001."
        ) from error
    with listening:
        port = listening.getsockname()[1]
        studio = app.create(current, hosts=security.hosts(host, port))
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        terminal.show(f"The studio is open at {url}")
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
