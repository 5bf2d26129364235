from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom import files
from greenroom.errors import NotFound, StorageError


@pytest.fixture
def store(tmp_path: Path) -> files.Store:
    return files.Store((tmp_path / "files ä").as_uri())


def test_put_and_get_bytes_and_files(store: files.Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"z" * 3_000_000)
    store.put("actors/a/x.png", b"abc")
    store.put("actors/a/y.bin", source)
    assert store.get("actors/a/x.png") == b"abc"
    assert store.size("actors/a/y.bin") == 3_000_000
    with store.open("actors/a/y.bin") as opened:
        assert opened.read(2) == b"zz"
    copy = store.local_copy("actors/a/y.bin", tmp_path / "to" / "y")
    assert copy.read_bytes() == source.read_bytes()
    assert [entry.name for entry in copy.parent.iterdir()] == ["y"]
    assert store.path("actors/a/x.png") == store.root / "actors/a/x.png"  # type: ignore[operator]


def test_put_replaces_in_one_step_and_leaves_no_staged_file(store: files.Store) -> None:
    for content in (b"one", b"two"):
        store.put("actors/a/x", content)
    assert store.get("actors/a/x") == b"two"
    assert store.list_("actors/a") == ["actors/a/x"]
    assert [entry.name for entry in (store.root / "actors" / "a").iterdir()] == ["x"]  # type: ignore[operator]


def test_a_missing_file_is_not_found(store: files.Store, tmp_path: Path) -> None:
    assert not store.exists("actors/none")
    store.delete("actors/none")
    with pytest.raises(NotFound):
        store.get("actors/none")
    with pytest.raises(NotFound):
        store.local_copy("actors/none", tmp_path / "to")
    with pytest.raises(NotFound), store.open("actors/none"):
        pass
    assert not (tmp_path / "to").exists()


def test_delete_prefix_takes_all_below_and_nothing_beside(store: files.Store) -> None:
    for key in ("actors/a/1", "actors/a/b/2", "actors/ab/3"):
        store.put(key, b"x")
    assert store.delete_prefix("actors/a") == 2
    assert store.list_("actors") == ["actors/ab/3"]
    assert not (store.root / "actors" / "a").exists()  # type: ignore[operator]
    assert store.delete_prefix("actors/a") == 0


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        "a/./b",
        ".scratch/x",
        "a\0b",
        "a\\b",
        "ä",
        "a b",
        "C:/x",
        "a" * 256,
    ],
)
def test_a_key_that_is_not_ours_is_refused(store: files.Store, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.put(key, b"x")
    with pytest.raises(ValueError, match="not a key"):
        store.delete_prefix(key)


@given(st.text(max_size=40))
def test_an_accepted_key_stays_below_the_root(key: str) -> None:
    try:
        files.checked(key)
    except ValueError:
        return
    root = Path("/root/of/store")
    assert (root / key).resolve().is_relative_to(root)
    assert (root / key).resolve() != root


def test_every_key_that_we_make_is_valid() -> None:
    for key in (
        files.picture_key("act_a", "pic_b"),
        files.thumbnail_key("act_a", "pic_b"),
        files.export_key("act_a", "trn_b", "lora-kohya.safetensors"),
        files.sample_key("act_a", "trn_b", 100, 0),
        files.checkpoint_key("act_a", "trn_b", 100, "lora.safetensors"),
        files.made_key("gen_a", "mad_b"),
        files.actor_prefix("act_a"),
        files.generation_prefix("gen_a"),
    ):
        assert files.checked(key) == key


def test_scratch_is_gone_afterwards_even_after_an_error(store: files.Store) -> None:
    with store.scratch() as scratch:
        (scratch / "x").write_text("x")
        assert scratch.is_relative_to(store.root)  # type: ignore[arg-type]
    assert not scratch.exists()
    with pytest.raises(RuntimeError), store.scratch() as scratch:
        raise RuntimeError
    assert not scratch.exists()


def test_scratch_of_a_killed_process_is_removed_after_a_day(store: files.Store) -> None:
    with store.scratch() as fresh:
        old = fresh.with_name("old")
        old.mkdir()
        os.utime(old, (time.time() - 100_000,) * 2)
        with store.scratch():
            assert not old.exists()
            assert fresh.exists()


def test_a_store_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        files.Store((tmp_path / "file" / "files").as_uri())


def test_a_write_that_fails_is_one_sentence(store: files.Store) -> None:
    store.put("actors/a", b"a file where a folder would have to be")
    with pytest.raises(StorageError) as caught:
        store.put("actors/a/b", b"x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Generic LocalFileSystem error: No space left on device (os error 28)", "The disk is full"),
        ("Read-only file system (os error 30)", "cannot be written"),
        ("Permission denied (os error 13)", "cannot be written"),
        ("connection refused", "The store failed"),
    ],
)
def test_what_the_system_says_becomes_a_sentence_with_a_remedy(said: str, expected: str) -> None:
    sentence = files._sentence("actors/a", said)
    assert expected in sentence
    assert sentence.endswith(".")


def test_a_full_disk_is_said_and_the_old_file_kept(tmp_path: Path) -> None:
    """On a real file system of 256 kB, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k tmpfs '{disk}' 2>/dev/null") != 0:
        pytest.skip("mounting is not allowed here")
    try:
        store = files.Store((disk / "files").as_uri())
        store.put("actors/a", b"old")
        with pytest.raises(StorageError, match="The disk is full"):
            store.put("actors/a", b"x" * 1_000_000)
        assert store.get("actors/a") == b"old"
    finally:
        os.system(f"umount '{disk}'")
