from __future__ import annotations

from pathlib import Path

import commands


def _texts(home: Path) -> list[str]:
    return [
        row["caption"] for row in commands.run(home, "captions", "list", "Juno", "--json").json["captions"]
    ]


def test_list_has_each_picture_with_its_caption(draft: Path) -> None:
    rows = commands.run(draft, "captions", "list", "Juno", "--json").json["captions"]
    assert [row["number"] for row in rows] == list(range(1, 15))
    assert rows[0]["picture"] == "01.png"
    assert all(row["caption"].startswith("JUNO_01, a woman") for row in rows)
    assert "01.png" in commands.run(draft, "captions", "list", "Juno").out


def test_set_puts_the_trigger_in_front_and_says_so(draft: Path) -> None:
    result = commands.run(draft, "captions", "set", "Juno", "3", "a woman in a red coat")
    assert result.code == 0
    assert "JUNO_01 was put in front" in result.err
    assert _texts(draft)[2] == "JUNO_01, a woman in a red coat"
    assert commands.run(draft, "captions", "set", "Juno", "03.png", "JUNO_01, smiling").code == 0
    assert _texts(draft)[2] == "JUNO_01, smiling"


def test_set_names_a_picture_that_is_not_there(draft: Path) -> None:
    result = commands.run(draft, "captions", "set", "Juno", "99", "a woman")
    assert result.code == 3
    assert "99" in result.error


def test_replace_previews_changes_and_undoes(draft: Path) -> None:
    before = _texts(draft)
    preview = commands.run(
        draft, "captions", "replace", "Juno", "a woman", "a lady", "--preview", "--json"
    ).json
    assert (len(preview["changes"]), preview["is_preview"]) == (14, True)
    assert _texts(draft) == before
    assert (
        "14 captions changed." in commands.run(draft, "captions", "replace", "Juno", "a woman", "a lady").out
    )
    assert all("a lady" in text for text in _texts(draft))
    assert commands.run(draft, "captions", "replace", "Juno", "--undo").code == 0
    assert _texts(draft) == before
