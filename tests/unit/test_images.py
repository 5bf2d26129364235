from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from tests_unit_pictures import draw

from greenroom import files
from greenroom.db.models import Actor, Picture, Workspace
from greenroom.errors import BadInput, TooFewImages, TooManyImages, UnknownPicture
from greenroom.settings import Settings
from greenroom.studio import actors, captions, images, uploads
from greenroom.studio.bases import BaseInfo


@pytest.fixture
def empty(session: Session, workspace: Workspace, base: BaseInfo) -> Actor:
    """An actor without pictures."""
    return actors.create(session, workspace, kind="character", name="Zoe", trigger="ZOE_1", base="tiny")


def _nothing_written(session: Session, store: files.Store) -> bool:
    return store.list_("actors") == [] and session.scalar(select(func.count(Picture.id))) == 0


def test_a_folder_gives_a_verdict_for_each_picture_in_order(
    session: Session, store: files.Store, empty: Actor, folder: Path
) -> None:
    verdicts = images.add_folder(session, store, empty, folder)
    assert [verdict.name for verdict in verdicts] == [
        f"kia-{n}.{'jpg' if n % 2 else 'png'}" for n in range(6)
    ]
    assert all(verdict.accepted and verdict.picture for verdict in verdicts)
    assert [picture.original_name for picture in images.list_(session, empty)] == [v.name for v in verdicts]


def test_stored_pictures_lie_under_keys_of_our_making_with_their_hash(
    session: Session, store: files.Store, actor: Actor
) -> None:
    for picture in images.list_(session, actor):
        assert picture.key == f"actors/{actor.id}/pictures/{picture.id}.png"
        assert hashlib.sha256(store.get(picture.key)).hexdigest() == picture.sha256
        assert store.exists(picture.thumbnail_key)
    assert len(store.list_("actors")) == 12


def test_captions_come_along_and_the_trigger_is_put_in_front_and_said(
    session: Session, store: files.Store, empty: Actor, folder: Path
) -> None:
    (folder / "kia-3.txt").write_text("ZOE_1, laughing")
    verdicts = images.add_folder(session, store, empty, folder)
    assert [verdict.caption for verdict in verdicts] == [
        "ZOE_1, a woman, picture 0",
        "ZOE_1, a woman, picture 1",
        "ZOE_1, a woman, picture 2",
        "ZOE_1, laughing",
        None,
        None,
    ]
    assert [verdict.trigger_added for verdict in verdicts] == [True, True, True, False, False, False]
    assert "ZOE_1 was put in front of its caption" in verdicts[0].notes
    assert verdicts[3].notes == ()


def test_a_caption_in_a_wrong_encoding_is_named_and_its_picture_kept(
    session: Session, store: files.Store, empty: Actor, folder: Path
) -> None:
    (folder / "kia-0.txt").write_bytes("müde".encode("latin-1"))
    (folder / "kia-1.txt").write_bytes("müde".encode("utf-16"))
    (folder / "kia-2.txt").write_text("x" * 1999)  # fits alone, not with the trigger
    verdicts = images.add_folder(session, store, empty, folder)
    assert all(verdict.accepted for verdict in verdicts)
    assert [verdict.caption for verdict in verdicts[:3]] == [None, None, None]
    assert "not UTF-8" in verdicts[0].notes[0]
    assert "UTF-16" in verdicts[1].notes[0]
    assert "2006 characters" in verdicts[2].notes[0]
    assert captions.latest(session, verdicts[0].picture) is None  # type: ignore[arg-type]


def test_one_bad_file_never_rejects_the_others(
    session: Session, store: files.Store, empty: Actor, folder: Path
) -> None:
    (folder / "a-text.png").write_text("no picture")
    raw = (folder / "kia-1.jpg").read_bytes()
    (folder / "b-cut.jpg").write_bytes(raw[: len(raw) // 2])
    draw(folder / "c-small.png", 9, (20, 20))
    verdicts = images.add_folder(session, store, empty, folder)
    assert [verdict.accepted for verdict in verdicts] == [False] * 3 + [True] * 6
    assert all(verdict.reason and not verdict.picture for verdict in verdicts[:3])
    assert len(images.list_(session, empty)) == 6


def test_duplicates_are_refused_and_named_with_their_twin(
    session: Session, store: files.Store, empty: Actor, folder: Path
) -> None:
    shutil.copy(folder / "kia-1.jpg", folder / "x-same-file.jpg")
    with Image.open(folder / "kia-0.png") as image:
        image.save(folder / "y-same-pixels.png", compress_level=0)
    verdicts = images.add_folder(session, store, empty, folder)
    twins = {verdict.name: verdict.twin for verdict in verdicts if not verdict.accepted}
    assert twins == {"x-same-file.jpg": "kia-1.jpg", "y-same-pixels.png": "kia-0.png"}
    again = images.add(session, store, empty, uploads.in_folder(folder)[:1])
    assert again[0].twin == "kia-0.png"


@pytest.mark.parametrize("count", [1, 4])
def test_fewer_than_five_are_refused_and_nothing_is_written(
    session: Session, store: files.Store, empty: Actor, folder: Path, count: int
) -> None:
    for file in sorted(folder.glob("kia-*.*g"))[count:]:
        file.write_text("no picture")
    with pytest.raises(TooFewImages, match=f"{count} usable picture") as caught:
        images.add_folder(session, store, empty, folder)
    assert f"Add {5 - count} more" in str(caught.value)
    assert "It is text" in str(caught.value)
    assert _nothing_written(session, store)


def test_five_are_enough(session: Session, store: files.Store, empty: Actor, folder: Path) -> None:
    (folder / "kia-5.jpg").unlink()
    images.add_folder(session, store, empty, folder)
    assert len(images.list_(session, empty)) == 5


def test_fifty_are_taken_and_the_fifty_first_refuses_all(
    session: Session, store: files.Store, empty: Actor, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(51):
        draw(many / f"{number:02d}.png", number, (64, 64))
    with pytest.raises(TooManyImages, match="more than 50"):
        images.add_folder(session, store, empty, many)
    assert _nothing_written(session, store)
    (many / "50.png").unlink()
    assert len(images.add_folder(session, store, empty, many)) == 50
    with pytest.raises(TooManyImages):
        images.add(session, store, empty, [uploads.Upload(path=draw(tmp_path / "x.png", 99), name="x.png")])
    assert len(images.list_(session, empty)) == 50


def test_a_folder_that_is_missing_empty_or_without_pictures_is_one_sentence(
    session: Session, store: files.Store, empty: Actor, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        images.add_folder(session, store, empty, tmp_path / "none")
    with pytest.raises(BadInput, match="is a file"):
        images.add_folder(session, store, empty, draw(tmp_path / "a.png", 1))
    void = tmp_path / "void"
    (void / "sub").mkdir(parents=True)
    with pytest.raises(BadInput, match="1 subfolders are not looked at"):
        images.add_folder(session, store, empty, void)
    (void / "sub").rmdir()
    with pytest.raises(BadInput, match="is empty"):
        images.add_folder(session, store, empty, void)
    (void / "notes.txt").write_text("x")
    (void / ".hidden.png").write_text("x")
    with pytest.raises(BadInput, match="holds no pictures"):
        images.add_folder(session, store, empty, void)


def test_a_folder_of_texts_is_too_few_images(
    session: Session, store: files.Store, empty: Actor, tmp_path: Path
) -> None:
    (tmp_path / "t").mkdir()
    for number in range(7):
        (tmp_path / "t" / f"{number}.md").write_text("words")
    with pytest.raises(TooFewImages, match=r"0 usable pictures.*\(4 more were refused\.\)"):
        images.add_folder(session, store, empty, tmp_path / "t")


def test_names_never_become_paths(session: Session, store: files.Store, empty: Actor, folder: Path) -> None:
    odd = ["🦊 狐.png", "x" * 240 + ".png", "a'b\"$(rm).png", "..png"]
    for number, name in enumerate(odd, start=20):
        if not name.startswith("."):
            draw(folder / "tmp.png", number).rename(folder / name)
    given = [uploads.Upload(path=file, name="../../" + file.name) for file in sorted(folder.glob("*.png"))]
    verdicts = images.add(session, store, empty, given)
    assert all(verdict.accepted and "/" not in verdict.name for verdict in verdicts)
    for key in store.list_("actors"):
        assert files.checked(key)
        assert set(Path(key).stem) <= set("abcdefghijkmnpqrstuvwxyz23456789_pic")


def test_pipes_and_links_to_nowhere_are_left_alone(
    session: Session, store: files.Store, empty: Actor, folder: Path
) -> None:
    import os

    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    assert len(images.add_folder(session, store, empty, folder)) == 6


def test_when_the_store_breaks_midway_nothing_stays(
    session: Session, store: files.Store, empty: Actor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenroom.errors import StorageError

    put = store.put

    def full(key: str, content: bytes | Path) -> None:
        if len(store.list_("actors")) >= 5:
            raise StorageError("The disk is full.")
        put(key, content)

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(StorageError):
        images.add_folder(session, store, empty, folder)
    assert _nothing_written(session, store)


def test_a_removed_picture_leaves_the_set_but_its_file_stays(
    session: Session, store: files.Store, actor: Actor
) -> None:
    first, second, *_ = images.list_(session, actor)
    images.remove(session, first)
    assert images.list_(session, actor)[0] is second
    assert store.exists(first.key)


def test_scratch_is_empty_after_an_import(settings: Settings, store: files.Store, actor: Actor) -> None:
    assert store.root is not None
    assert list((store.root / ".scratch").iterdir()) == []


def test_a_picture_is_found_in_its_own_set_only(session: Session, actor: Actor, empty: Actor) -> None:
    picture = images.list_(session, actor)[0]
    assert images.find(session, actor, picture.id) is picture
    for wrong in (
        lambda: images.find(session, empty, picture.id),
        lambda: images.find(session, actor, "pic_no"),
    ):
        with pytest.raises(UnknownPicture):
            wrong()


def test_a_picture_that_was_taken_out_comes_back_in_its_place(session: Session, actor: Actor) -> None:
    before = images.list_(session, actor)
    images.remove(session, before[2])
    with pytest.raises(UnknownPicture):
        images.find(session, actor, before[2].id)
    gone = images.find(session, actor, before[2].id, removed=True)
    images.restore(session, actor, gone)
    assert images.list_(session, actor) == before
    images.restore(session, actor, gone)  # twice changes nothing
    assert images.list_(session, actor) == before


def test_a_full_set_takes_nothing_back(
    session: Session, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenroom import settings as settings_module

    gone = images.list_(session, actor)[0]
    images.remove(session, gone)
    monkeypatch.setenv("GREENROOM_MAX_PICTURES", "5")
    settings_module.current.cache_clear()
    with pytest.raises(TooManyImages):
        images.restore(session, actor, gone)
