"""A studio that other machines can reach: the first owner, signing in, roles and invitations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from signed_in import Browser
from sqlalchemy import select
from starlette.testclient import TestClient

from greenroom.db import session as db
from greenroom.db.models import Account, Role, SignIn, Workspace
from greenroom.settings import Settings
from greenroom.studio import accounts, members, workspaces

if TYPE_CHECKING:
    from conftest import World

ORIGIN = "http://192.168.1.5:8000"
PASSWORD = "four words in a row"


@pytest.fixture
def door(home: Settings) -> Iterator[TestClient]:
    """A browser on another machine."""
    from greenroom.web import app

    studio = app.create(home, hosts={"192.168.1.5:8000"}, has_accounts=True)
    with Browser(studio, base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False) as opened:
        yield opened


@pytest.fixture
def ann(home: Settings) -> str:
    """The owner's account; its id."""
    with db.session(home) as session:
        account = accounts.create(session, "Ann", PASSWORD)
        members.add(session, workspaces.default(session), account, Role.OWNER)
        return account.id


def sign_in(client: TestClient, name: str = "Ann", password: str = PASSWORD) -> int:
    """The status of a try; the client keeps the cookie."""
    return client.post("/sign-in", data={"name": name, "password": password}).status_code


def join(client: TestClient, owner: TestClient, role: str, name: str) -> None:
    """Sign `client` in as a new member whom `owner` has invited."""
    page = owner.post("/settings/invitations", data={"role": role})
    path = re.search(r"/invitations/[\w-]{40,}", page.text)
    assert path is not None
    answer = client.post(path[0], data={"name": name, "password": PASSWORD, "again": PASSWORD})
    assert answer.status_code == 303, answer.text


@pytest.fixture
def other(door: TestClient) -> TestClient:
    """A second browser on the same studio."""
    return Browser(door.app, base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False)


def test_without_an_account_everything_leads_to_the_set_up(door: TestClient) -> None:
    assert door.get("/").headers["location"] == "/sign-in"
    assert door.get("/sign-in").headers["location"] == "/set-up"
    assert "One-time token" in door.get("/set-up").text


def test_the_first_owner_needs_the_token_and_it_works_once(door: TestClient, home: Settings) -> None:
    with db.session(home) as session:
        old = members.first_owner_token(session, workspaces.default(session))
        token = members.first_owner_token(session, workspaces.default(session))
    new = {"name": "Ann", "password": PASSWORD, "again": PASSWORD}
    for wrong in ("", "guess", old):
        answer = door.post("/set-up", data={**new, "token": wrong})
        assert (answer.status_code, "not the token" in answer.text) == (422, True)
    weak = door.post("/set-up", data={"token": token, "name": "", "password": "short", "again": "other"})
    assert weak.status_code == 422
    assert "at least" in weak.text.lower()
    assert "not the same" in weak.text
    done = door.post("/set-up", data={**new, "token": token})
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert "KIA" in door.get("/").text
    with db.session(home) as session:
        assert members.first_owner_token(session, workspaces.default(session)) is None
    door.cookies.clear()
    assert door.post("/set-up", data={**new, "name": "Eve", "token": token}).headers["location"] == "/sign-in"


@pytest.mark.usefixtures("ann")
def test_nothing_is_shown_to_somebody_who_is_not_signed_in(door: TestClient, world: World) -> None:
    for path in ("/", f"/actors/{world.actor}", f"/media/made/{world.made}", "/settings", "/history"):
        answer = door.get(path)
        assert answer.status_code in {303, 401}, path
        assert "KIA" not in answer.text
    asked = door.get(f"/actors/{world.actor}?deleted=x").headers["location"]
    assert asked == f"/sign-in?next=%2Factors%2F{world.actor}%3Fdeleted%3Dx"
    answer = door.get("/api/v1/actors")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert door.get("/static/studio.css").status_code == 200


@pytest.mark.usefixtures("ann")
def test_the_cookie_is_for_this_site_and_no_script(door: TestClient, home: Settings) -> None:
    answer = door.post("/sign-in", data={"name": "ann", "password": PASSWORD, "next": "/history"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/history")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    secret = door.cookies["greenroom"]
    with db.session(home) as session:
        assert secret not in {row.token_sha256 for row in session.scalars(select(SignIn))}
    assert door.get("/history").status_code == 200
    door.post("/sign-out")
    door.cookies.set("greenroom", secret)
    assert door.get("/history").status_code == 303


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize(
    "where", ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", ""]
)
def test_signing_in_leads_nowhere_else(door: TestClient, where: str) -> None:
    answer = door.post("/sign-in", data={"name": "Ann", "password": PASSWORD, "next": where})
    assert answer.headers["location"] == "/"


@pytest.mark.usefixtures("ann")
def test_guessing_is_slowed_down(door: TestClient) -> None:
    assert [sign_in(door, password=f"guess number {number}") for number in range(5)] == [401] * 5
    late = door.post("/sign-in", data={"name": "Ann", "password": PASSWORD})
    assert (late.status_code, late.headers["retry-after"]) == (429, "900")
    assert sign_in(door, name="Bob") == 401  # another name has its own count


@pytest.mark.usefixtures("ann")
def test_a_form_needs_proof_of_where_it_comes_from(door: TestClient, world: World) -> None:
    assert sign_in(door) == 303
    del door.headers["origin"]
    url = f"/actors/{world.actor}/delete"
    assert door.post(url).status_code == 403
    assert door.post(url, headers={"origin": "http://evil.test"}).status_code == 403
    assert door.post(url, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert door.post(url, headers={"sec-fetch-site": "same-origin"}).status_code == 303


@pytest.mark.usefixtures("ann")
def test_a_form_of_another_session_proves_nothing(door: TestClient, other: TestClient, world: World) -> None:
    sign_in(door)
    sign_in(other)
    mine, foreign = (
        re.findall(r'action="/sign-out(\?proof=[0-9a-f]{32})"', one.get("/settings").text)[0]
        for one in (door, other)
    )
    assert mine != foreign
    plain = TestClient(door.app, base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False)
    plain.cookies.update(door.cookies)
    for url in (f"/actors/{world.actor}/pictures/{world.picture}/remove", f"/actors/{world.actor}/delete"):
        for proof in ("", "?proof=", "?proof=%C3%A9", foreign):
            answer = plain.post(url + proof)
            assert (answer.status_code, "Open it again" in answer.text) == (403, True), proof
        assert plain.post(url + mine).status_code == 303
    refused = plain.post("/api/v1/keys", json={"name": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "NotAllowed")


@pytest.mark.usefixtures("ann")
def test_only_addresses_and_own_names_are_answered(door: TestClient) -> None:
    assert door.get("/sign-in", headers={"host": "evil.test"}).status_code == 421
    assert door.get("/sign-in", headers={"host": "evil.test:8000"}).status_code == 421
    assert door.get("/sign-in", headers={"host": "10.0.0.7:8000"}).status_code == 200
    assert door.get("/sign-in", headers={"host": "[fe80::1]:8000"}).status_code == 200


@pytest.mark.usefixtures("ann")
def test_a_viewer_looks_and_an_editor_edits(door: TestClient, other: TestClient, world: World) -> None:
    sign_in(door)
    join(other, door, "viewer", "Vic")
    assert "KIA" in other.get("/").text
    assert other.post(f"/actors/{world.actor}/delete").status_code == 403
    assert other.delete(f"/api/v1/actors/{world.actor}").json()["code"] == "NotAllowed"
    assert other.post("/settings/keys", data={"name": "x"}).status_code == 403
    assert "API keys" not in re.sub(r"<p class=\"muted\">Owners.*", "", other.get("/settings").text)
    other.cookies.clear()
    join(other, door, "editor", "Edi")
    assert other.post(f"/actors/{world.actor}/rename", data={"name": "Kia"}).status_code == 303
    assert other.post("/settings/keys", data={"name": "x"}).status_code == 403
    assert other.get("/api/v1/keys").status_code == 403
    assert other.post("/settings/invitations", data={"role": "owner"}).status_code == 403
    assert other.get(f"/api/v1/workspaces/{world.workspace}/members").status_code == 403


@pytest.mark.usefixtures("ann")
def test_an_invitation_works_once_and_can_be_taken_back(door: TestClient, other: TestClient) -> None:
    sign_in(door)
    link = re.search(
        r"/invitations/[\w-]{40,}", door.post("/settings/invitations", data={"role": "editor"}).text
    )
    assert link is not None
    assert link[0] not in door.get("/settings").text
    assert "Join Studio" in other.get(link[0]).text
    new = {"name": "Bob", "password": PASSWORD, "again": PASSWORD}
    taken = other.post(link[0], data={**new, "name": "ANN"})
    assert (taken.status_code, "is taken" in taken.text) == (409, True)
    assert other.post(link[0], data=new).status_code == 303
    other.cookies.clear()
    assert other.post(link[0], data={**new, "name": "Eve"}).status_code == 404
    back = door.post("/api/v1/workspaces/x/invitations", json={"role": "viewer"})
    assert back.status_code == 404
    mine = door.get("/api/v1/me").json()["workspace"]["id"]
    made = door.post(f"/api/v1/workspaces/{mine}/invitations", json={"role": "viewer"}).json()
    assert door.delete(f"/api/v1/workspaces/{mine}/invitations/{made['id']}").status_code == 204
    assert other.get(made["path"]).status_code == 404


def test_the_last_owner_stays(door: TestClient, other: TestClient, ann: str) -> None:
    sign_in(door)
    assert door.post(f"/settings/members/{ann}/role", data={"role": "viewer"}).status_code == 409
    assert door.post(f"/settings/members/{ann}/remove").status_code == 409
    join(other, door, "owner", "Bob")
    assert other.post(f"/settings/members/{ann}/role", data={"role": "viewer"}).status_code == 303
    assert door.post("/settings/keys", data={"name": "x"}).status_code == 403


def test_a_member_who_is_taken_out_is_out_at_once(
    door: TestClient, other: TestClient, ann: str, home: Settings
) -> None:
    sign_in(door)
    join(other, door, "owner", "Bob")
    secret = other.post("/api/v1/keys", json={"name": "farm", "scope": "write"}).json()["secret"]
    bearer = {"authorization": f"Bearer {secret}"}
    assert other.get("/api/v1/actors", headers=bearer).status_code == 200
    with db.session(home) as session:
        bob = accounts.find(session, "Bob").id
    assert door.post(f"/settings/members/{bob}/remove").status_code == 303
    assert other.get("/").status_code == 303
    assert other.get("/api/v1/actors", headers=bearer).status_code == 401


@pytest.mark.usefixtures("ann")
def test_workspaces_are_made_and_switched(door: TestClient, world: World) -> None:
    sign_in(door)
    assert door.post("/account/workspaces", data={"name": "Film"}).status_code == 303
    assert "KIA" not in door.get("/").text
    assert door.get(f"/actors/{world.actor}").status_code == 404
    assert door.post(f"/workspaces/{world.workspace}/switch").status_code == 303
    assert "KIA" in door.get("/").text
    assert [one["name"] for one in door.get("/api/v1/workspaces").json()["items"]] == ["Studio", "Film"]


@pytest.mark.usefixtures("ann")
def test_a_new_password_signs_the_other_browsers_out(door: TestClient, other: TestClient) -> None:
    sign_in(door)
    sign_in(other)
    wrong = door.post("/account/password", data={"old": "not it at all", "password": "x", "again": "x"})
    assert wrong.status_code == 422
    new = {"old": PASSWORD, "password": "quite another phrase", "again": "quite another phrase"}
    assert door.post("/account/password", data=new).status_code == 303
    assert door.get("/account?saved=true").status_code == 200
    assert other.get("/account").status_code == 303
    assert sign_in(other) == 401
    assert sign_in(other, password="quite another phrase") == 303


@pytest.mark.usefixtures("ann")
def test_a_key_from_before_there_were_accounts_counts_no_more(door: TestClient, home: Settings) -> None:
    from greenroom.studio import keys

    with db.session(home) as session:
        _, secret = keys.create(session, workspaces.default(session), name="old")
    assert door.get("/api/v1/actors", headers={"authorization": f"Bearer {secret}"}).status_code == 401


def test_behind_https_the_cookie_never_goes_in_the_clear(
    home: Settings, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenroom import settings as settings_module
    from greenroom.web import app

    monkeypatch.setenv("GREENROOM_PUBLIC_URL", "https://studio.example.org")
    settings_module.current.cache_clear()
    studio = app.create(settings_module.current(), hosts={"127.0.0.1:8000"}, has_accounts=True)
    origin = "https://studio.example.org"
    with TestClient(studio, base_url=origin, headers={"origin": origin}, follow_redirects=False) as client:
        answer = client.post("/sign-in", data={"name": "Ann", "password": PASSWORD})
        assert answer.status_code == 303
        assert answer.headers["set-cookie"].startswith("__Host-greenroom=")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert answer.headers["strict-transport-security"]
        crossed = client.post("/sign-in", headers={"origin": "http://studio.example.org.evil.test"})
        assert crossed.status_code == 403


def test_passwords_are_kept_as_argon2(home: Settings, ann: str) -> None:
    with db.session(home) as session:
        account = session.get_one(Account, ann)
        assert account.password_hash.startswith("$argon2id$")
        assert session.scalars(select(Workspace)).one().name == "Studio"
