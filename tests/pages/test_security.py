"""What the studio must refuse, and what every answer must carry. No account exists: loopback is the only door."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from greenroom import web
from greenroom.settings import Settings
from greenroom.web import security


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:8000", "127.0.0.1", "127.0.0.1:8001", "127.0.0.1:8000.evil.test", ""]
)
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "Greenroom" not in answer.text


@pytest.mark.parametrize(
    "origin", ["http://evil.test", "null", "https://127.0.0.1:8000", "http://127.0.0.1:9000"]
)
def test_a_form_from_another_site_is_refused(client: TestClient, juno_id: str, origin: str) -> None:
    answer = client.post(f"/actors/{juno_id}/delete", headers={"origin": origin})
    assert answer.status_code == 403
    assert client.get(f"/actors/{juno_id}/pictures").status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_without_origin_but_from_another_site_is_refused(
    client: TestClient, juno_id: str, site: str
) -> None:
    del client.headers["origin"]
    answer = client.post(f"/actors/{juno_id}/delete", headers={"sec-fetch-site": site})
    assert answer.status_code == 403


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    assert client.request(method, "/").status_code == 405


@pytest.mark.parametrize(
    "path", ["/", "/train", "/generate", "/nothing-here", "/static/studio.js", "/media/pictures/x"]
)
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/train", "/train/character", "/generate", "/history", "/trash"])
def test_no_page_has_a_script_or_a_style_in_it(client: TestClient, path: str) -> None:
    text = client.get(path).text
    assert "<script>" not in text
    assert " style=" not in text
    assert " onclick" not in text
    assert "https://" not in text  # nothing comes from elsewhere


def test_a_form_over_the_limit_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post("/train/character", content=b"x" * (security.FORM_BYTES + 1))
    assert answer.status_code == 413


def test_a_body_without_a_length_is_counted(client: TestClient) -> None:
    answer = client.post(
        "/train/character",
        content=(b"name=" + b"x" * 100_000 for _ in range(20)),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413


def test_a_picture_over_the_limit_is_refused(client: TestClient, juno_id: str, home: Settings) -> None:
    headers = {"content-length": str(home.max_picture_bytes + 1)}
    answer = client.put(f"/actors/{juno_id}/pictures?name=a.png", content=b"x", headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fx.png",
        "/etc/passwd",
        "C:\\x.png",
        "a\0b.png",
        "CON",
        "x" * 900,
        "\u202egnp.exe",
    ],
)
def test_a_file_name_never_becomes_a_path(
    client: TestClient, juno_id: str, home: Settings, name: str
) -> None:
    before = sorted(home.home_folder.rglob("*.png"))
    answer = client.put(
        f"/actors/{juno_id}/pictures", params={"name": name}, content=b"<svg onload=alert(1)>"
    )
    assert answer.status_code == 422
    assert answer.json()["accepted"] is False
    assert sorted(home.home_folder.rglob("*.png")) == before


@pytest.mark.parametrize(
    "path",
    [
        "/media/pictures/..%2f..%2fgreenroom.sqlite3",
        "/media/thumbnails/%2e%2e",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%5capp.py",
    ],
)
def test_no_address_reaches_another_file(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "SQLite" not in answer.text
    assert "import" not in answer.text


def test_names_and_captions_are_shown_as_text(client: TestClient, juno_id: str) -> None:
    evil = "<img src=x onerror=alert(1)>"
    assert client.post(f"/actors/{juno_id}/rename", data={"name": "Juno <b>bold<b>"}).status_code == 303
    client.post(f"/actors/{juno_id}/captions/bulk", data={"action": "prepend", "words": evil, "do": "apply"})
    assert "<b>bold" not in client.get("/").text
    text = client.get(f"/actors/{juno_id}/captions").text
    assert evil not in text
    assert "&lt;img src=x" in text


def test_pictures_have_one_content_type(client: TestClient, juno_id: str) -> None:
    page = client.get(f"/actors/{juno_id}/pictures").text
    picture_id = page.split("/media/pictures/")[1].split('"')[0]
    answer = client.get(f"/media/pictures/{picture_id}")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    assert client.get(f"/media/thumbnails/{picture_id}").headers["content-type"] == "image/webp"


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_only_loopback_is_loopback(host: str, is_ours: bool) -> None:
    assert security.is_loopback(host) is is_ours


@pytest.mark.parametrize("page", ["/history", "/"])
def test_no_word_of_an_address_becomes_the_target_of_a_form(client: TestClient, page: str) -> None:
    answer = client.get(page, params={"deleted": "../trash/empty?"})
    assert answer.status_code == 200
    assert "trash/empty" not in answer.text


def test_every_form_that_needs_a_session_carries_its_proof() -> None:
    folder = Path(web.__file__).parent / "templates"
    forms = [
        (file.name, form)
        for file in folder.rglob("*.html")
        for form in re.findall(r"<form\b[^>]*method=\"post\"[^\n]*", file.read_text(encoding="utf-8"))
    ]
    assert len(forms) > 30
    for name, form in forms:
        if name not in {"sign_in.html", "set_up.html"}:
            assert re.search(r'action="[^"]*{{ proof\(\) }}"', form), (name, form)
            for key in ("hx-post", "data-url"):
                assert f'{key}="' not in form or re.search(rf'{key}="[^"]*{{{{ proof\(\) }}}}"', form), form
