from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from greenroom.vision import models
from greenroom.worker import subjects


def test_a_picture_without_a_face_stays_as_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "a.png")
    manifest = {"pictures": [{"file": "a.png", "sha256": "", "caption": "a"}]}
    assert subjects.with_boxes(manifest, tmp_path) == manifest


def test_a_head_gets_a_box_and_a_box_of_ones_own_is_kept(juno: Path, tmp_path: Path) -> None:
    if not models.is_ready("face-full-range"):
        pytest.skip("the face detector is not here")
    files = sorted(juno.glob("*.png"))
    for file in files:
        shutil.copy(file, tmp_path / file.name)
    own = [0.0, 0.0, 1.0, 0.5]
    lines = [{"file": file.name} for file in files]
    found = subjects.with_boxes({"pictures": [{**lines[0], "box": own}, *lines[1:]]}, tmp_path)["pictures"]
    assert found[0]["box"] == own
    boxes = [line["box"] for line in found[1:] if "box" in line]
    assert len(boxes) >= len(files) // 2
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
