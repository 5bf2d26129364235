"""Actors and the trash over the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.testclient import TestClient

from greenroom.settings import Settings

if TYPE_CHECKING:
    from conftest import World

NEW = {"kind": "character", "name": "Mio", "trigger": "MIO_01", "base": "tiny"}


def test_an_actor_is_made_read_and_listed(api: TestClient) -> None:
    made = api.post("/actors", json=NEW)
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/actors/{made.json()['id']}"
    assert made.json()["state"] == "draft"
    assert api.get(f"/actors/{made.json()['id']}").json() == made.json()
    assert [actor["name"] for actor in api.get("/actors").json()["items"]] == ["Mio", "KIA"]


def test_lists_come_in_pages_that_miss_nothing(api: TestClient) -> None:
    for number in range(5):
        api.post("/actors", json={**NEW, "name": f"Mio {number}", "trigger": f"MIO_{number}"})
    names, cursor, pages = [], None, 0
    while True:
        page = api.get("/actors", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        names += [actor["name"] for actor in page["items"]]
        pages, cursor = pages + 1, page["next"]
        if cursor is None:
            break
    assert names == ["Mio 4", "Mio 3", "Mio 2", "Mio 1", "Mio 0", "KIA"]
    assert pages == 3


def test_a_cursor_of_another_list_or_of_nobody_is_refused(api: TestClient) -> None:
    api.post("/actors", json=NEW)
    cursor = api.get("/actors", params={"limit": 1}).json()["next"]
    for path, given in (("/generations", cursor), ("/actors", "nonsense!"), ("/actors", "AAAA")):
        answer = api.get(path, params={"cursor": given})
        assert answer.status_code == 422
        assert answer.json()["code"] == "BadCursor"


def test_search_and_state_narrow_the_list(api: TestClient) -> None:
    api.post("/actors", json=NEW)
    assert [one["name"] for one in api.get("/actors?search=mio").json()["items"]] == ["Mio"]
    assert [one["name"] for one in api.get("/actors?state=trained").json()["items"]] == ["KIA"]


def test_errors_are_problem_documents(api: TestClient) -> None:
    answer = api.post("/actors", json={**NEW, "trigger": "KIA_01"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == "urn:greenroom:problem:trigger-taken"
    assert (told["status"], told["code"], told["instance"]) == (409, "TriggerTaken", "/api/v1/actors")
    assert "taken by KIA" in told["detail"]


def test_a_wrong_field_is_named_and_not_sent_back(api: TestClient) -> None:
    answer = api.post("/actors", json={**NEW, "name": "", "secret": "hunter2"})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"name", "secret"}
    assert "hunter2" not in answer.text


def test_the_same_key_makes_one_actor(api: TestClient) -> None:
    key = {"idempotency-key": "6a7d1c1e"}
    first = api.post("/actors", json=NEW, headers=key)
    again = api.post("/actors", json=NEW, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(api.get("/actors").json()["items"]) == 2


def test_the_same_key_with_another_request_is_a_conflict(api: TestClient) -> None:
    key = {"idempotency-key": "6a7d1c1e"}
    api.post("/actors", json=NEW, headers=key)
    other = api.post("/actors", json={**NEW, "trigger": "MIO_02"}, headers=key)
    assert other.status_code == 409
    assert other.json()["code"] == "KeyReused"


def test_a_refused_request_keeps_no_reply(api: TestClient) -> None:
    key = {"idempotency-key": "6a7d1c1e"}
    assert api.post("/actors", json={**NEW, "trigger": "red"}, headers=key).status_code == 422
    assert api.post("/actors", json=NEW, headers=key).status_code == 201


def test_an_actor_is_renamed_and_set_on_another_base(api: TestClient, world: World) -> None:
    changed = api.patch(f"/actors/{world.actor}", json={"name": "Kia of the North"})
    assert changed.json()["name"] == "Kia of the North"
    assert api.patch(f"/actors/{world.actor}", json={"base": "nowhere"}).status_code == 404
    assert api.patch(f"/actors/{world.actor}", json={"trigger": "NEW_1"}).status_code == 422


def test_a_version_is_put_in_use(api: TestClient, world: World) -> None:
    used = api.patch(f"/actors/{world.actor}", json={"training_id": world.training})
    assert used.json()["training_id"] == world.training
    assert api.patch(f"/actors/{world.actor}", json={"training_id": "trn_none"}).status_code == 404


def test_delete_restore_and_erase(api: TestClient, world: World, home: Settings) -> None:
    assert api.delete(f"/trash/{world.actor}").status_code == 404  # it is not in the trash
    assert api.delete(f"/actors/{world.actor}").status_code == 204
    assert api.get(f"/actors/{world.actor}").status_code == 404
    trashed = api.get("/trash").json()["items"][0]
    assert (trashed["actor"]["id"], trashed["days_left"]) == (world.actor, 30)
    assert api.post(f"/actors/{world.actor}/restore").json()["deleted_at"] is None
    api.delete(f"/actors/{world.actor}")
    erased = api.delete("/trash").json()
    assert erased["actors"] == 1
    assert erased["files"] >= 12
    assert not list((home.home_folder / "files" / "actors").rglob("*.png"))
    assert api.post(f"/actors/{world.actor}/restore").status_code == 404


def test_a_trigger_is_judged_before_it_is_taken(api: TestClient) -> None:
    assert api.get("/triggers", params={"trigger": "MIO_01"}).json()["is_free"] is True
    taken = api.get("/triggers", params={"trigger": "kia_01"}).json()
    assert taken["is_free"] is False
    assert "taken by KIA" in taken["problem"]
