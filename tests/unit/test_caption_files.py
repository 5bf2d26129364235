from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.studio import caption_files


def _read(tmp_path: Path, raw: bytes) -> caption_files.CaptionFile:
    file = tmp_path / "a.txt"
    file.write_bytes(raw)
    return caption_files.read(file)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_is_read_with_and_without_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    assert _read(tmp_path, mark + "eine Frau, müde\n".encode()).text == "eine Frau, müde"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    read = _read(tmp_path, "a woman".encode(encoding))
    assert "UTF-16 or UTF-32" in read.problem
    assert "save it as UTF-8" in read.problem
    assert read.text == ""


def test_latin_1_is_named_with_the_byte(tmp_path: Path) -> None:
    read = _read(tmp_path, "müde".encode("latin-1"))
    assert "byte 2 is 0xfc" in read.problem
    assert "Latin-1" in read.problem


def test_an_empty_file_has_neither_text_nor_problem(tmp_path: Path) -> None:
    assert _read(tmp_path, b" \n\r\n") == caption_files.CaptionFile()


def test_2000_characters_are_kept_and_2001_refused(tmp_path: Path) -> None:
    assert len(_read(tmp_path, b"x" * 2000).text) == 2000
    assert "more than 2000 characters" in _read(tmp_path, b"x" * 2001).problem


def test_a_huge_file_is_refused_without_reading_all_of_it(tmp_path: Path) -> None:
    assert "more than 2000" in _read(tmp_path, "ä".encode() * 5_000_000).problem


def test_a_folder_or_unreadable_file_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert "cannot be read" in caption_files.read(tmp_path / "a.txt").problem


def test_control_characters_and_direction_marks_are_stripped() -> None:
    assert caption_files.clean("a\x00b\x1b[31m\tc\r\n\u202ed\u2028e") == "ab[31m c d e"


@given(st.text())
def test_clean_gives_one_printable_line_and_is_stable(text: str) -> None:
    cleaned = caption_files.clean(text)
    assert caption_files.clean(cleaned) == cleaned
    assert all(unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"} for char in cleaned)
    cleaned.encode("utf-8")


def test_the_caption_beside_a_picture_is_found_by_stem_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "A.b.TXT").write_text("x")
    assert caption_files.beside(tmp_path / "A.b.png") == tmp_path / "A.b.TXT"
    assert caption_files.beside(tmp_path / "A.png") is None


def test_credits_are_no_caption() -> None:
    assert not caption_files.is_caption(Path("CREDITS.txt"))
    assert caption_files.is_caption(Path("kia.txt"))
