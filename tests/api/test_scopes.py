"""Every route, walked with the ids of somebody else's workspace: it must be as if they were not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from signed_in import Browser
from sqlalchemy import select
from starlette.routing import Mount
from starlette.testclient import TestClient

from greenroom.db import session as db
from greenroom.db.models import Account, Role, SignIn, Table
from greenroom.settings import Settings
from greenroom.studio import accounts, keys, members, sign_ins, workspaces
from greenroom.web.api import app as api_app
from greenroom.web.api.later import Later

if TYPE_CHECKING:
    from conftest import World

ORIGIN = "http://192.168.1.5:8000"
JSON = {
    "PATCH /actors/{actor_id}": {"name": "Mine"},
    "PUT /actors/{actor_id}/pictures/{picture_id}/caption": {"text": "mine", "revision": 1},
    "POST /actors/{actor_id}/captions/bulk": {"action": "trigger"},
    "PATCH /trainings/{training_id}": {"chosen_step": 4},
    "PATCH /workspaces/{workspace_id}": {"name": "Mine"},
    "PATCH /workspaces/{workspace_id}/members/{account_id}": {"role": "viewer"},
    "POST /workspaces/{workspace_id}/invitations": {"role": "owner"},
}
FORMS = {
    "POST /actors/{actor_id}/captions/bulk": {"action": "trigger", "do": "apply"},
    "POST /actors/{actor_id}/captions/{picture_id}": {"revision": "1", "text": "mine"},
    "POST /actors/{actor_id}/rename": {"name": "Mine"},
    "POST /settings/members/{account_id}/role": {"role": "viewer"},
}
NOBODYS = {"kind", "base_id", "name", "secret"}
"""Parts of an address that name no object of a workspace."""


@pytest.fixture
def studio(home: Settings) -> FastAPI:
    from greenroom.web import app

    return app.create(home, hosts={"192.168.1.5:8000"}, has_accounts=True)


@pytest.fixture
def theirs(home: Settings, world: World) -> dict[str, str]:
    """Ids of Ann's workspace, by the name that they have in addresses."""
    with db.session(home) as session:
        ann = accounts.create(session, "Ann", "four words in a row")
        here = workspaces.default(session)
        members.add(session, here, ann, Role.OWNER)
        key, _ = keys.create(session, here, name="hers", account=ann)
        invitation, _ = members.invite(session, here, Role.VIEWER, by=ann)
        return {
            "actor_id": world.actor,
            "picture_id": world.picture,
            "training_id": world.training,
            "checkpoint_id": world.checkpoint,
            "generation_id": world.generation,
            "made_id": world.made,
            "workspace_id": world.workspace,
            "account_id": ann.id,
            "key_id": key.id,
            "invitation_id": invitation.id,
            "index": "0",
            "what": "lora",
            "step": "4",
        }


@pytest.fixture
def bob(home: Settings, studio: FastAPI, theirs: dict[str, str]) -> Iterator[TestClient]:
    """The owner of another workspace, signed in."""
    with db.session(home) as session:
        account = accounts.create(session, "Bob", "four other words there")
        members.add(session, workspaces.create(session, "Bob's"), account, Role.OWNER)
        secret = sign_ins.start(session, account)
    with Browser(studio, base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False) as client:
        client.cookies.set("greenroom", secret)
        yield client


def _routes(studio: FastAPI) -> list[tuple[str, str, str]]:
    """(prefix, METHOD, path) of every route, the API's included."""
    later = next(route.app for route in studio.routes if isinstance(route, Mount) and route.path == "/api/v1")
    assert isinstance(later, Later)
    api = later.made()
    pages = get_openapi(title="pages", version="1", routes=studio.routes)["paths"]
    described: list[tuple[str, dict[str, Any]]] = [("", pages), ("/api/v1", api_app.describe(api)["paths"])]
    return [
        (prefix, method.upper(), path)
        for prefix, paths in described
        for path, methods in paths.items()
        for method in methods
    ]


def _rows(home: Settings) -> str:
    """Everything that is in the database, but for when somebody was last seen."""
    with db.session(home) as session:
        return str(
            [
                (
                    table.name,
                    [tuple(row) for row in session.execute(select(table).order_by(*table.primary_key))],
                )
                for table in Table.metadata.sorted_tables
                if table.name != SignIn.__tablename__
            ]
        )


def test_somebody_elses_things_are_not_there(
    studio: FastAPI, bob: TestClient, theirs: dict[str, str], home: Settings
) -> None:
    before = _rows(home)
    walked = []
    for prefix, method, path in _routes(studio):
        names = set(re.findall(r"{(\w+)}", path))
        if not names or names & NOBODYS:
            continue
        ids = {**theirs, "picture_id": theirs["made_id"]} if "/made/" in path else theirs
        where = f"{method} {path}"
        sent: dict[str, Any] = {}
        if prefix and method != "GET":
            sent["json"] = JSON.get(where, {})
        elif method != "GET":
            sent["data"] = FORMS.get(where, {})
        if path.endswith("/pictures") and method != "GET":
            sent = {"files": [("files", ("a.png", b"x"))]} if method == "POST" else {"params": {"name": "a"}}
        answer = bob.request(method, prefix + path.format(**ids), **sent)
        assert answer.status_code == 404, (prefix, where, answer.status_code, answer.text[:300])
        walked.append(prefix + where)
    assert len(walked) > 70
    assert any("live" in where for where in walked)
    assert any("export" in where for where in walked)
    assert _rows(home) == before


def test_no_list_or_page_shows_anything_of_somebody_elses(
    studio: FastAPI, bob: TestClient, theirs: dict[str, str]
) -> None:
    secrets = [value for name, value in theirs.items() if name not in {"index", "what", "step"}]
    asked = 0
    for prefix, method, path in _routes(studio):
        if method != "GET" or "{" in path:
            continue
        params = {"trigger": "NEW_01"} if path == "/triggers" else {}
        answer = bob.get(prefix + path, params=params)
        assert answer.status_code in {200, 303}, (path, answer.text[:300])
        assert not [secret for secret in secrets if secret in answer.text], path
        asked += 1
    assert asked > 15


def test_their_ids_in_a_query_or_a_body_show_nothing(bob: TestClient, theirs: dict[str, str]) -> None:
    for path in (
        f"/generate?g={theirs['generation_id']}",
        f"/generate?of={theirs['made_id']}",
        f"/generate?actor={theirs['actor_id']}",
    ):
        assert bob.get(path).status_code == 404
    for path in (
        f"/?deleted={theirs['actor_id']}",
        f"/?after={theirs['actor_id']}",
        f"/history?before={theirs['made_id']}&deleted={theirs['made_id']}",
    ):
        answer = bob.get(path)
        assert answer.status_code == 200
        assert "KIA" not in answer.text
    named = bob.post("/api/v1/generations", json={"prompt": "@KIA_01 laughing"})
    assert (named.status_code, "KIA_01" in named.json()["detail"].replace("@KIA_01.", "")) == (404, False)
    new = {"kind": "character", "name": "Mine", "trigger": "KIA_01"}
    mine = bob.post("/api/v1/actors", json=new)
    assert mine.status_code == 201  # a trigger is taken in its own workspace only
    change = {"training_id": theirs["training_id"]}
    assert bob.patch(f"/api/v1/actors/{mine.json()['id']}", json=change).status_code == 404


def test_a_key_of_another_workspace_opens_nothing_either(
    studio: FastAPI, bob: TestClient, theirs: dict[str, str], home: Settings
) -> None:
    with db.session(home) as session:
        account = session.scalars(select(Account).where(Account.name == "Bob")).one()
        here = members.workspaces_of(session, account.id)[0][0]
        _, secret = keys.create(session, here, name="mine", account=account)
    with TestClient(studio, base_url=ORIGIN) as program:
        program.headers["authorization"] = f"Bearer {secret}"
        assert program.get("/api/v1/actors").json()["items"] == []
        assert program.get(f"/api/v1/actors/{theirs['actor_id']}").status_code == 404
        assert program.get(f"/media/pictures/{theirs['picture_id']}").status_code == 404
        switched = program.post(f"/workspaces/{theirs['workspace_id']}/switch", headers={"origin": ORIGIN})
        assert switched.status_code in {403, 404}
