"""A picture with two people on it is cropped to one face by a click, and the whole one comes back by another."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from greenroom import files
from greenroom.db import session as db
from greenroom.settings import Settings
from greenroom.studio import captions, crops, images, looks, workspaces
from greenroom.studio.actors import find as find_actor
from greenroom.vision.faces import Face


def two_heads(juno: Path, side: int) -> Image.Image:
    both = Image.new("RGB", (2 * side, side), "white")
    for at, name in enumerate(("02.png", "04.png")):
        with Image.open(juno / name) as opened:
            both.paste(opened.convert("RGB").resize((side, side)), (side * at, 0))
    return both


def send(client: TestClient, actor_id: str, picture: Image.Image) -> str:
    """Its id in the set."""
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    answer = client.put(
        f"/actors/{actor_id}/pictures?name=two.png",
        content=packed.getvalue(),
        headers={"x-caption": "JUNO_01, with her sister"},
    )
    found = re.search(r'id="(pic_\w+)"', answer.json()["html"])
    assert found is not None, answer.text
    return found[1]


@pytest.fixture
def couple(client: TestClient, juno: Path, juno_id: str) -> str:
    """Two heads side by side among the sample's pictures; its id."""
    return send(client, juno_id, two_heads(juno, 512))


def test_a_crop_and_back(client: TestClient, couple: str, juno_id: str, home: Settings) -> None:
    review = client.get(f"/actors/{juno_id}/review").text
    assert "two.png shows 2 faces" in review
    crop = re.search(r'action="([^"]+/crop)"[^>]*><button[^>]*>Crop to the face', review)
    assert crop is not None
    assert crop[1].split("/")[-2] == couple
    answer = client.post(crop[1])
    assert answer.status_code == 303
    made = answer.headers["location"].rpartition("#")[2]
    assert made != couple
    with db.session(home) as session:
        actor = find_actor(session, workspaces.default(session), juno_id)
        pictures = images.list_(session, actor)
        (cropped,) = (one for one in pictures if one.id == made)
        assert couple not in {one.id for one in pictures}
        assert (cropped.original_name, cropped.cropped_from_id) == ("two.png", couple)
        assert cropped.width_px == cropped.height_px <= 512
        look = looks.of(files.store(home), cropped)
        assert look is not None
        assert len(look.faces or ()) == 1
        assert captions.latest(session, cropped).text == "JUNO_01, with her sister"  # type: ignore[union-attr]
        captions.set_(session, cropped, "JUNO_01, alone")
    page = client.get(f"/actors/{juno_id}/pictures").text
    assert "cropped to the face" in page
    assert "shows 2 faces" not in client.get(f"/actors/{juno_id}/review").text
    back = re.search(r'action="([^"]+/uncrop)"', page)
    assert back is not None
    assert client.post(back[1]).headers["location"].endswith(f"#{couple}")
    told = client.get(f"/api/v1/actors/{juno_id}/pictures").json()["items"]
    (whole,) = (one for one in told if one["name"] == "two.png")
    assert (whole["id"], whole["width_px"], whole["caption"]) == (couple, 1024, "JUNO_01, alone")


def test_the_api_crops_and_takes_it_back(client: TestClient, couple: str, juno_id: str) -> None:
    base = f"/api/v1/actors/{juno_id}/pictures"
    made = client.post(f"{base}/{couple}/crop").json()
    assert made["cropped_from"] == couple
    assert client.delete(f"{base}/{made['id']}/crop").json()["id"] == couple
    again = client.delete(f"{base}/{couple}/crop")
    assert (again.status_code, "was not cropped" in again.json()["detail"]) == (422, True)


def test_without_a_face_nothing_changes(client: TestClient, juno_id: str, tmp_path: Path) -> None:
    Image.effect_noise((200, 200), 60).convert("RGB").save(tmp_path / "noise.png")
    where = f"/actors/{juno_id}/pictures"
    client.put(f"{where}?name=noise.png", content=(tmp_path / "noise.png").read_bytes())
    before = client.get(f"/api/v1{where}").json()["items"]
    answer = client.post(f"{where}/{before[-1]['id']}/crop")
    assert (answer.status_code, "No face was found in noise.png" in answer.text) == (422, True)
    assert client.get(f"/api/v1{where}").json()["items"] == before


def test_a_crop_that_is_too_small_is_refused_and_nothing_lost(
    client: TestClient, juno: Path, juno_id: str
) -> None:
    small = send(client, juno_id, two_heads(juno, 256))
    where = f"/api/v1/actors/{juno_id}/pictures"
    before = client.get(where).json()["items"]
    answer = client.post(f"{where}/{small}/crop")
    assert (answer.status_code, "cannot be cropped" in answer.json()["detail"]) == (422, True)
    assert client.get(where).json()["items"] == before


@pytest.mark.parametrize(("wide", "high"), [(1000, 800), (300, 900)])
def test_the_square_stays_in_the_picture_and_off_the_others(wide: int, high: int) -> None:
    def face(x: float, y: float, size: float) -> Face:
        return Face(left=x, top=y, right=x + size, bottom=y + size * wide / high, score=0.9, points=())

    mine, other = face(0.1, 0.1, 0.2), face(0.6, 0.1, 0.2)
    left, top, right, bottom = crops.around(mine, [other], wide, high)
    assert right - left == bottom - top
    assert left >= 0
    assert top >= 0
    assert bottom <= high
    assert right <= other.left * wide
    alone = crops.around(mine, [], wide, high)
    assert alone[2] - alone[0] >= right - left
