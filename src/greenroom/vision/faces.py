"""Finds faces on photos and drawings: box, six points, which way the head is turned, how the mouth is held.

Two detectors, the far one first, then a mesh of 468 points on each face. On one in four drawings the
mesh is no good; it says so itself, and then view and expression are None.
Source: BlazeFace, arXiv:1907.05047, and Face Mesh, arXiv:1907.06724; the views were measured on 60 renders with
known angles: 4 degrees of error up to 40 degrees, beyond that it reads too small (42 for 60).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from greenroom.vision import models
from greenroom.vision.tensors import Array

Pixels = npt.NDArray[np.uint8]  # (H, W, 3) RGB

# NOTE: two threads are ten times slower than one when the machine is busy, and a web server has others to do.
cv2.setNumThreads(1)

FULL_SCORE = 0.5
SHORT_SCORE = 0.4
_OVERLAP = 0.3
_MESH_TRUST = 0.5
_PITCH_BIAS_DEG = 8.0
FRONT_DEG = 18.0
PROFILE_DEG = 45.0


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face; lengths are shares of the picture's width and height, so they hold at every size."""

    left: float
    top: float
    right: float
    bottom: float
    score: float
    points: tuple[tuple[float, float], ...]
    """Left eye, right eye, tip of the nose, mouth, left ear, right ear, as the viewer sees them."""
    yaw_deg: float | None = None
    """Positive when it faces the viewer's right; None when the mesh does not trust itself."""
    pitch_deg: float | None = None
    """Positive when it looks up."""
    roll_deg: float = 0.0
    smile: float | None = None
    """Width of the mouth against the distance of the eyes."""
    mouth_open: float | None = None
    """Gap of the lips against the distance of the eyes."""
    eyes_open: float | None = None
    """Height of the eyes against their width."""

    @property
    def height(self) -> float:
        """Share of the picture's height, from brow to chin."""
        return self.bottom - self.top

    @property
    def view(self) -> str | None:
        """front, three-quarter left, three-quarter right, profile left or profile right; None if unknown."""
        if self.yaw_deg is None:
            return None
        if abs(self.yaw_deg) < FRONT_DEG:
            return "front"
        side = "right" if self.yaw_deg > 0 else "left"
        return f"{'profile' if abs(self.yaw_deg) >= PROFILE_DEG else 'three-quarter'} {side}"


def find(picture: Pixels, *, with_mesh: bool = True) -> list[Face] | None:
    """Every face, the largest first; None when the weights are not there.

    with_mesh: also which way each is turned and how it holds its mouth.
    """
    if not all(models.is_ready(name) for name in ("face-full-range", "face-short-range")):
        return None
    found = _detect(picture, "face-full-range", FULL_SCORE) or _detect(
        picture, "face-short-range", SHORT_SCORE
    )
    if with_mesh and models.is_ready("face-mesh"):
        found = [_with_mesh(picture, face) for face in found]
    return sorted(found, key=lambda face: face.height, reverse=True)


def head_crop(picture: Pixels, face: Face, scale: float = 1.7) -> Pixels:
    """A square around the head, hair included; cut at the picture's border."""
    high, wide = picture.shape[:2]
    x, y = (face.left + face.right) / 2 * wide, (face.top + face.bottom) / 2 * high
    # The box ends at the brows, so the head's middle stands a little higher.
    y -= 0.12 * face.height * high
    half = max((face.right - face.left) * wide, face.height * high) * scale / 2
    x0, x1 = max(int(x - half), 0), min(math.ceil(x + half), wide)
    y0, y1 = max(int(y - half), 0), min(math.ceil(y + half), high)
    return picture[y0:y1, x0:x1]


def face_crop(picture: Pixels, face: Face) -> Pixels:
    """The face from brow to chin, a little inside its box."""
    high, wide = picture.shape[:2]
    x0, x1 = round(face.left * wide), round(face.right * wide)
    y0, y1 = round(face.top * high), round(face.bottom * high)
    inset = (x1 - x0) // 12
    return picture[y0 : max(y1, y0 + 2), x0 + inset : max(x1 - inset, x0 + inset + 2)]


@cache
def _net(name: str) -> cv2.dnn.Net:
    return cv2.dnn.readNetFromTFLite(np.frombuffer(models.read(name), np.uint8))


@dataclass(frozen=True, kw_only=True)
class _Detector:
    side: int
    stride_repeats: tuple[tuple[int, int], ...]
    outputs: tuple[str, str]


_DETECTORS = {
    "face-full-range": _Detector(
        side=192,
        stride_repeats=((4, 1),),
        outputs=("reshaped_regressor_face_4", "reshaped_classifier_face_4"),
    ),
    "face-short-range": _Detector(
        side=128, stride_repeats=((8, 2), (16, 6)), outputs=("regressors", "classificators")
    ),
}


def _detect(picture: Pixels, name: str, least: float) -> list[Face]:
    detector = _DETECTORS[name]
    high, wide = picture.shape[:2]
    square = max(high, wide)
    side = detector.side
    scale = side / square
    small = cv2.resize(
        picture, (max(round(wide * scale), 1), max(round(high * scale), 1)), interpolation=cv2.INTER_AREA
    )
    left, top = (side - small.shape[1]) // 2, (side - small.shape[0]) // 2
    canvas = np.zeros((side, side, 3), np.float32)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    net = _net(name)
    net.setInput((canvas / 127.5 - 1).transpose(2, 0, 1)[None])
    boxes, scores = net.forward(list(detector.outputs))
    flat = np.asarray(boxes, np.float32).reshape(-1, 8, 2) / side
    score = 1 / (1 + np.exp(-np.clip(np.asarray(scores, np.float32).ravel(), -80, 80)))
    flat[:, [0, 2, 3, 4, 5, 6, 7]] += _anchors(name)[:, None]
    keep = np.flatnonzero(score > least)
    corners = np.concatenate([flat[:, 0] - flat[:, 1] / 2, flat[:, 1]], axis=1)
    chosen = (
        cv2.dnn.NMSBoxes(corners[keep].tolist(), score[keep].tolist(), least, _OVERLAP) if len(keep) else ()
    )
    offset = np.array([left, top], np.float32) / side
    size = np.array([small.shape[1], small.shape[0]], np.float32) / side
    found = []
    for index in keep[np.asarray(chosen, int).ravel()]:
        centre, extent = (flat[index, 0] - offset) / size, flat[index, 1] / size
        if min(extent) <= 0:
            continue
        (x0, y0), (x1, y1) = np.clip(centre - extent / 2, 0, 1), np.clip(centre + extent / 2, 0, 1)
        points = tuple((float(x), float(y)) for x, y in (flat[index, 2:] - offset) / size)
        found.append(
            Face(
                left=float(x0),
                top=float(y0),
                right=float(x1),
                bottom=float(y1),
                score=float(score[index]),
                points=points,
                roll_deg=_roll(points, wide, high),
            )
        )
    return found


def _overlap(one: Face, other: Face) -> float:
    """Shared area over the smaller one's: a face inside a face is the same face."""
    wide = min(one.right, other.right) - max(one.left, other.left)
    high = min(one.bottom, other.bottom) - max(one.top, other.top)
    smaller = min((face.right - face.left) * face.height for face in (one, other))
    return max(wide, 0.0) * max(high, 0.0) / max(smaller, 1e-9)


@cache
def _anchors(name: str) -> Array:
    detector = _DETECTORS[name]
    rows = []
    for stride, repeats in detector.stride_repeats:
        cells = detector.side // stride
        ys, xs = np.mgrid[0:cells, 0:cells].astype(np.float32)
        centres = np.stack([(xs.ravel() + 0.5) / cells, (ys.ravel() + 0.5) / cells], axis=1)
        rows.append(np.repeat(centres, repeats, axis=0))
    return np.concatenate(rows)


def _roll(points: Sequence[tuple[float, float]], wide: int, high: int) -> float:
    (ax, ay), (bx, by) = points[0], points[1]
    return math.degrees(math.atan2((by - ay) * high, (bx - ax) * wide))


def _with_mesh(picture: Pixels, face: Face) -> Face:
    high, wide = picture.shape[:2]
    centre = ((face.left + face.right) / 2 * wide, (face.top + face.bottom) / 2 * high)
    extent = max((face.right - face.left) * wide, face.height * high) * 1.5
    turn = cv2.getRotationMatrix2D(centre, face.roll_deg, 192 / extent)
    turn[:, 2] += 96 - np.array(centre)
    crop = cv2.warpAffine(picture, turn, (192, 192), flags=cv2.INTER_AREA).astype(np.float32) / 255
    net = _net("face-mesh")
    net.setInput(crop.transpose(2, 0, 1)[None])
    mesh, flag = net.forward(["conv2d_20", "conv2d_30"])
    if 1 / (1 + math.exp(-float(np.asarray(flag).ravel()[0]))) < _MESH_TRUST:
        return face
    place = np.asarray(mesh, np.float32).reshape(468, 3)
    yaw, pitch = _angles(place)
    eyes = _gap(place, 33, 263)
    changed = {
        "yaw_deg": yaw,
        "pitch_deg": pitch - _PITCH_BIAS_DEG,
        "smile": _gap(place, 61, 291) / eyes,
        "mouth_open": _gap(place, 13, 14) / eyes,
        "eyes_open": (
            _gap(place, 159, 145) / _gap(place, 33, 133) + _gap(place, 386, 374) / _gap(place, 263, 362)
        )
        / 2,
    }
    return Face(**{**face.__dict__, **changed})


def _angles(place: Array) -> tuple[float, float]:
    """Yaw and pitch in degrees from the axes ear to ear and chin to brow; z runs away from the viewer."""
    across = place[454] - place[234]
    across = across / np.linalg.norm(across)
    up = place[10] - place[152]
    up = up - across * float(up @ across)
    up = up / np.linalg.norm(up)
    ahead = np.cross(across, up)
    yaw = math.degrees(math.atan2(float(ahead[0]), -float(ahead[2])))
    pitch = math.degrees(math.asin(float(np.clip(-ahead[1], -1, 1))))
    return yaw, pitch


def _gap(place: Array, one: int, other: int) -> float:
    return float(np.linalg.norm(place[one, :2] - place[other, :2])) + 1e-6
