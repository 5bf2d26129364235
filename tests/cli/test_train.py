from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import commands
from safetensors import safe_open


def test_the_json_is_one_object_with_what_other_programs_need(report: dict[str, Any]) -> None:
    assert report["actor"] == "Juno"
    assert report["trigger"] == "JUNO_01"
    assert report["status"] == "trained"
    assert (report["version"], report["steps"]) == (1, 6)
    assert report["seconds"] > 0
    assert report["loss"] > 0


def test_stdout_holds_nothing_but_the_json(trained: tuple[Path, commands.Result]) -> None:
    assert len(trained[1].out.splitlines()) == 1


def test_progress_and_remarks_go_to_stderr(trained: tuple[Path, commands.Result]) -> None:
    said = trained[1].err
    assert "14 pictures accepted, 0 refused." in said
    assert "JUNO_01 was put in front of 14 captions" in said
    assert "training  6/6" in said


def test_the_files_are_there_and_whole(report: dict[str, Any]) -> None:
    with safe_open(report["lora"], "pt") as lora:
        assert lora.metadata()["modelspec.trigger_phrase"] == "JUNO_01"
        assert any(key.endswith("lora_A.weight") for key in lora.keys())  # noqa: SIM118 - not a dict
    assert len(json.loads(Path(report["losses"]).read_text())) == 6
    assert json.loads(Path(report["card"]).read_text())
    assert [Path(sample).name for sample in report["samples"]] == ["step-000003-00.png", "step-000006-00.png"]
    assert all(Path(sample).read_bytes().startswith(b"\x89PNG") for sample in report["samples"])


def test_the_run_folder_is_gone_when_its_files_are_safe(trained: tuple[Path, commands.Result]) -> None:
    assert not list((trained[0] / "runs").iterdir())


def test_a_lost_base_fails_the_run_with_the_cause(draft: Path, juno: Path, tmp_path: Path) -> None:
    gone = tmp_path / "home" / "no-such-base"
    from greenroom import settings
    from greenroom.db import session as db
    from greenroom.studio import actors, bases, recipes, trainings, workspaces

    here = settings.Settings(home=draft)
    with db.session(here) as session:
        actor = actors.find(session, workspaces.default(session), "Juno")
        config = recipes.config(
            recipes.load("starter-character"), name="Juno", trigger="JUNO_01", kind="character",
            base=bases.find(session, "toy"),
        )  # fmt: skip
        trainings.start(session, actor, config.model_copy(update={"base_source": str(gone)}))
    result = commands.run(draft, "train", "--resume", "Juno", "--json")
    assert result.code == 4
    assert result.json["error"]["code"] == "BaseMissing"
    assert str(gone) in result.error
    assert commands.run(draft, "actors", "show", "Juno", "--json").json["actor"]["state"] == "failed"
