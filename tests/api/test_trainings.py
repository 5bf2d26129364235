"""Trainings over the API: started once, followed without missing an event, cancelled and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.testclient import TestClient

from greenroom.db import session as db
from greenroom.settings import Settings
from greenroom.studio import trainings

if TYPE_CHECKING:
    from conftest import World


def _events(text: str) -> list[tuple[str, str]]:
    """(id, name) of each event of a stream."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
        if "event" in lines:
            found.append((lines.get("id", ""), lines["event"]))
    return found


def test_a_training_is_started_once_cancelled_and_goes_on(api: TestClient, world: World) -> None:
    url, key = f"/actors/{world.actor}/trainings", {"idempotency-key": "t-1"}
    asked = {"settings": {"steps": 8, "rank": 4}}
    first = api.post(url, json=asked, headers=key)
    assert first.status_code == 201
    training = first.json()
    assert (training["version"], training["state"], training["total_steps"]) == (2, "queued", 8)
    assert (training["settings"]["rank"], training["pictures"]) == (4, 6)
    assert "base_source" not in training["settings"]  # no path of this machine
    assert api.post(url, json=asked, headers=key).json() == training
    assert api.post(url, json=asked).json()["code"] == "AlreadyTraining"
    assert api.get(f"/actors/{world.actor}").json()["state"] == "queued"
    at = f"/trainings/{training['id']}"
    assert api.post(f"{at}/cancel").json()["state"] == "cancelled"
    assert api.post(f"{at}/resume").json()["state"] == "queued"
    assert api.post(f"/trainings/{world.training}/resume").status_code == 409


def test_a_training_without_a_body_takes_the_defaults(api: TestClient, world: World) -> None:
    started = api.post(f"/actors/{world.actor}/trainings")
    assert started.status_code == 201
    assert started.json()["recipe"] == "starter-character"


def test_what_cannot_be_trained_is_told(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/trainings"
    assert api.post(url, json={"settings": {"nonsense": 1}}).json()["code"] == "BadRecipe"
    assert api.post(url, json={"settings": {"steps": 0}}).json()["code"] == "BadRecipe"
    assert api.post(url, json={"settings": {"name": "x"}}).json()["code"] == "BadRecipe"
    assert api.post(url, json={"recipe": "/etc/passwd"}).json()["code"] == "UnknownRecipe"
    assert api.post(url, json={"base": "nowhere"}).json()["code"] == "UnknownBase"
    listed = api.get(f"/actors/{world.actor}/pictures").json()["items"]
    for picture in listed[:2]:
        api.delete(f"/actors/{world.actor}/pictures/{picture['id']}")
    answer = api.post(url)
    assert (answer.status_code, answer.json()["code"]) == (422, "NotReady")
    assert answer.json()["findings"][0]["level"] == "blocks"
    assert api.get(f"/actors/{world.actor}").json()["state"] == "trained"


def test_what_a_training_would_need_is_told_before(api: TestClient, world: World) -> None:
    url = f"/actors/{world.actor}/estimate"
    told = api.post(url, json={"settings": {"steps": 8}}).json()
    assert (told["recipe"], told["settings"]["steps"]) == ("starter-character", 8)
    assert "base_source" not in told["settings"]
    assert told["sentence"]
    assert api.post(url, json={"settings": {"nonsense": 1}}).json()["code"] == "BadRecipe"
    assert api.get(f"/actors/{world.actor}").json()["state"] == "trained"


def test_only_a_step_whose_weights_were_kept_is_chosen(api: TestClient, world: World, home: Settings) -> None:
    url = f"/trainings/{world.training}"
    assert api.patch(url, json={"chosen_step": 4}).json()["code"] == "WrongState"
    with db.session(home) as session:
        row = trainings.find(session, world.training)
        trainings.add_checkpoint_files(session, row, 4, key="kept/lora.safetensors")
    assert api.patch(url, json={"chosen_step": 4}).json()["chosen_step"] == 4


def test_a_stream_tells_everything_and_ends(api: TestClient, world: World) -> None:
    at = f"/trainings/{world.training}/events"
    told = _events(api.get(f"{at}/stream").text)
    assert [name for _, name in told] == ["progress"] * 4 + ["saved", "done", "end"]
    third = told[2][0]
    rest = _events(api.get(f"{at}/stream", headers={"last-event-id": third}).text)
    assert rest == told[3:]
    assert _events(api.get(f"{at}/stream", headers={"last-event-id": "nonsense"}).text) == told


def test_a_stream_follows_what_happens_meanwhile(api: TestClient, world: World, home: Settings) -> None:
    started = api.post(f"/actors/{world.actor}/trainings", json={"settings": {"steps": 8}}).json()
    seen = []
    with api.stream("GET", f"/trainings/{started['id']}/events/stream") as stream:
        with db.session(home) as session:
            row = trainings.find(session, started["id"])
            trainings.record(session, row, {"event": "note", "text": "begun"})
            trainings.cancel(session, row)
        for line in stream.iter_lines():
            if line.startswith("event: "):
                seen.append(line)
    assert seen == ["event: note", "event: end"]


def test_events_come_in_pages(api: TestClient, world: World) -> None:
    at = f"/trainings/{world.training}/events"
    page = api.get(at, params={"limit": 4}).json()
    rest = api.get(at, params={"limit": 4, "cursor": page["next"]}).json()
    assert [one["event"] for one in page["items"] + rest["items"]] == ["progress"] * 4 + ["saved", "done"]
    assert rest["next"] is None


def test_curve_checkpoints_and_samples(api: TestClient, world: World) -> None:
    at = f"/trainings/{world.training}"
    assert api.get(f"{at}/losses").json() == {"steps": [1, 2, 3, 4], "losses": [1.0, 0.5, 1 / 3, 0.25]}
    checkpoint = api.get(f"{at}/checkpoints").json()["items"][0]
    assert (checkpoint["id"], checkpoint["step"]) == (world.checkpoint, 4)
    sample = api.get(checkpoint["samples"][0].removeprefix("/api/v1"))
    assert sample.headers["content-type"] == "image/png"
    assert api.get(f"/checkpoints/{world.checkpoint}/samples/1").status_code == 404
    assert api.get(f"/checkpoints/{world.checkpoint}/samples/-1").status_code == 404


def test_weights_card_and_dataset_are_downloaded(api: TestClient, world: World) -> None:
    at = f"/trainings/{world.training}/exports"
    assert [one["what"] for one in api.get(at).json()["items"]] == ["lora", "card"]
    lora = api.get(f"{at}/lora")
    assert lora.content == b"weights"
    assert lora.headers["content-disposition"] == 'attachment; filename="KIA_01-v1.safetensors"'
    assert api.get(f"{at}/kohya").status_code == 404
    assert api.get(f"{at}/..%2f..%2fgreenroom.sqlite3").status_code in {404, 422}
    packed = api.get(f"/actors/{world.actor}/dataset")
    assert packed.content.startswith(b"PK\x03\x04")


def test_checks_say_whether_it_is_ready(api: TestClient, world: World) -> None:
    told = api.get(f"/actors/{world.actor}/checks").json()
    assert told["is_ready"] is True
    assert {"no_caption", "small_picture"} <= {finding["code"] for finding in told["findings"]}
