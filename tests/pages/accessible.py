"""What axe-core says about a page, for the tests in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def check(page: Page) -> None:
    """Fail on a serious or critical finding, in light and in dark; each is told with its elements."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour half-way
        found = Axe().run(page, options=_RULES).response["violations"]
        told = [
            f"{page.url} ({scheme}): {one['help']}: "
            + "; ".join(
                f"{node['html'][:160]} {node.get('failureSummary', '')[:200]}" for node in one["nodes"][:4]
            )
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]
        assert not told, "\n".join(told)
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
