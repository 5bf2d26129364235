"""Captions over the API: nobody's wording is overwritten, and a bulk edit is previewed and undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.testclient import TestClient

if TYPE_CHECKING:
    from conftest import World


def test_a_caption_is_saved_against_the_revision_that_was_read(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/pictures/{world.picture}/caption"
    read = api.get(url)
    revision = read.json()["revision"]
    assert read.headers["etag"] == f'"{revision}"'
    saved = api.put(url, json={"text": "KIA_01, from one tab", "revision": revision})
    assert saved.json()["revision"] == revision + 1
    late = api.put(url, json={"text": "KIA_01, from the other", "revision": revision})
    assert late.status_code == 409
    assert late.json()["code"] == "EditedMeanwhile"
    assert late.json()["current"]["text"] == "KIA_01, from one tab"
    assert api.get(url).json()["text"] == "KIA_01, from one tab"


def test_the_etag_does_as_well(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/pictures/{world.picture}/caption"
    etag = api.get(url).headers["etag"]
    saved = api.put(url, json={"text": "KIA_01, here"}, headers={"if-match": etag})
    assert saved.headers["etag"] != etag
    assert api.put(url, json={"text": "KIA_01, there"}, headers={"if-match": etag}).status_code == 409
    assert api.put(url, json={"text": "KIA_01"}, headers={"if-match": "*"}).status_code == 400
    assert api.put(url, json={"text": "KIA_01, blindly"}).status_code == 400


def test_every_wording_is_kept(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/pictures/{world.picture}/caption"
    before = api.get(f"{url}/history").json()["items"]
    api.put(url, json={"text": "KIA_01, anew", "revision": before[0]["revision"]})
    after = api.get(f"{url}/history").json()["items"]
    assert [one["text"] for one in after] == ["KIA_01, anew", *(one["text"] for one in before)]


def test_a_bulk_edit_is_previewed_done_and_undone(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/captions"
    edit = {"action": "replace", "find": "woman", "replace": "captain"}
    told = api.post(f"{url}/bulk", json={**edit, "preview": True}).json()
    assert (told["is_done"], told["count"]) == (False, 3)
    assert "captain" not in api.get(url).text
    assert api.post(f"{url}/bulk", json=edit).json()["count"] == 3
    assert api.get(url).text.count("captain") == 3
    assert api.post(f"{url}/undo").json()["count"] == 3
    assert "captain" not in api.get(url).text


def test_words_are_put_in_front_and_the_trigger_where_it_lacks(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/captions"
    assert api.post(f"{url}/bulk", json={"action": "prepend", "words": "ink"}).json()["count"] == 4
    assert len(api.get(f"{url}?show=empty").json()["items"]) == 2
    done = api.post(f"{url}/bulk", json={"action": "trigger"}).json()
    assert [change["after"] for change in done["changes"]] == ["KIA_01", "KIA_01"]
    assert api.get(f"{url}?show=no-trigger").json()["items"] == []
    assert len(api.get(f"{url}?search=INK").json()["items"]) == 4
    assert api.post(f"{url}/bulk", json={"action": "replace"}).status_code == 422


def test_a_caption_that_is_too_long_is_refused(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/pictures/{world.picture}/caption"
    revision = api.get(url).json()["revision"]
    assert api.put(url, json={"text": "x" * 2_001, "revision": revision}).json()["code"] == "BadCaption"
