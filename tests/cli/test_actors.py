from __future__ import annotations

from pathlib import Path

import commands


def test_an_empty_studio_says_what_to_do(home: Path) -> None:
    assert "greenroom train" in commands.run(home, "actors", "list").out


def test_list_names_each_actor_with_its_state(studio: Path) -> None:
    (actor,) = commands.run(studio, "actors", "list", "--json").json["actors"]
    keys = ("name", "trigger", "kind", "state", "version", "pictures", "base")
    assert {key: actor[key] for key in keys} == {
        "name": "Juno", "trigger": "JUNO_01", "kind": "character", "state": "trained", "version": 1,
        "pictures": 14, "base": "toy",
    }  # fmt: skip
    assert actor["id"] in commands.run(studio, "actors", "list").out


def test_show_finds_by_name_trigger_and_id(studio: Path) -> None:
    shown = commands.run(studio, "actors", "show", "Juno", "--json").json["actor"]
    assert commands.run(studio, "actors", "show", "JUNO_01", "--json").json["actor"] == shown
    assert commands.run(studio, "actors", "show", shown["id"], "--json").json["actor"] == shown
    assert shown["versions"][0]["state"] == "done"
    assert len(shown["picture_list"]) == 14
    assert "14 pictures" in commands.run(studio, "actors", "show", "Juno").out


def test_export_writes_the_lora_and_its_card(studio: Path, tmp_path: Path) -> None:
    written = commands.run(studio, "actors", "export", "Juno", "--out", tmp_path / "loras", "--json").json
    assert Path(written["lora"]) == tmp_path / "loras" / "JUNO_01-v1.safetensors"
    assert Path(written["lora"]).stat().st_size > 1000
    assert Path(written["card"]).exists()
    assert written["kohya"] is None


def test_export_of_a_draft_is_refused(draft: Path) -> None:
    result = commands.run(draft, "actors", "export", "Juno")
    assert result.code == 3
    assert "no trained version" in result.error


def test_a_deleted_actor_comes_back_whole(studio: Path, tmp_path: Path) -> None:
    assert commands.run(studio, "actors", "delete", "Juno").code == 0
    assert commands.run(studio, "actors", "list", "--json").json["actors"] == []
    assert commands.run(studio, "generate", "@JUNO_01").code == 3
    (gone,) = commands.run(studio, "actors", "list", "--deleted", "--json").json["actors"]
    assert gone["name"] == "Juno"
    assert commands.run(studio, "actors", "restore", "Juno").code == 0
    (back,) = commands.run(studio, "actors", "list", "--json").json["actors"]
    assert back == gone


def test_near_names_are_offered(studio: Path) -> None:
    result = commands.run(studio, "actors", "show", "Junu")
    assert result.code == 3
    assert "Juno" in result.error
