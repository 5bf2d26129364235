"""The demo on the real starter, short, and the sample style."""

from __future__ import annotations

from pathlib import Path

import commands
import pytest
from PIL import Image


@pytest.mark.slow
def test_the_demo_trains_draws_and_shows(tmp_path: Path) -> None:
    result = commands.run(tmp_path / "home", "demo", "--steps", "12", "--out", tmp_path / "demo", "--json")
    assert result.code == 0, result.err
    told = result.json
    assert (told["status"], told["steps"]) == ("trained", 12)
    assert Path(told["page"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    with Image.open(told["sheet"]) as sheet:
        assert sheet.width > 900
    pictures = sorted((tmp_path / "demo" / "pictures").glob("*.png"))
    assert len(pictures) == 15
    assert sum(picture.name.startswith("JUNO_01") for picture in pictures) == 10


@pytest.mark.slow
def test_a_style_trains_and_draws(home: Path, juno: Path, tmp_path: Path) -> None:
    folder = juno.parent / "style-riso"
    trained = commands.run(
        home, "train", folder, "--name", "Riso", "--trigger", "RISO_1", "--kind", "style", "--json",
        *commands.quick(4),
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert trained.json["kind"] == "style"
    captions = commands.run(home, "captions", "list", "Riso", "--json").json["captions"]
    assert all(caption["caption"].startswith("RISO_1, a ") for caption in captions)
    drawn = commands.run(
        home, "generate", "a woman at the beach, RISO_1", "--steps", "2", "--out", tmp_path, "--json"
    )
    assert drawn.code == 0, drawn.err
    assert [Path(image["path"]).name[:6] for image in drawn.json["images"]] == ["RISO_1"]
