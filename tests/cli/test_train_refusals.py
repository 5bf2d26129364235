"""Every bad input of `greenroom train`: one sentence, exit code 3, nothing written, nothing lost."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import commands
import pytest
from PIL import Image


def _train(home: Path, folder: Path, *more: str) -> commands.Result:
    return commands.run(
        home, "train", folder, "--name", "Kia", "--trigger", "KIA_01", *commands.quick(), *more
    )


def _text_named_png(folder: Path, _: Path) -> None:
    (folder / "bad.png").write_text("I am no picture")


def _truncated_jpeg(folder: Path, good: Path) -> None:
    with Image.open(good) as picture:
        picture.convert("RGB").save(folder / "whole.jpg")
    content = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    (folder / "bad.jpg").write_bytes(content[: len(content) // 2])


def _sixty_megabytes(folder: Path, good: Path) -> None:
    shutil.copy(good, folder / "bad.png")
    with (folder / "bad.png").open("ab") as file:
        file.truncate(60_000_000)


def _pixel_bomb(folder: Path, _: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    side = 30_000
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side // 8 + 1) * side, 9)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert len(png) < 120_000
    (folder / "bad.png").write_bytes(png)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_text_named_png, "text"),
        (_truncated_jpeg, "cut off"),
        (_sixty_megabytes, "50 MB"),
        (_pixel_bomb, "megapixels"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(
    home: Path, juno: Path, tmp_path: Path, spoil: Callable[[Path, Path], None], said: str
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(1, 5):
        shutil.copy(juno / f"{number:02d}.png", folder)
    spoil(folder, juno / "05.png")
    result = _train(home, folder)
    assert result.code == 3
    assert "4 usable pictures" in result.error
    assert said in result.error
    assert commands.run(home, "actors", "list", "--json").json == {"actors": []}


def test_a_folder_that_does_not_exist(home: Path, tmp_path: Path) -> None:
    result = _train(home, tmp_path / "nowhere")
    assert result.code == 3
    assert "does not exist" in result.error


def test_an_empty_folder(home: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    result = _train(home, tmp_path / "pictures")
    assert result.code == 3
    assert "empty" in result.error


def test_a_folder_without_pictures(home: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "notes.md").write_text("nothing to see")
    result = _train(home, tmp_path / "pictures")
    assert result.code == 3
    assert "0 usable pictures" in result.error


def test_more_than_fifty_pictures(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(51):
        Image.new("RGB", (80, 80), (number * 5, 40, 200)).save(folder / f"{number}.png")
    result = _train(home, folder)
    assert result.code == 3
    assert "more than 50 pictures" in result.error
    assert commands.run(home, "actors", "list", "--json").json == {"actors": []}


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 300, " ", "a\x07b"])
def test_a_name_that_is_none(home: Path, juno: Path, name: str) -> None:
    result = commands.run(home, "train", juno, "--name", name, "--trigger", "KIA_01", *commands.quick())
    assert result.code == 3
    assert "name" in result.error.lower()
    assert commands.run(home, "actors", "list", "--json").json == {"actors": []}


@pytest.mark.parametrize("trigger", ["../x", "cat", "two words", "😀", "1234", "x" * 80])
def test_a_trigger_that_breaks_the_rules(home: Path, juno: Path, trigger: str) -> None:
    result = commands.run(home, "train", juno, "--name", "Kia", "--trigger", trigger, *commands.quick())
    assert result.code == 3
    assert "trigger" in result.error.lower()


@pytest.mark.parametrize("place", ["below-a-file", "/proc/greenroom"])
def test_a_home_that_cannot_be_written(tmp_path: Path, juno: Path, place: str) -> None:
    (tmp_path / "below-a-file").write_text("")
    home = tmp_path / place / "home"
    result = _train(home, juno)
    assert result.code == 3
    assert "cannot be written" in result.error
    assert "GREENROOM_HOME" in result.error


def test_a_trigger_of_another_actor(studio: Path, juno: Path) -> None:
    result = commands.run(studio, "train", juno, "--name", "Kia", "--trigger", "juno_01", *commands.quick())
    assert result.code == 3
    assert "Juno" in result.error


def test_an_unknown_base_lists_near_ones(home: Path, juno: Path) -> None:
    result = commands.run(home, "train", juno, "--name", "Kia", "--trigger", "KIA_01", "--base", "toi")
    assert result.code == 3
    assert "toy" in result.error


def test_an_unknown_recipe_and_unknown_keys(home: Path, juno: Path) -> None:
    assert _train(home, juno, "--recipe", "starter-caracter").code == 3
    assert "rang" in _train(home, juno, "--set", "rang=8").error
    assert _train(home, juno, "--set", "rank=0").code == 3
    assert _train(home, juno, "--set", "rank").code == 2
    assert _train(home, juno, "--set", "base_source=/etc").code == 3


def test_two_trainings_of_one_actor_at_once(draft: Path, juno: Path) -> None:
    from greenroom import settings
    from greenroom.db import session as db
    from greenroom.studio import actors, bases, jobs, recipes, trainings, workspaces

    here = settings.Settings(home=draft)
    with db.session(here) as session:
        actor = actors.find(session, workspaces.default(session), "Juno")
        config = recipes.config(
            recipes.load("starter-character"), name="Juno", trigger="JUNO_01", kind="character",
            base=bases.find(session, "toy"),
        )  # fmt: skip
        trainings.start(session, actor, config)
        assert jobs.claim(session, jobs.this_worker()) is not None
    result = commands.run(
        draft, "train", juno, "--name", "Juno", "--trigger", "JUNO_01", "--json", *commands.quick()
    )
    assert result.code == 3
    assert "in training already" in result.error
    assert result.json["error"]["code"] == "AlreadyTraining"
    assert commands.run(draft, "actors", "show", "Juno", "--json").json["actor"]["state"] == "training"


def test_resume_of_what_is_finished_or_unknown(studio: Path, juno: Path) -> None:
    assert "is trained" in commands.run(studio, "train", "--resume", "Juno").error
    assert commands.run(studio, "train", "--resume", "Nobody").code == 3
    assert commands.run(studio, "train", juno, "--resume", "Juno").code == 2


def test_changed_pictures_need_a_new_version(studio: Path, juno: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(juno, fewer)
    (fewer / "01.png").unlink()
    (fewer / "01.txt").unlink()
    result = commands.run(studio, "train", fewer, "--name", "Juno", "--trigger", "JUNO_01", *commands.quick())
    assert result.code in (3, 4)
    assert "1 gone" in result.error
    assert commands.run(studio, "actors", "show", "Juno", "--json").json["actor"]["pictures"] == 14
