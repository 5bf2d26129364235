from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from greenroom.captioners import CAPTIONERS, LENGTHS, composed
from greenroom.vision import look
from greenroom.vision.faces import Face
from greenroom.vision.look import Look

FACE = Face(
    left=0.4, top=0.2, right=0.6, bottom=0.5, score=0.9, points=(), yaw_deg=30, smile=0.8, mouth_open=0.05
)


@pytest.fixture(scope="module")
def blue() -> Look:
    """A plain blue picture with nobody in it."""
    return replace(look.at(np.full((128, 128, 3), (40, 70, 200), np.uint8)), is_drawn=False)


def test_a_character_is_described_by_what_may_change(blue: Look) -> None:
    seen = replace(blue, faces=(FACE,))
    text = composed.caption(seen, kind="character")
    assert text == "upper body, three-quarter view facing right, smiling, on a blue background"
    assert composed.caption(seen, kind="character", length="short") == "upper body, on a blue background"


def test_a_style_says_how_many_are_shown(blue: Look) -> None:
    assert composed.caption(replace(blue, faces=(FACE,)), kind="style").startswith("one figure, upper body")
    two = replace(blue, faces=(FACE, FACE))
    assert composed.caption(two, kind="style") == "two figures, on a blue background"
    assert composed.caption(two, kind="character") == "with one other, on a blue background"


def test_what_was_not_measured_is_not_said(blue: Look) -> None:
    unsure = replace(FACE, yaw_deg=None, smile=None, mouth_open=None)
    assert composed.caption(replace(blue, faces=(unsure,)), kind="character") == (
        "upper body, on a blue background"
    )
    drawn = replace(blue, faces=(FACE,), is_drawn=True)
    assert "smiling" not in composed.caption(drawn, kind="character")
    busy = replace(blue, faces=None, is_plain_ground=False, light=replace(blue.light, brightest=90))
    assert composed.caption(busy, kind="character") == ""


@pytest.mark.parametrize("name", CAPTIONERS)
@pytest.mark.parametrize("kind", ["character", "style"])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_captioner_answers_one_clean_line(name: str, kind: str, length: str, blue: Look) -> None:
    text = CAPTIONERS[name](replace(blue, faces=(FACE,)), kind=kind, length=length)
    assert text == " ".join(text.split())
    assert not text.startswith(",")
    assert not text.endswith((",", " "))
