"""`greenroom serve` as a process: on loopback without a question, elsewhere with an owner's token."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import commands
import httpx

from greenroom.cli.serve import listen


@contextmanager
def _served(home: Path, *options: str) -> Iterator[tuple[str, str]]:
    """(the address, the line after it or an empty text) of a server without a worker."""
    process = commands.spawn(home, "serve", "--port", "0", "--no-worker", *options)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        more = process.stdout.readline() if options else ""
        yield found[0], more
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def test_another_address_asks_for_an_owner_with_a_token_that_works_once(tmp_path: Path) -> None:
    with _served(tmp_path, "--host", "0.0.0.0") as (url, line):
        token = re.search(r"one-time token: (\S+)", line)
        assert token, line
        port = url.rpartition(":")[2]
        origin = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=origin, headers={"origin": origin}, timeout=60) as client:
            assert client.get("/").headers["location"] == "/sign-in"
            words = "four words in a row"
            new = {"token": token[1], "name": "Ann", "password": words, "again": words}
            assert client.post("/set-up", data=new).status_code == 303
            assert "Train your first model" in client.get("/").text
            assert client.get("/", headers={"host": f"evil.test:{port}"}).status_code == 421
    # On loopback whoever is at the machine needs no account still.
    with _served(tmp_path) as (url, _):
        assert "Train your first model" in httpx.get(url, timeout=60).text


def test_small_answers_do_not_wait_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
