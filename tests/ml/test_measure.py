"""Measuring a checkpoint: that each number says what it promises, and that it leaves the training as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from run_folders import exported, finish, make, start, train_here

from greenroom.ml import data, events, families, measure, select, trials
from greenroom.ml.config import TrainConfig
from greenroom.ml.events import Chosen, Done, Measured, Note
from greenroom.ml.judge import Known, judge
from greenroom.vision import figure
from greenroom.vision.figure import Figure

PLACES = [(30, 90, 200), (230, 200, 60), (20, 120, 50), (120, 60, 140), (240, 240, 240), (20, 20, 30)]
SKIN = [(240, 200, 170), (120, 80, 60)]


@pytest.fixture(autouse=True)
def _restore_torch() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def drawn(who: int, place: int, dx: int = 0) -> np.ndarray:
    """A head of one of two people in front of one of six places."""
    rng = np.random.default_rng(place)
    picture = np.full((128, 128, 3), PLACES[place], np.uint8)
    for _ in range(12):
        x, y = rng.integers(0, 128, 2)
        cv2.circle(picture, (int(x), int(y)), 6, tuple(int(c) for c in rng.integers(0, 255, 3)), -1)
    hair = ((180, 40, 30), (40, 40, 60))[who]
    cv2.circle(picture, (64 + dx, 56), 38, hair, -1)
    cv2.circle(picture, (64 + dx, 66), 30, SKIN[who], -1)
    for x in (52, 76):
        cv2.circle(picture, (x + dx, 62), 4, (20, 20, 20), -1)
    cv2.ellipse(picture, (64 + dx, 80), (10, 5 + 4 * who), 0, 0, 180, (150, 30, 30), 2)
    return picture


def seen(who: int, places: list[int], dx: int = 0) -> list[Figure]:
    found = figure.of([drawn(who, place, dx) for place in places])
    assert found is not None
    return found


def whole(figures: list[Figure]) -> np.ndarray:
    return np.stack([one.whole for one in figures])


@pytest.fixture(scope="module")
def known() -> Known:
    """The set shows person 0, the base draws person 1; three prompts with two seeds each."""
    mine = seen(0, [0, 1, 2, 3, 4], dx=3)
    return Known(
        held=mine[:2],
        trained=mine[2:],
        is_held_out=True,
        floor=[*seen(1, [3, 4, 5]), *seen(1, [3, 4, 5], dx=5)],
        base=whole(seen(1, [3, 4])),
    )


class TestScores:
    def test_the_base_itself_has_no_likeness_and_did_not_move(self, known: Known) -> None:
        scores = judge(1, known, known.floor, known.base)
        assert scores is not None
        assert scores.likeness == pytest.approx(0, abs=0.05)
        assert scores.drift == pytest.approx(0, abs=1e-5)
        assert scores.diversity == pytest.approx(1, abs=1e-5)
        assert scores.adherence == 1

    def test_the_person_in_the_prompts_places_is_like_and_adheres(self, known: Known) -> None:
        mine = [*seen(0, [3, 4, 5]), *seen(0, [3, 4, 5], dx=5)]
        scores = judge(2, known, mine, known.base)
        assert scores is not None
        assert scores.likeness > 0.6
        assert scores.adherence > 0.8
        assert scores.floor < scores.ceiling

    def test_the_person_at_one_place_whatever_the_prompt_is_like_but_does_not_adhere(
        self, known: Known
    ) -> None:
        stiff = judge(3, known, [*seen(0, [0, 0, 0]), *seen(0, [0, 0, 0], dx=2)], known.base)
        free = judge(2, known, [*seen(0, [3, 4, 5]), *seen(0, [3, 4, 5], dx=5)], known.base)
        assert stiff is not None
        assert free is not None
        assert stiff.adherence < 0.75
        assert stiff.diversity < 0.3
        assert stiff.score < free.score

    def test_the_training_pictures_themselves_are_told_as_copies(self, known: Known) -> None:
        copies = judge(4, known, [*known.trained, *known.trained], known.base)
        fresh = judge(2, known, [*seen(0, [3, 4, 5], dx=-9), *seen(0, [0, 1, 5], dx=9)], known.base)
        assert copies is not None
        assert fresh is not None
        assert copies.copying == 1
        assert fresh.copying < 0.9

    def test_a_base_that_became_the_actor_without_its_trigger_has_drifted(self, known: Known) -> None:
        scores = judge(5, known, known.floor, whole(seen(0, [0, 1])))
        assert scores is not None
        assert scores.drift > 0.5

    def test_a_set_that_the_base_draws_anyway_is_not_measured(self, known: Known) -> None:
        same = Known(
            held=known.floor[:2], trained=known.floor, is_held_out=True, floor=known.floor, base=known.base
        )
        assert judge(1, same, known.floor, known.base) is None


def pictures(count: int) -> list[data.Picture]:
    return [
        data.Picture(file=f"{i}.png", sha256=f"{i:064d}", caption="KIA_01, a red thing") for i in range(count)
    ]


def config(source: Path = Path("x"), **changes: object) -> TrainConfig:
    facts = {
        "name": "K", "trigger": "KIA_01", "base_family": "starter", "base_source": str(source),
        "resolution_px": 64, "steps": 60, "measure": True,
    }  # fmt: skip
    return TrainConfig.model_validate({**facts, **changes})


@pytest.mark.parametrize(("count", "apart"), [(5, 0), (9, 0), (10, 2), (16, 2), (24, 3), (50, 4)])
def test_of_larger_sets_a_few_pictures_are_kept_out(count: int, apart: int) -> None:
    chosen = measure.held_out(pictures(count), config())
    assert len(chosen) == apart
    assert chosen == measure.held_out(pictures(count), config(seed=9))
    assert measure.held_out(pictures(count), config(measure=False)) == []


def test_short_runs_are_not_measured() -> None:
    assert not measure.is_wanted(config(steps=39))
    assert measure.is_wanted(config(steps=40))


def test_prompts_name_the_actor_as_its_captions_do() -> None:
    captions = ["KIA_01, a woman, sad, at home", "KIA_01, a woman, happy", "KIA_01, a cat"]
    shots = trials.with_trigger(config(), captions)
    assert len(shots) == 24
    assert len({shot.prompt for shot in shots}) == 12
    assert shots[0] == trials.Shot("KIA_01, a woman, on a beach", 11)
    assert shots[0].prompt == shots[12].prompt
    assert all("KIA_01" not in shot.prompt for shot in trials.without_trigger(config(), captions))
    assert trials.noun(["KIA_01, a cat", "KIA_01, a dog"], "KIA_01") == ""


@pytest.mark.parametrize("family_id", sorted(families.CARDS))
def test_every_family_draws_several_at_once_and_leaves_the_random_numbers_alone(
    family_id: str, tiny_bases: dict[str, Path]
) -> None:
    family = families.get(family_id)
    pipe = family.load(tiny_bases[family_id], torch.device("cpu"), torch.float32)
    shots = [
        trials.Shot("a red thing", 1),
        trials.Shot("a blue thing on a beach", 1),
        trials.Shot("a red thing", 2),
    ]
    torch.manual_seed(4)
    before = torch.get_rng_state()
    wanted = config(tiny_bases[family_id], base_family=family_id)
    (one,) = trials.draw(family, pipe, shots, wanted)
    assert torch.equal(torch.get_rng_state(), before)
    assert [picture.shape for picture in one] == [(64, 64, 3)] * 3
    (again,) = trials.draw(family, pipe, shots, wanted)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], one[2])


MEASURED = {
    "measure": True, "steps": 60, "checkpoint_every": 20, "batch_size": 1, "dropout": 0.1, "ema_decay": 0.9,
    "keep_checkpoints": 2,
}  # fmt: skip


def larger(run_dir: Path, source: Path, **changes: object) -> Path:
    """As run_folders.make, with faces that can be told from what the toy draws."""
    folder = make(run_dir, "starter", source, **{**MEASURED, **changes})
    for number, file in enumerate(sorted((folder / "pictures").iterdir())):
        Image.fromarray(drawn(0, number, dx=number)).save(file)
    _sign(folder)
    return folder


def _sign(folder: Path) -> None:
    import hashlib
    import json

    manifest = json.loads((folder / "manifest.json").read_text())
    for line in manifest["pictures"]:
        line["sha256"] = hashlib.sha256((folder / line["file"]).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.slow  # two whole runs with two measured checkpoints each
def test_a_measured_run_exports_its_choice_and_a_killed_one_ends_with_the_same_bytes(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    whole = larger(tmp_path / "whole", tiny_bases["starter"])
    lines = finish(whole)
    told_scores = [line for line in lines if isinstance(line, Measured)]
    [chosen] = [line for line in lines if isinstance(line, Chosen)]
    done = lines[-1]
    assert isinstance(done, Done)
    best = select.choose([line.scores for line in told_scores])
    assert best is not None
    assert done.chosen_step == chosen.step == best.step
    assert all((whole / line.sheet).is_file() for line in told_scores)
    choice = whole / chosen.kept[chosen.step] / "lora.safetensors"
    assert choice.read_bytes() == (whole / done.lora).read_bytes()
    assert {line.step for line in told_scores} == {one.step for one in measure.read(whole)}

    broken = larger(tmp_path / "broken", tiny_bases["starter"])
    child = start(broken)
    assert child.stdout is not None
    assert any(events.parse(line).event == "measured" for line in child.stdout)
    child.kill()
    child.wait()
    victim = random.choice(sorted((broken / "measures").glob("step-*.json")))
    victim.unlink()  # as if it had been killed right before it was kept
    finish(broken)
    assert exported(broken) == exported(whole)
    assert measure.read(broken) == measure.read(whole)


def test_missing_models_are_told_and_nothing_is_measured(
    tmp_path: Path, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "is_possible", lambda: False)
    folder = larger(tmp_path / "run", tiny_bases["starter"], steps=40, checkpoint_every=40)
    done, lines = train_here(folder)
    assert any(isinstance(line, Note) and "greenroom models fetch" in line.text for line in lines)
    assert done.chosen_step is None
    assert measure.read(folder) == []
