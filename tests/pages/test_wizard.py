"""Train New Model as plain forms, as a browser without JavaScript sends them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from starlette.testclient import TestClient

from greenroom.db import session as db
from greenroom.settings import Settings
from greenroom.studio import actors, captions, images, workspaces


def test_an_empty_studio_tells_the_next_click(client: TestClient) -> None:
    text = client.get("/").text
    assert "Train your first model" in text
    assert 'href="/train"' in text


def test_the_kinds_lead_to_name_and_trigger(client: TestClient) -> None:
    assert "/train/character" in client.get("/train").text
    assert "/train/style" in client.get("/train").text
    assert client.get("/train/style").status_code == 200
    assert client.get("/train/nonsense").status_code == 303


def test_name_and_trigger_are_refused_beside_their_fields(client: TestClient) -> None:
    answer = client.post("/train/character", data={"name": "", "trigger": "red"})
    assert answer.status_code == 422
    assert "no letter or digit" in answer.text
    assert "ordinary word" in answer.text
    assert 'value="red"' in answer.text


def test_the_trigger_is_checked_while_it_is_typed(client: TestClient, juno_id: str) -> None:
    assert "is free" in client.get("/train/check?trigger=KIA_01").text
    assert "taken by Juno" in client.get("/train/check?trigger=juno_01").text
    assert "KIA_01" in client.get("/train/check?name=Kia").text


def test_a_draft_is_made_and_leads_to_its_pictures(client: TestClient) -> None:
    answer = client.post("/train/character", data={"name": "Kia", "trigger": "KIA_01"})
    assert answer.status_code == 303
    page = client.get(answer.headers["location"])
    assert "Drop pictures, a folder or a zip anywhere" in page.text
    assert client.get(answer.headers["location"].rpartition("/")[0]).headers["location"].endswith("/pictures")
    assert "Draft" in client.get("/").text


def test_one_bad_file_never_costs_the_others(client: TestClient, juno: Path) -> None:
    made = client.post("/train/character", data={"name": "Kia", "trigger": "KIA_01"}).headers["location"]
    sent = [("files", (name, (juno / name).read_bytes())) for name in ("01.png", "01.txt", "02.png")]
    answer = client.post(made, files=[*sent, ("files", ("bad.png", b"no picture"))])
    assert answer.status_code == 422
    assert "2 taken, 1 refused" in answer.text
    assert "bad.png" in answer.text
    assert client.get(made).text.count('class="tile"') == 2
    # The caption that came beside it got the trigger in front.
    assert "KIA_01, " in client.get(made.replace("pictures", "captions")).text


def test_a_picture_comes_as_one_request_with_its_caption(client: TestClient, juno: Path) -> None:
    made = client.post("/train/character", data={"name": "Kia", "trigger": "KIA_01"}).headers["location"]
    body = (juno / "03.png").read_bytes()
    answer = client.put(f"{made}?name=03.png", content=body, headers={"x-caption": "a%20wave%2C%20%C3%A9"})
    assert answer.status_code == 201
    assert (answer.json()["count"], answer.json()["accepted"]) == (1, True)
    assert "KIA_01, a wave, é" in client.get(made.replace("pictures", "captions")).text
    again = client.put(f"{made}?name=twin.png", content=body)
    assert again.status_code == 422
    assert again.json()["twin"] == "03.png"


def test_a_zip_comes_as_one_request_and_every_file_in_it_gets_a_verdict(
    client: TestClient, juno: Path, tmp_path: Path
) -> None:
    folder = client.post("/train/character", data={"name": "Kia", "trigger": "KIA_01"}).headers["location"]
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("01.png", "01.txt", "02.png"):
            archive.write(juno / name, f"my set/{name}")
        archive.writestr("my set/broken.png", b"no picture")
    answer = client.put(f"{folder}?name=set.zip", content=packed.read_bytes()).json()
    told = [(one["name"], one["accepted"]) for one in answer["files"]]
    assert told == [("01.png", True), ("02.png", True), ("broken.png", False)]
    assert answer["count"] == 2
    assert "KIA_01, a woman" in client.get(folder.replace("pictures", "captions")).text


def test_a_picture_is_taken_out_and_put_back(client: TestClient, juno_id: str) -> None:
    page = client.get(f"/actors/{juno_id}/pictures").text
    picture_id = page.split("/media/pictures/")[1].split('"')[0]
    gone = client.post(f"/actors/{juno_id}/pictures/{picture_id}/remove").headers["location"]
    assert "was taken out" in client.get(gone).text
    client.post(f"/actors/{juno_id}/pictures/{picture_id}/restore")
    assert client.get(f"/actors/{juno_id}/pictures").text.count('class="tile"') == 14


def test_a_caption_that_changed_meanwhile_is_not_overwritten(
    client: TestClient, juno_id: str, home: Settings
) -> None:
    picture_id, revision = _first(home, juno_id)
    url = f"/actors/{juno_id}/captions/{picture_id}"
    first = client.post(url, data={"text": "JUNO_01, from one tab", "revision": revision})
    assert first.status_code == 303
    second = client.post(url, data={"text": "JUNO_01, from the other", "revision": revision})
    assert second.status_code == 409
    assert "JUNO_01, from one tab" in second.text
    assert "JUNO_01, from the other" in second.text


def test_a_part_answers_htmx_with_the_row_and_the_counts(
    client: TestClient, juno_id: str, home: Settings
) -> None:
    picture_id, revision = _first(home, juno_id)
    answer = client.post(
        f"/actors/{juno_id}/captions/{picture_id}",
        data={"text": "without it", "revision": revision},
        headers={"hx-request": "true"},
    )
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "Without JUNO_01" in answer.text
    assert "<b>13</b> with" in answer.text


def test_a_bulk_edit_is_previewed_done_and_undone(client: TestClient, juno_id: str) -> None:
    url = f"/actors/{juno_id}/captions"
    asked = {"action": "prepend", "words": "flat drawing"}
    assert "Change 14 captions" in client.post(f"{url}/bulk", data={**asked, "do": "preview"}).text
    assert "JUNO_01, flat drawing" not in client.get(url).text
    done = client.post(f"{url}/bulk", data={**asked, "do": "apply"}).headers["location"]
    assert "14 captions changed" in client.get(done).text
    assert client.get(url).text.count("JUNO_01, flat drawing") == 14
    client.post(f"{url}/undo")
    assert "flat drawing" not in client.get(url).text


def test_a_missing_trigger_blocks_and_is_mended_in_one_click(
    client: TestClient, juno_id: str, home: Settings
) -> None:
    picture_id, revision = _first(home, juno_id)
    client.post(f"/actors/{juno_id}/captions/{picture_id}", data={"text": "nobody", "revision": revision})
    assert "does not have the trigger" in client.get(f"/actors/{juno_id}/review").text
    assert client.post(f"/actors/{juno_id}/train").status_code == 422
    client.post(f"/actors/{juno_id}/captions/bulk", data={"action": "trigger", "do": "apply"})
    assert "does not have the trigger" not in client.get(f"/actors/{juno_id}/review").text


def test_training_is_started_cancelled_and_goes_on(client: TestClient, juno_id: str) -> None:
    answer = client.post(f"/actors/{juno_id}/train", data={"base": "toy", "steps": "8", "rank": "4"})
    assert answer.status_code == 303
    url = answer.headers["location"]
    assert "Waiting for its turn" in client.get(url).text
    assert "0 of 8" in client.get(url).text
    assert client.post(f"/actors/{juno_id}/train").status_code == 409
    client.post(f"{url}/cancel")
    assert "Start it again" in client.get(url).text
    assert client.post(f"{url}/resume").headers["location"] == url
    assert "Waiting for its turn" in client.get(url).text


def test_a_wrong_number_comes_back_with_what_was_typed(client: TestClient, juno_id: str) -> None:
    answer = client.post(f"/actors/{juno_id}/train", data={"steps": "many", "rank": "12"})
    assert answer.status_code == 422
    assert "is not a number" in answer.text
    assert 'value="12"' in answer.text


def test_delete_restore_and_erase(client: TestClient, juno_id: str, home: Settings) -> None:
    gone = client.post(f"/actors/{juno_id}/delete").headers["location"]
    assert "is in the trash" in client.get(gone).text
    assert client.get(f"/actors/{juno_id}").status_code == 404
    assert "30 days left" in client.get("/trash").text
    client.post(f"/actors/{juno_id}/restore")
    assert client.get(f"/actors/{juno_id}").status_code == 303
    client.post(f"/actors/{juno_id}/delete")
    client.post("/trash/empty")
    assert not list(home.home_folder.rglob("*.png"))
    assert "The trash is empty" in client.get("/trash").text


def test_a_prompt_that_names_nobody_comes_back_with_the_reason(client: TestClient, juno_id: str) -> None:
    answer = client.post("/generations", data={"prompt": "@KIA_01 in space", "count": "2"})
    assert answer.status_code == 404
    assert "No actor has the trigger @KIA_01" in answer.text
    assert "@KIA_01 in space</textarea>" in answer.text
    assert "not trained yet" in client.post("/generations", data={"prompt": "@JUNO_01 in space"}).text


def test_the_dataset_is_downloaded_with_its_captions(client: TestClient, juno_id: str) -> None:
    import io
    import zipfile

    answer = client.get(f"/actors/{juno_id}/export/dataset")
    assert answer.headers["content-disposition"] == 'attachment; filename="JUNO_01-dataset.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.namelist()) == 28
        assert archive.read("0001.txt").startswith(b"JUNO_01")
        assert archive.testzip() is None


def _first(home: Settings, actor_id: str) -> tuple[str, int]:
    with db.session(home) as session:
        actor = actors.find(session, workspaces.default(session), actor_id)
        picture = images.list_(session, actor)[0]
        caption = captions.latest(session, picture)
        return picture.id, caption.revision if caption else 0
