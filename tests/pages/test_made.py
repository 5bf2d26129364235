"""A drawn picture's page: all of its request, or a part of it, goes back into the prompt box."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from greenroom.db import session as db
from greenroom.settings import Settings
from greenroom.studio import generations, workspaces

PROMPT = "a lighthouse in the snow"


@pytest.fixture
def made(home: Settings) -> str:
    """The second of three pictures of one request; its id."""
    with db.session(home) as session:
        asked = generations.request(prompt=PROMPT, negative="rain", count=3, seed=40)
        generation = generations.start(session, workspaces.default(session), asked)
        generations.add_picture(
            session, generation, key="made/1", seed=40, prompt=PROMPT, width_px=64, height_px=64
        )
        return generations.add_picture(
            session, generation, key="made/2", seed=41, prompt=PROMPT, width_px=64, height_px=64
        ).id


@pytest.mark.parametrize(
    ("button", "prompt", "negative", "count", "seed"),
    [
        ("Recall all", PROMPT, "rain", "1", "41"),
        ("Remix", PROMPT, "rain", "3", ""),
        ("Prompt", PROMPT, "", None, ""),
        ("Seed", "", "", None, "41"),
    ],
)
def test_what_made_a_picture_is_recalled(
    client: TestClient, made: str, button: str, prompt: str, negative: str, count: str | None, seed: str
) -> None:
    page = client.get(f"/made/{made}").text
    link = re.search(rf'href="([^"]+)"[^>]*>{button}</a>', page)
    assert link is not None
    form = client.get(link[1].replace("&amp;", "&")).text
    assert re.findall(r"<textarea[^>]*>([^<]*)</textarea>", form) == [prompt]
    assert f'name="negative" value="{negative}"' in form
    assert f'name="seed" inputmode="numeric" value="{seed}"' in form
    if count:
        counts = re.search(r'<select id="count".*?</select>', form, re.DOTALL)
        assert counts is not None
        assert f"<option selected>{count}</option>" in counts[0]
