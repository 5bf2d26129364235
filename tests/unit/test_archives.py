"""Zips that nobody can trust."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from greenroom.errors import BadArchive
from greenroom.settings import Settings
from greenroom.studio import archives

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100


def _zip(file: Path, entries: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.mark.usefixtures("settings")
def test_pictures_come_with_the_caption_of_their_folder(tmp_path: Path, scratch: Path) -> None:
    file = _zip(
        tmp_path / "a.zip",
        {"one/kia.png": PNG, "one/kia.txt": b"one", "two/kia.png": PNG, "two/kia.txt": b"two", "b.jpg": PNG},
    )
    opened = archives.open_(file, scratch)
    assert [(item.name, item.caption.text) for item in opened.uploads] == [
        ("kia.png", "one"), ("kia.png", "two"), ("b.jpg", "")
    ]  # fmt: skip
    assert opened.refused == {}


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.png", "/etc/evil.png", "..\\..\\evil.png", "C:\\evil.png", "a/../../evil.png",
        "\u202egnp.evil.png", "CON.png", "x" * 300 + ".png",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("settings")
def test_a_name_never_becomes_a_path(tmp_path: Path, scratch: Path, name: str) -> None:
    opened = archives.open_(_zip(tmp_path / "a.zip", {name: PNG}), scratch)
    assert [item.path.parent for item in opened.uploads] == [scratch]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) in (
        ["a.zip"],
        ["a.zip", "greenroom.sqlite3"],
    )
    assert all(part not in opened.uploads[0].name for part in ("/", "\\", "\u202e"))


@pytest.mark.usefixtures("settings")
def test_a_link_is_refused_by_name(tmp_path: Path, scratch: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("passwd.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("kia.png", PNG)
    opened = archives.open_(file, scratch)
    assert list(opened.refused) == ["passwd.png"]
    assert [item.name for item in opened.uploads] == ["kia.png"]
    assert not [path for path in scratch.rglob("*") if path.is_symlink()]


def test_a_file_over_the_limit_is_refused_by_name(
    settings: Settings, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenroom import settings as settings_module

    monkeypatch.setenv("GREENROOM_MAX_PICTURE_BYTES", "1000")
    settings_module.current.cache_clear()
    opened = archives.open_(_zip(tmp_path / "a.zip", {"big.png": b"x" * 1000, "kia.png": PNG}), scratch)
    assert list(opened.refused) == ["big.png"]
    assert [item.name for item in opened.uploads] == ["kia.png"]


@pytest.mark.usefixtures("settings")
def test_a_bomb_is_refused_before_it_grows(tmp_path: Path, scratch: Path) -> None:
    file = _zip(tmp_path / "a.zip", {"kia.png": b"\0" * 40_000_000}, compression=zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 100_000
    with pytest.raises(BadArchive, match="out of all measure"):
        archives.open_(file, scratch)
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("settings")
def test_a_table_that_lies_about_a_size_is_caught(tmp_path: Path, scratch: Path) -> None:
    file = _zip(tmp_path / "a.zip", {"kia.png": os.urandom(2_000)}, compression=zipfile.ZIP_DEFLATED)
    raw = bytearray(file.read_bytes())
    at = raw.rfind(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 10)  # the uncompressed size, as the table tells it
    file.write_bytes(raw)
    with pytest.raises(BadArchive):
        archives.open_(file, scratch)


@pytest.mark.usefixtures("settings")
def test_a_huge_table_is_refused_before_it_is_read(tmp_path: Path, scratch: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for number in range(2_100):
            archive.writestr(f"{number}.png", b"")
    (tmp_path / "many.zip").write_bytes(held.getvalue())
    with pytest.raises(BadArchive, match="too many"):
        archives.open_(tmp_path / "many.zip", scratch)
    raw = bytearray(_zip(tmp_path / "a.zip", {"kia.png": PNG}).read_bytes())
    end = raw.rfind(b"PK\x05\x06")
    (tmp_path / "a.zip").write_bytes(bytes(raw[:end]) + b"PK\x06\x07" + b"\0" * 16 + bytes(raw[end:]))
    with pytest.raises(BadArchive, match="too large"):
        archives.open_(tmp_path / "a.zip", scratch)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 10, b"PK\x03\x04" + b"\xff" * 500]
)
@pytest.mark.usefixtures("settings")
def test_what_is_no_zip_is_refused(tmp_path: Path, scratch: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadArchive):
        archives.open_(tmp_path / "a.zip", scratch)


@pytest.mark.usefixtures("settings")
def test_too_many_pictures_and_none_at_all(tmp_path: Path, scratch: Path) -> None:
    many = _zip(tmp_path / "many.zip", {f"{number}.png": PNG for number in range(101)})
    with pytest.raises(BadArchive, match="more than 100"):
        archives.open_(many, scratch)
    none = _zip(tmp_path / "none.zip", {"__MACOSX/._kia.png": PNG, "set/": b"", ".DS_Store": b"x"})
    with pytest.raises(BadArchive, match="no pictures"):
        archives.open_(none, scratch)


@pytest.mark.usefixtures("settings")
def test_a_zip_in_a_zip_is_one_more_file_that_is_no_picture(tmp_path: Path, scratch: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", {"kia.png": PNG}).read_bytes()
    opened = archives.open_(_zip(tmp_path / "a.zip", {"inner.zip": inner}), scratch)
    assert [item.name for item in opened.uploads] == ["inner.zip"]  # judged, and refused, like any other file
