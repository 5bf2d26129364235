"""Every page that needs no training: axe-core finds nothing serious, and nothing is wider than a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import accessible
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from conftest import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

EMPTY = ("/", "/train", "/train/character", "/generate", "/history", "/trash", "/settings", "/no-such-page")
FILLED = ("/", "/actors/{id}", "/actors/{id}/pictures", "/actors/{id}/captions", "/actors/{id}/review")


def test_pages_of_an_empty_studio_are_accessible(page: Page, server: Server) -> None:
    for path in EMPTY:
        page.goto(server.url + path)
        accessible.check(page)


def test_pages_of_a_draft_are_accessible(page: Page, server: Server, juno_id: str) -> None:
    for path in FILLED:
        page.goto(server.url + path.format(id=juno_id), timeout=120_000)
        accessible.check(page)


def test_no_page_is_wider_than_a_phone(page: Page, server: Server, juno_id: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for path in (*EMPTY, *FILLED):
        page.goto(server.url + path.format(id=juno_id), timeout=120_000)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} px wide"
