"""API keys: shown once, kept as a hash, scoped, revoked; and who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from starlette.testclient import TestClient

from greenroom.db import session as db
from greenroom.db.models import ApiKey
from greenroom.settings import Settings

if TYPE_CHECKING:
    from conftest import World


def test_a_secret_is_shown_once_and_kept_as_a_hash(api: TestClient, home: Settings) -> None:
    made = api.post("/keys", json={"name": "farm", "scope": "write"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.startswith("gr_")
    assert secret not in api.get("/keys").text
    with db.session(home) as session:
        row = session.scalars(select(ApiKey)).one()
        assert secret not in str({column.name: getattr(row, column.name) for column in row.__table__.columns})
    assert api.get("/keys").json()["items"][0]["hint"] == secret[:8]


def test_a_read_key_reads_and_changes_nothing(api: TestClient, world: World) -> None:
    secret = api.post("/keys", json={"name": "look", "scope": "read"}).json()["secret"]
    bearer = {"authorization": f"Bearer {secret}"}
    assert api.get("/actors", headers=bearer).status_code == 200
    refused = api.delete(f"/actors/{world.actor}", headers=bearer)
    assert (refused.status_code, refused.json()["code"]) == (403, "NotAllowed")
    assert api.post("/keys", json={"name": "more"}, headers=bearer).status_code == 403
    assert api.get("/keys", headers=bearer).status_code == 403
    assert api.get("/keys").json()["items"][0]["last_used_at"] is not None


def test_a_write_key_writes(api: TestClient, world: World) -> None:
    secret = api.post("/keys", json={"name": "farm", "scope": "write"}).json()["secret"]
    bearer = {"authorization": f"Bearer {secret}"}
    assert api.patch(f"/actors/{world.actor}", json={"name": "Kia"}, headers=bearer).status_code == 200
    assert api.get("/me", headers=bearer).json()["can_write"] is True


def test_a_revoked_unknown_or_odd_key_is_refused(api: TestClient) -> None:
    made = api.post("/keys", json={"name": "farm"}).json()
    assert api.delete(f"/keys/{made['id']}").status_code == 204
    assert api.delete(f"/keys/{made['id']}").status_code == 404
    for given in (f"Bearer {made['secret']}", "Bearer gr_nonsense", "Bearer", "Basic YTpi", ""):
        answer = api.get("/actors", headers={"authorization": given})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_who_asks_is_told(api: TestClient, world: World) -> None:
    me = api.get("/me").json()
    assert (me["account_id"], me["role"], me["workspace"]["id"]) == (None, "owner", world.workspace)
    assert [one["id"] for one in api.get("/workspaces").json()["items"]] == [world.workspace]
    at = f"/workspaces/{world.workspace}"
    assert api.patch(at, json={"name": "Film"}).json()["name"] == "Film"
    assert api.post("/workspaces", json={"name": "Two"}).status_code == 409
    assert api.post(f"{at}/invitations", json={"role": "viewer"}).status_code == 409
