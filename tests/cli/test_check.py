from __future__ import annotations

import shutil
from pathlib import Path

import commands


def test_a_good_folder_has_nothing_that_blocks(home: Path, juno: Path) -> None:
    result = commands.run(home, "check", juno)
    assert result.code == 0
    assert "block" in result.out or "Nothing to mend" in result.out


def test_findings_have_every_field_and_blocks_end_with_3(home: Path, juno: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for number in (1, 2, 3):
        shutil.copy(juno / f"{number:02d}.png", folder)
    shutil.copy(juno / "03.png", folder / "twin.png")
    result = commands.run(home, "check", folder, "--trigger", "JUNO_01", "--json")
    assert result.code == 3
    findings = result.json["findings"]
    assert all(
        set(finding) >= {"code", "level", "picture", "value", "threshold", "message", "remedy"}
        for finding in findings
    )
    assert {finding["level"] for finding in findings} <= {"blocks", "warns", "informs"}
    assert any(finding["level"] == "blocks" for finding in findings)


def test_a_folder_that_is_not_there(home: Path, tmp_path: Path) -> None:
    result = commands.run(home, "check", tmp_path / "nowhere", "--json")
    assert result.code == 3
    assert "does not exist" in result.error
