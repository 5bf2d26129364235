from __future__ import annotations

from pathlib import Path

import pytest

from greenroom import settings as settings_module
from greenroom.errors import StorageError, WrongUse
from greenroom.settings import Settings


def test_everything_lives_in_home_by_default(tmp_path: Path) -> None:
    made = Settings(home=tmp_path / "a b")
    assert made.database == f"sqlite:///{tmp_path}/a b/greenroom.sqlite3"
    assert made.files == (tmp_path / "a b" / "files").as_uri()
    assert made.runs == tmp_path / "a b" / "runs"
    assert made.make_home().is_dir()


def test_the_environment_is_read_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_MAX_PICTURES", "7")
    assert settings_module.current().max_pictures == 50
    settings_module.current.cache_clear()
    assert settings_module.current().max_pictures == 7


def test_a_variable_that_cannot_be_read_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_MAX_PICTURES", "many")
    settings_module.current.cache_clear()
    with pytest.raises(WrongUse, match="GREENROOM_MAX_PICTURES"):
        settings_module.current()


def test_a_relative_home_and_a_tilde_become_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    assert Settings(home=Path("~/g")).home_folder == Path("/somebody/g")
    assert Settings(home=Path("g")).home_folder.is_absolute()


def test_a_home_below_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="set GREENROOM_HOME"):
        Settings(home=tmp_path / "file" / "x").make_home()
