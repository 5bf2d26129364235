"""A studio to open: in this process for plain requests, as a real server for the browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from greenroom import files, settings
from greenroom.db import session as db
from greenroom.settings import Settings
from greenroom.studio import actors, bases, workspaces

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ORIGIN = "http://127.0.0.1:8000"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_configure(config: pytest.Config) -> None:
    """Name our marker."""
    config.addinivalue_line("markers", "browser: drives a real browser over a real server")


@pytest.fixture
def home(tmp_path: Path, toy_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An empty studio that knows the toy base."""
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    here = settings.current()
    with db.session(here) as session:
        bases.add(session, "toy", toy_base)
    yield here
    settings.current.cache_clear()


@pytest.fixture
def client(home: Settings) -> Iterator[TestClient]:
    """A browser without JavaScript, in this process."""
    from greenroom.web import app

    studio = app.create(home, hosts={"127.0.0.1:8000"})
    with TestClient(studio, base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False) as opened:
        yield opened


@pytest.fixture
def juno_id(home: Settings, juno: Path) -> str:
    """A draft with the sample pictures and their captions; its id."""
    with db.session(home) as session:
        intake = actors.find_or_create_for_folder(
            session,
            files.store(home),
            workspaces.default(session),
            juno,
            kind="character",
            name="Juno",
            trigger="JUNO_01",
            base="toy",
        )
        return intake.actor.id


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running `greenroom serve`."""

    url: str
    home: Path
    process: subprocess.Popen[str]


@pytest.fixture
def server(home: Settings) -> Iterator[Server]:
    """The real command on a free port, its worker included."""
    # The child inherits GREENROOM_HOME from the environment that `home` has set.
    process = subprocess.Popen(
        [sys.executable, "-m", "greenroom", "serve", "--port", "0"],
        env=os.environ.copy(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield Server(url=found[0], home=home.home_folder, process=process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"],
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh tab; a script error or a blocked resource on any page fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on(
        "console",
        lambda said: troubles.append(said.text) if "Content Security Policy" in said.text else None,
    )
    yield opened
    context.close()
    assert not troubles
