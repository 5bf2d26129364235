"""Says where the subject of each training picture is, for a loss that looks there first. Knows faces only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from greenroom.vision import faces

HEAD = 1.6
"""A face's box is enlarged by so much, to hold hair and chin as well."""


def with_boxes(manifest: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """The manifest with a box (left, top, right, bottom, as shares) for each picture that shows a face.

    Of several faces the largest; pictures without one, and all where the detector is not there, stay as they are.
    """
    pictures = []
    for line in manifest["pictures"]:
        box = None if line.get("mask") or line.get("box") else _head(run_dir / line["file"])
        pictures.append({**line, "box": box} if box else line)
    return {**manifest, "pictures": pictures}


def _head(file: Path) -> list[float] | None:
    with Image.open(file) as opened:
        found = faces.find(np.array(opened.convert("RGB")), with_mesh=False)
    if not found:
        return None
    face = found[0]
    middle = ((face.left + face.right) / 2, (face.top + face.bottom) / 2)
    half = ((face.right - face.left) * HEAD / 2, (face.bottom - face.top) * HEAD / 2)
    corners = (middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1])
    return [round(min(max(corner, 0.0), 1.0), 4) for corner in corners]
