"""A newcomer's whole way in a real browser: from an empty page to a trained model and its pictures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import accessible
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from conftest import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


def test_a_newcomer_gets_a_trained_model_and_its_pictures(
    page: Page, server: Server, juno: Path, tmp_path: Path
) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="Train New Model").click()
    page.get_by_role("link", name="Character").click()
    page.get_by_label("Name").fill("Juno")
    page.get_by_label("Trigger word").fill("red")
    page.get_by_text("ordinary word").wait_for()
    page.get_by_label("Trigger word").fill("JUNO_01")
    page.get_by_text("@JUNO_01 is free.").wait_for()
    page.get_by_role("button", name="Continue to pictures").click()

    bad = tmp_path / "broken.png"
    bad.write_bytes(b"not a picture")
    chosen = [juno / f"{number:02d}.{ending}" for number in range(1, 13) for ending in ("png", "txt")]
    page.locator("[data-files]").first.set_input_files([*chosen, bad])
    page.get_by_text("12 taken, 1 refused").wait_for(timeout=240_000)
    assert page.locator(".verdict.is-bad b").inner_text() == "broken.png"
    page.reload()  # every step saves itself
    assert page.locator("[data-tiles] .tile").count() == 12
    page.get_by_role("link", name="Continue to captions").click()

    first = page.locator("[data-captions] textarea").first
    first.fill("JUNO_01, waving, in a park")
    first.press("Control+Enter")
    page.get_by_text("Saved", exact=True).wait_for()
    page.get_by_role("link", name="Continue to review").click()
    page.get_by_text("Advanced").click()
    page.get_by_label("Steps").fill("60")
    page.get_by_label("Pictures a step").fill("2")
    page.get_by_label("Rank").fill("4")
    page.get_by_label("Sample prompts").fill("JUNO_01, at the beach")
    page.get_by_role("button", name="Train Juno").click()

    page.locator("#now h2").wait_for()
    page.locator("#curve polyline.smooth").wait_for(timeout=300_000)
    page.reload()  # in the middle: it goes on
    _wait_until_trained(page, server, timeout_s=600)
    accessible.check(page)
    assert page.locator("#samples img").count() >= 1

    page.get_by_role("link", name="Generate with Juno").click()
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("")
    prompt.press_sequentially("@ju")
    page.get_by_role("option", name="Juno").wait_for()
    prompt.press("Enter")
    assert prompt.input_value() == "@JUNO_01 "
    prompt.press_sequentially("laughing in space")
    page.get_by_label("Pictures").select_option("2")
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_role("heading", name="2 pictures").wait_for(timeout=300_000)
    accessible.check(page)
    page.locator("#result .made img").first.click()
    assert "@JUNO_01 laughing in space" in page.locator(".made-prompt").inner_text()

    accessible.check(page)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Bring it back").click()
    page.get_by_role("link", name="Models", exact=True).click()
    assert page.locator(".card .pill").inner_text() == "Trained"
    page.locator(".card a").click()
    accessible.check(page)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Move to the trash").click()
    page.get_by_role("button", name="Bring it back").click()
    page.get_by_role("heading", name="Juno", exact=True).wait_for()


def test_pictures_chosen_before_the_script_came_are_sent_too(page: Page, server: Server, juno: Path) -> None:
    page.goto(f"{server.url}/train/character")
    page.get_by_label("Name").fill("Juno")
    page.get_by_label("Trigger word").fill("JUNO_01")
    held = _hold(page, "**/static/studio.js*")
    page.get_by_role("button", name="Continue to pictures").click(no_wait_after=True)
    field = page.locator("[data-files]").first
    field.wait_for(state="attached")
    field.set_input_files([juno / "01.png", juno / "01.txt", juno / "02.png"])
    assert not page.locator("[data-tiles] .tile").count()
    held[0].continue_()
    page.get_by_text("2 taken").wait_for()
    assert page.locator("[data-tiles] .tile").count() == 2


def test_a_training_goes_on_after_its_worker_was_killed(page: Page, server: Server, juno_id: str) -> None:
    page.goto(f"{server.url}/actors/{juno_id}/review")
    page.get_by_text("Advanced").click()
    page.get_by_label("Steps").fill("120")
    page.get_by_label("Pictures a step").fill("2")
    page.get_by_label("Rank").fill("4")
    page.get_by_label("Sample prompts").fill("JUNO_01")
    late = _hold(page, "**/hx-sse.min.js*")
    page.get_by_role("button", name="Train Juno").click(no_wait_after=True)
    page.locator("#now h2").wait_for()
    page.wait_for_timeout(500)
    late[0].continue_()  # a part of the scripts that comes late is no reason for a page that stands still
    page.locator("#curve polyline.smooth").wait_for(timeout=300_000)
    os.kill(_worker_of(server), signal.SIGKILL)
    _wait_until_trained(page, server, timeout_s=800)
    assert page.locator("#now dd").first.inner_text() == "120 of 120"


def _hold(page: Page, pattern: str) -> list[Route]:
    """Keep what the page asks for there from coming, until it is continued."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(pattern, hold)
    return held


def _wait_until_trained(page: Page, server: Server, *, timeout_s: float) -> None:
    """Without a reload; a training that failed or hangs is told with what the page and the worker said."""
    over = page.get_by_role("heading", name=re.compile("Juno is trained|The training failed"))
    try:
        over.wait_for(timeout=timeout_s * 1000)
    except Exception as error:
        raise AssertionError(_said(page, server)) from error
    assert over.inner_text() == "Juno is trained", _said(page, server)


def _said(page: Page, server: Server) -> str:
    shown = page.locator("main").inner_text()
    page.reload()
    log = (server.home / "logs" / "worker.log").read_text(errors="replace")[-3000:]
    return (
        f"the page: {shown}\n\nafter a reload: {page.locator('main').inner_text()}\n\nthe worker's log: {log}"
    )


def _worker_of(server: Server) -> int:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])
