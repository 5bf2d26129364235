"""Drawing over the API, and everything that was drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.testclient import TestClient

from greenroom.settings import Settings

if TYPE_CHECKING:
    from conftest import World


def test_a_request_is_queued_once_and_cancelled(api: TestClient, world: World) -> None:
    asked, key = {"prompt": "@KIA_01 in space", "count": 2}, {"idempotency-key": "g-1"}
    first = api.post("/generations", json=asked, headers=key)
    assert first.status_code == 201
    told = first.json()
    assert (told["state"], told["prompt"], told["asked"]) == ("queued", "KIA_01 in space", "@KIA_01 in space")
    assert [member["trigger"] for member in told["cast"]] == ["KIA_01"]
    assert api.post("/generations", json=asked, headers=key).json() == told
    assert api.post(f"/generations/{told['id']}/cancel").json()["state"] == "cancelled"
    listed = api.get("/generations").json()["items"]
    assert [one["id"] for one in listed] == [told["id"], world.generation]


def test_requests_come_in_pages(api: TestClient, world: World) -> None:
    made = api.post("/generations", json={"prompt": "@KIA_01"}).json()
    page = api.get("/generations?limit=1").json()
    rest = api.get("/generations", params={"limit": 1, "cursor": page["next"]}).json()
    assert [one["id"] for one in page["items"] + rest["items"]] == [made["id"], world.generation]
    assert rest["next"] is None


def test_what_cannot_be_drawn_is_told(api: TestClient) -> None:
    unknown = api.post("/generations", json={"prompt": "@KIA_02"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "UnknownTrigger")
    assert "@KIA_01" in unknown.json()["detail"]
    assert api.post("/generations", json={"prompt": ""}).status_code == 422
    assert api.post("/generations", json={"prompt": "x", "count": 65}).status_code == 422


def test_pictures_stream_in(api: TestClient, world: World) -> None:
    url = f"/generations/{world.generation}/events/stream"
    text = api.get(url).text
    assert text.count("event: picture\n") == 2
    assert text.endswith('event: end\ndata: {"state": "done"}\n\n')
    first = text.split("id: ")[1].splitlines()[0]
    assert api.get(url, headers={"last-event-id": first}).text.count("event: picture\n") == 1


def test_made_pictures_are_searched_hidden_and_shown_again(api: TestClient, world: World) -> None:
    assert len(api.get("/made").json()["items"]) == 2
    assert len(api.get("/made?search=laughing").json()["items"]) == 2
    assert api.get("/made?search=crying").json()["items"] == []
    one = api.get(f"/made/{world.made}").json()
    assert (one["asked"], one["cast"][0]["name"], one["seed"]) == ("@KIA_01 laughing", "KIA", 8)
    assert api.get(f"/made/{world.made}/file").headers["content-type"] == "image/png"
    assert api.delete(f"/made/{world.made}").status_code == 204
    assert [row["id"] != world.made for row in api.get("/made").json()["items"]] == [True]
    assert api.post(f"/made/{world.made}/restore").json()["deleted_at"] is None


def test_made_pictures_come_in_pages(api: TestClient) -> None:
    page = api.get("/made?limit=1").json()
    rest = api.get("/made", params={"limit": 1, "cursor": page["next"]}).json()
    assert {row["seed"] for row in page["items"] + rest["items"]} == {7, 8}


def test_bases_and_recipes_are_told_without_paths(api: TestClient, home: Settings) -> None:
    bases = api.get("/bases")
    assert [base["id"] for base in bases.json()["items"]] == ["starter", "tiny"]
    assert str(home.home_folder.parent) not in bases.text
    assert "source" not in bases.json()["items"][0]
    assert api.get("/bases/tiny").json()["family"] == "starter"
    assert api.get("/bases/none").status_code == 404
    assert "starter-character" in {recipe["name"] for recipe in api.get("/recipes").json()["items"]}
    assert api.get("/recipes/starter-character").json()["settings"]["steps"] > 0
    assert api.get("/recipes/none").status_code == 404
