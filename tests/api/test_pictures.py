"""Pictures over the API: several at once, zips, twins, and files that are none."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient
from tests_unit_pictures import draw

from greenroom.settings import Settings

if TYPE_CHECKING:
    from conftest import World


def _sent(*files: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", file) for file in files]


def _zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


@pytest.fixture
def drawn(tmp_path: Path) -> list[bytes]:
    """Three pictures that the set does not have."""
    return [draw(tmp_path / f"{seed}.png", seed).read_bytes() for seed in (101, 102, 103)]


def test_one_bad_file_never_costs_the_others(api: TestClient, world: World, drawn: list[bytes]) -> None:
    answer = api.post(
        f"/actors/{world.actor}/pictures",
        files=_sent(("a.png", drawn[0]), ("a.txt", b"a wave"), ("bad.png", b"none"), ("b.png", drawn[1])),
    )
    assert answer.status_code == 201
    told = answer.json()
    assert (told["accepted"], told["refused"], told["pictures"]) == (2, 1, 8)
    by_name = {verdict["name"]: verdict for verdict in told["verdicts"]}
    assert by_name["a.png"]["caption"] == "KIA_01, a wave"
    assert by_name["bad.png"]["reason"]
    again = api.post(f"/actors/{world.actor}/pictures", files=_sent(("c.png", drawn[0])))
    assert again.status_code == 422
    assert again.json()["verdicts"][0]["twin"] == "a.png"


def test_a_zip_brings_pictures_and_captions(api: TestClient, world: World, drawn: list[bytes]) -> None:
    packed = _zipped(
        {"set/a.png": drawn[0], "set/a.txt": b"a wave", "set/b.png": drawn[1], "set/no.png": b"x"}
    )
    answer = api.post(f"/actors/{world.actor}/pictures", files=_sent(("set.zip", packed)))
    told = answer.json()
    assert (told["accepted"], told["refused"]) == (2, 1)
    assert {verdict["name"] for verdict in told["verdicts"]} == {"a.png", "b.png", "no.png"}
    assert told["verdicts"][0]["caption"] == "KIA_01, a wave"


def test_the_same_upload_with_the_same_key_is_answered_as_before(
    api: TestClient, world: World, drawn: list[bytes]
) -> None:
    url, key = f"/actors/{world.actor}/pictures", {"idempotency-key": "up-1"}
    first = api.post(url, files=_sent(("a.png", drawn[0])), headers=key)
    again = api.post(url, files=_sent(("a.png", drawn[0])), headers=key)
    assert again.json() == first.json()
    assert api.post(url, files=_sent(("b.png", drawn[1])), headers=key).json()["code"] == "KeyReused"


def test_pictures_are_listed_fetched_taken_out_and_put_back(api: TestClient, world: World) -> None:
    listed = api.get(f"/actors/{world.actor}/pictures").json()["items"]
    assert len(listed) == 6
    first = listed[0]
    file = api.get(first["file"].removeprefix("/api/v1"))
    assert file.headers["content-type"] == "image/png"
    assert file.content.startswith(b"\x89PNG")
    assert api.get(first["thumbnail"].removeprefix("/api/v1")).headers["content-type"] == "image/webp"
    url = f"/actors/{world.actor}/pictures/{first['id']}"
    assert api.delete(url).status_code == 204
    assert api.delete(url).status_code == 404
    assert len(api.get(f"/actors/{world.actor}/pictures").json()["items"]) == 5
    assert api.post(f"{url}/restore").json()["id"] == first["id"]


def test_what_is_no_form_is_refused(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/pictures"
    assert api.post(url, content=b"x", headers={"content-type": "image/png"}).status_code == 400
    assert api.post(url, content=b"x", headers={"content-type": "multipart/form-data"}).status_code == 400
    bounded = {"content-type": f"multipart/form-data; boundary={'x' * 20_000}"}
    assert api.post(url, content=b"x" * 1000, headers=bounded).status_code < 500
    assert api.post(url, files=_sent(("a.png", b""))).status_code == 422
    assert api.post(url, data={"files": "text"}, files=[("other", ("a.png", b"x"))]).status_code == 422
    many = _sent(*((f"{number}.txt", b"x") for number in range(130)))
    assert api.post(url, files=many).status_code == 400


def test_nobody_uploads_to_an_actor_that_is_not_there(api: TestClient) -> None:
    assert api.post("/actors/act_nobody/pictures", files=_sent(("a.png", b"x"))).status_code == 404


@pytest.mark.parametrize(
    "disguised",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<!doctype html><script>alert(1)</script>",
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        b"%PDF-1.7\n",
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
    ],
)
def test_what_only_has_the_name_of_a_picture_is_refused(
    api: TestClient, world: World, disguised: bytes
) -> None:
    answer = api.post(f"/actors/{world.actor}/pictures", files=_sent(("kia.png", disguised)))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_polyglot_keeps_its_picture_and_loses_the_rest(
    api: TestClient, world: World, drawn: list[bytes], home: Settings
) -> None:
    script = b"<script>alert('both')</script>"
    answer = api.post(f"/actors/{world.actor}/pictures", files=_sent(("p.png", drawn[2] + script)))
    assert answer.status_code == 201
    picture = answer.json()["verdicts"][0]["picture"]
    assert script not in api.get(picture["file"].removeprefix("/api/v1")).content
