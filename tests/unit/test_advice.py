"""Advice on Juno's pictures with one fault planted at a time; the benchmark counts how often each is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from greenroom.studio import advice
from greenroom.studio.advice import Seen
from greenroom.studio.findings import Finding, Level
from greenroom.vision import look
from greenroom.vision.faces import Pixels
from greenroom.vision.look import Look


@pytest.fixture(scope="module")
def pictures(juno: Path) -> list[Pixels]:
    return [look.read(juno / f"{number:02d}.png") for number in range(1, 9)]


@pytest.fixture(scope="module")
def looks(pictures: list[Pixels]) -> list[Look]:
    return [look.at(picture) for picture in pictures]


def _on(looks: Sequence[Look], kind: str = "character") -> list[Finding]:
    seen = [Seen(name=f"{number}.png", look=one) for number, one in enumerate(looks)]
    return advice.on(seen, kind=kind, native_px=256)


def _codes(findings: Sequence[Finding]) -> set[tuple[str, str | None]]:
    return {(finding.code, finding.picture) for finding in findings}


def test_a_good_set_has_no_warning(looks: list[Look]) -> None:
    assert [finding for finding in _on(looks) if finding.level != Level.INFORMS] == []


def test_a_blurred_picture_is_named_with_value_threshold_and_action(
    pictures: list[Pixels], looks: list[Look]
) -> None:
    blurred = look.at(np.asarray(cv2.GaussianBlur(pictures[2], (0, 0), 2.5), np.uint8))
    (found,) = [finding for finding in _on([*looks[:2], blurred, *looks[3:]]) if finding.code == "blurred"]
    assert (found.picture, found.level, found.action) == ("2.png", Level.WARNS, "replace")
    assert isinstance(found.value, float)
    assert isinstance(found.threshold, float)
    assert found.value > found.threshold


@pytest.mark.parametrize(
    ("code", "matrix", "lift"),
    [
        ("too_dark", np.eye(3) * 0.3, 0),
        ("too_bright", np.eye(3) * 0.8, 110),
        ("filtered", np.full((3, 3), 1 / 3), 0),
    ],
)
def test_light_and_filters_are_told_from_the_set(
    pictures: list[Pixels], looks: list[Look], code: str, matrix: Pixels, lift: int
) -> None:
    changed = np.asarray(np.clip(pictures[3] @ matrix + lift, 0, 255), np.uint8)
    codes = _codes(_on([*looks[:3], look.at(changed), *looks[4:]]))
    assert {picture for found, picture in codes if found == code} == {"3.png"}


def test_a_near_duplicate_names_its_twin(pictures: list[Pixels], looks: list[Look]) -> None:
    copy = cv2.resize(pictures[1][3:-3, 3:-3], (256, 256), interpolation=cv2.INTER_AREA)
    found = [f for f in _on([*looks, look.at(np.asarray(copy, np.uint8))]) if f.code == "near_duplicate"]
    assert [(one.picture, one.value, one.action) for one in found] == [("8.png", "1.png", "remove")]


def test_a_picture_without_a_face_may_be_kept(looks: list[Look]) -> None:
    landscape = np.zeros((256, 256, 3), np.uint8)
    landscape[:128], landscape[128:] = (120, 180, 230), (70, 140, 60)
    found = next(f for f in _on([*looks, look.at(landscape)]) if f.code == "no_face")
    assert (found.picture, found.action) == ("8.png", "keep")
    assert not {code for code, _ in _codes(_on([*looks, look.at(landscape)], kind="style"))} & {"no_face"}


def test_two_faces_side_by_side_are_several(pictures: list[Pixels], looks: list[Look]) -> None:
    pair = look.at(np.concatenate([pictures[0], pictures[2]], axis=1))
    assert ("several_faces", "8.png") in _codes(_on([*looks, pair]))


def test_pictures_without_any_face_only_inform() -> None:
    rng = np.random.default_rng(0)
    cars = [look.at(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8).repeat(32, 0).repeat(32, 1))]
    cars = [replace(cars[0], faces=()) for _ in range(5)]
    (found,) = [finding for finding in _on(cars) if finding.code == "no_faces"]
    assert found.level == Level.INFORMS


def test_one_background_everywhere_warns_a_character_not_a_style(looks: list[Look]) -> None:
    same = [replace(one, ground=(80.0, 1.0, 1.0)) for one in looks]
    assert ("one_background", None) in _codes(_on(same))
    assert ("one_background", None) not in _codes(_on(same, kind="style"))
    assert ("one_background", None) not in _codes(_on(looks))


def test_a_set_of_one_view_says_which_views_to_add(looks: list[Look]) -> None:
    turned = [_turned(one, 4.0) for one in looks]
    (found,) = [finding for finding in _on(turned) if finding.code == "one_view"]
    assert "three-quarter or profile will be weak" in found.message
    assert "2 three-quarter pictures from each side" in found.remedy
    one_side = [_turned(one, yaw) for one, yaw in zip(looks, [2.0, 30.0] * 4, strict=True)]
    (found,) = [finding for finding in _on(one_side) if finding.code == "one_side"]
    assert found.remedy == "Add 2 pictures that face left."
    both = [_turned(one, yaw) for one, yaw in zip(looks, [2.0, 30.0, -30.0, 60.0] * 2, strict=True)]
    assert not {code for code, _ in _codes(_on(both))} & {"one_view", "one_side"}


def test_views_that_could_not_be_measured_are_not_judged(looks: list[Look]) -> None:
    unknown = [_turned(one, None) for one in looks]
    assert not {code for code, _ in _codes(_on(unknown))} & {"one_view", "one_side"}


def _turned(one: Look, yaw: float | None) -> Look:
    assert one.face is not None
    return replace(one, faces=(replace(one.face, yaw_deg=yaw),))
