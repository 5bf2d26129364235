"""Somebody who is signed in with a browser."""

from __future__ import annotations

import re
from typing import Any

from starlette.testclient import TestClient


class Browser(TestClient):
    """What it sends is a form of ours, so it knows what our forms end with."""

    def request(self, method: str, url: Any, **options: Any) -> Any:
        """As TestClient's, with the proof that a page of this session has, if there is a session."""
        if method not in {"GET", "HEAD"} and self.cookies.get("greenroom"):
            shown = super().request("GET", "/settings").text
            if found := re.search(r"proof=([0-9a-f]{32})", shown):
                options["params"] = {**(options.get("params") or {}), "proof": found[1]}
        return super().request(method, url, **options)
