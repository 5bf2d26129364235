"""A studio with accounts in a real browser: set up, a key, an invitation, and out again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import accessible
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PASSWORD = "four words in a row"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server that other machines could reach; its address from here, and the owner's one-time token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "greenroom", "serve", "--host", "0.0.0.0", "--port", "0", "--no-worker"],
        env={**os.environ, "GREENROOM_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = re.search(r":(\d+)", process.stdout.readline().partition("http")[2])
        token = re.search(r"token: (\S+)", process.stdout.readline())
        assert port
        assert token
        yield f"http://127.0.0.1:{port[1]}", token[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)
        process.stdout.close()


def _new_account(page: Page, name: str, button: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name=button).click()
    page.get_by_text("Train your first model").first.wait_for()


def test_an_owner_sets_the_studio_up_and_somebody_joins(page: Page, shared: tuple[str, str]) -> None:
    url, token = shared
    page.goto(url)
    page.get_by_label("One-time token").fill("not this one")
    page.get_by_role("button", name="Make the owner's account").click()
    page.get_by_text("not the token of the last start").wait_for()
    accessible.check(page)
    page.get_by_label("One-time token").fill(token)
    _new_account(page, "Ann", "Make the owner's account")

    page.get_by_role("link", name="Settings").click()
    page.get_by_label("New key for").fill("render farm")
    page.get_by_role("button", name="Make a key").click()
    assert page.locator(".secret code").inner_text().startswith("gr_")
    page.get_by_label("Invite somebody as").select_option("viewer")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator(".secret code").inner_text()
    accessible.check(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name="Ann").click()
    accessible.check(page)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    accessible.check(page)

    page.goto(link)
    page.get_by_role("heading", name="Join Studio").wait_for()
    accessible.check(page)
    _new_account(page, "Vic", "Make an account and join")
    page.goto(f"{url}/settings")
    assert page.get_by_text("Owners of this workspace").is_visible()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Name").fill("Vic")
    page.get_by_label("Password").fill("something else")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("is not right").wait_for()
