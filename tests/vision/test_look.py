"""Faces, measures and likeness, on the sample character: 14 pictures of Juno, drawn from the front."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from greenroom.vision import faces, likeness, look, measures
from greenroom.vision.faces import Face, Pixels
from greenroom.vision.look import Look


@pytest.fixture(scope="module")
def pictures(juno: Path) -> list[Pixels]:
    return [look.read(juno / f"{number:02d}.png") for number in range(1, 7)]


@pytest.fixture(scope="module")
def looks(pictures: list[Pixels]) -> list[Look]:
    return [look.at(picture) for picture in pictures]


def test_every_picture_of_a_drawn_character_has_her_face(looks: list[Look]) -> None:
    assert all(one.face for one in looks)
    views = {one.face.view for one in looks if one.face}
    assert views <= {"front", None}
    assert "front" in views
    assert all(0.15 < one.face.height < 0.6 for one in looks if one.face)


def test_a_face_stays_in_its_place_when_the_picture_is_mirrored(pictures: list[Pixels]) -> None:
    found, mirrored = faces.find(pictures[0]), faces.find(np.ascontiguousarray(pictures[0][:, ::-1]))
    assert found
    assert mirrored
    assert found[0].left == pytest.approx(1 - mirrored[0].right, abs=0.1)
    assert found[0].top == pytest.approx(mirrored[0].top, abs=0.1)


def test_a_face_is_found_in_wide_and_tall_pictures(pictures: list[Pixels]) -> None:
    wide = cv2.copyMakeBorder(pictures[0], 0, 0, 150, 90, cv2.BORDER_REPLICATE)
    (face,) = faces.find(np.asarray(wide, np.uint8)) or []
    (before,) = faces.find(pictures[0]) or []
    expected = (before.left * 256 + 150) / wide.shape[1]
    assert face.left == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("yaw", "view"),
    [
        (3, "front"),
        (30, "three-quarter right"),
        (-30, "three-quarter left"),
        (70, "profile right"),
        (None, None),
    ],
)
def test_views_have_a_side(yaw: float | None, view: str | None) -> None:
    face = Face(left=0, top=0, right=1, bottom=1, score=1, points=(), yaw_deg=yaw)
    assert face.view == view


def test_a_blank_picture_has_no_face_no_edges_and_no_error() -> None:
    blank = look.at(np.full((90, 120, 3), 128, np.uint8))
    assert blank.faces == ()
    assert blank.edge_coarse_px is None
    assert blank.is_plain_ground


def test_blur_widens_edges_and_nothing_else_does(pictures: list[Pixels]) -> None:
    for picture in pictures[:3]:
        sharp = measures.edge_width_px(picture)
        darker = measures.edge_width_px(np.asarray(picture * 0.7, np.uint8))
        blurred = measures.edge_width_px(np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8))
        assert sharp is not None
        assert darker is not None
        assert blurred is not None
        assert sharp < 2.5
        assert blurred > 3
        assert darker == pytest.approx(sharp, abs=0.4)


def test_a_blurred_ground_behind_a_sharp_figure_is_sharp() -> None:
    ground = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    image = Image.fromarray(np.asarray(cv2.GaussianBlur(ground, (0, 0), 4), np.uint8))
    pen = ImageDraw.Draw(image)
    for at in range(60, 200, 20):
        pen.rectangle((at, 60, at + 9, 200), fill="black")
    width = measures.edge_width_px(np.asarray(image))
    assert width is not None
    assert width < 2.5


def test_light_is_measured_in_lightness() -> None:
    half = np.zeros((40, 40, 3), np.uint8)
    half[:, 20:] = 255
    light = measures.light(half)
    assert (light.darkest, light.brightest) == (pytest.approx(0, abs=0.1), pytest.approx(100, abs=0.1))
    assert light.clipped == 1
    assert measures.light(np.full((9, 9, 3), (255, 0, 0), np.uint8)).chroma > 80


def test_a_copy_is_near_and_another_scene_is_far(pictures: list[Pixels]) -> None:
    first = measures.fingerprint(pictures[0])
    crop = cv2.resize(pictures[0][4:-4, 4:-4], (300, 300), interpolation=cv2.INTER_AREA)
    assert measures.difference(first, measures.fingerprint(np.asarray(crop, np.uint8))) < 6.6
    assert all(measures.difference(first, measures.fingerprint(other)) > 6.6 for other in pictures[1:])


def test_a_stranger_stands_apart(looks: list[Look]) -> None:
    recoloured = np.asarray(Image.new("RGB", (256, 256), (10, 120, 40)))
    found = likeness.apart([*looks, look.at(recoloured)])
    assert found is not None
    assert found[-1].spreads > 4.5 > max(one.spreads for one in found[:-1])


def test_a_look_survives_json(looks: list[Look]) -> None:
    back = Look.from_json(json.loads(json.dumps(looks[0].as_json())))
    assert back.faces == looks[0].faces
    assert back.light == looks[0].light
    assert back.hues == pytest.approx(looks[0].hues, abs=1e-3)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Look.from_json({"faces": None})
