from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy.orm import Session
from tests_unit_pictures import draw

from greenroom import files
from greenroom.db.models import Actor
from greenroom.errors import BadInput, BadTrigger
from greenroom.settings import Settings
from greenroom.studio import actors, bases, captions, checks, images
from greenroom.studio.checks import Finding, Level
from greenroom.vision import models

# What a look at the pictures tells is tested in test_advice.py; here the drawings are only blots.
_BLOTS = {"many_characters", "other_character", "odd_colours", "too_bright", "no_face", "no_faces", "flat"}


def _codes(findings: list[Finding]) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.picture) for finding in findings if finding.code not in _BLOTS]


def test_a_sound_folder_has_nothing_that_blocks(settings: Settings, folder: Path) -> None:
    findings = checks.review_folder(folder, native_px=64)
    assert _codes(findings) == [("no_caption", "kia-4.png"), ("no_caption", "kia-5.jpg")]


def test_every_fault_of_a_folder_is_named(settings: Settings, folder: Path) -> None:
    (folder / "a.png").write_text("no picture")
    shutil.copy(folder / "kia-1.jpg", folder / "b.jpg")
    (folder / "kia-2.txt").write_bytes("müde".encode("utf-16"))
    (folder / "lonely.txt").write_text("x")
    (folder / "CREDITS.txt").write_text("x")
    Image.new("RGBA", (96, 80), (1, 2, 3, 0)).save(folder / "clear.png")
    findings = checks.review_folder(folder, trigger="KIA_01", native_px=64)
    assert set(_codes(findings)) == {
        ("unusable_picture", "a.png"),
        ("duplicate", "kia-1.jpg"),
        ("picture_converted", "clear.png"),
        ("no_caption", "clear.png"),
        ("missing_trigger", "b.jpg"),
        ("missing_trigger", "kia-0.png"),
        ("unreadable_caption", "kia-2.png"),
        ("no_caption", "kia-4.png"),
        ("no_caption", "kia-5.jpg"),
        ("caption_without_picture", None),
    } - {("missing_trigger", "b.jpg")} | {("no_caption", "b.jpg")}
    assert [finding.level for finding in findings] == sorted(
        (finding.level for finding in findings), key=list(Level).index
    )
    twin = next(finding for finding in findings if finding.code == "duplicate")
    assert twin.value == "b.jpg"


def test_too_few_and_too_many_block(settings: Settings, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(51):
        draw(many / f"{number:02d}.png", number, (64, 64))
    blocking = checks.blocking(checks.review_folder(many, native_px=64))
    assert [finding.code for finding in blocking] == ["too_many_pictures"]
    for number in range(3, 51):
        (many / f"{number:02d}.png").unlink()
    blocking = checks.blocking(checks.review_folder(many, native_px=64))
    assert [(f.code, f.value, f.threshold) for f in blocking] == [("too_few_pictures", 3, 5)]
    assert blocking[0].remedy == "Add 2 more."


def test_small_pictures_warn_with_value_and_threshold(settings: Settings, folder: Path) -> None:
    small = [f for f in checks.review_folder(folder) if f.code == "small_picture"]
    assert len(small) == 6
    assert (small[0].value, small[0].threshold, small[0].level) == (
        80,
        bases.starter().native_px,
        Level.WARNS,
    )


def test_a_folder_that_is_missing_raises(settings: Settings, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BadInput):
        checks.review_folder(tmp_path / "none")
    with pytest.raises(BadTrigger):
        checks.review_folder(folder, trigger="woman")


def test_findings_are_json_with_the_fixed_keys(settings: Settings, folder: Path) -> None:
    for finding in checks.review_folder(folder):
        said = json.loads(json.dumps(finding.as_json()))
        assert {"code", "level", "picture", "value", "threshold", "message", "remedy"} <= set(said)
        assert said["level"] in {"blocks", "warns", "informs"}


def test_a_trigger_that_was_taken_out_blocks(session: Session, store: files.Store, actor: Actor) -> None:
    first = images.list_(session, actor)[0]
    assert checks.blocking(checks.review(session, store, actor)) == []
    captions.set_(session, first, "a woman")
    blocking = checks.blocking(checks.review(session, store, actor))
    assert [(f.code, f.picture_id) for f in blocking] == [("missing_trigger", first.id)]


def test_a_lost_file_blocks(session: Session, store: files.Store, actor: Actor) -> None:
    first = images.list_(session, actor)[0]
    store.delete(first.key)
    assert checks.review(session, store, actor)[0].code == "picture_lost"


def test_an_actor_short_of_pictures_is_blocked(session: Session, store: files.Store, actor: Actor) -> None:
    for picture in images.list_(session, actor)[:2]:
        images.remove(session, picture)
    assert checks.review(session, store, actor)[0].code == "too_few_pictures"


def test_a_set_in_the_studio_is_looked_at_once_and_erased_with_its_actor(
    session: Session, store: files.Store, actor: Actor
) -> None:
    checks.review(session, store, actor)
    kept = [key for key in store.list_(files.actor_prefix(actor.id)) if "/looks/" in key]
    assert len(kept) == 6
    first = checks.review(session, store, actor)
    store.put(kept[0], b"not JSON")
    assert checks.review(session, store, actor) == first
    actors.delete(session, actor)
    actors.purge(session, store, actor)
    assert store.list_(files.actor_prefix(actor.id)) == []


def test_no_look_at_a_picture_ever_blocks(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (256, 256), (number, 0, 0)).save(folder / f"{number}.png")
    findings = checks.review_folder(folder)
    assert {"too_dark", "near_duplicate", "no_faces"} <= {finding.code for finding in findings}
    assert checks.blocking(findings) == []


def test_missing_weights_are_told_as_not_measured(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_SHIPPED", tmp_path / "nowhere")
    findings = checks.review_folder(folder)
    told = next(finding for finding in findings if finding.code == "not_measured")
    assert "greenroom models fetch" in told.remedy
    assert "face-mesh" in told.message
    assert not {finding.code for finding in findings} & {"no_face", "no_faces", "other_character"}
