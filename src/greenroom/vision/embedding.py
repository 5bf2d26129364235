"""What a picture or a head looks like, as 1280 numbers: for drawn and other characters, places and objects.

A general image embedding, approximate for people: two photos of one person can stand further apart than it
thinks.

    python -m greenroom.vision.embedding PICTURES.npy OUT.npy     (N, H, W, 3) uint8 -> (N, 1280)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from greenroom.vision import models, network, tensors
from greenroom.vision.faces import Pixels
from greenroom.vision.tensors import Array

NAME = "efficientnet-lite0"
TOGETHER = 8
"""Pictures in one forward; more gain nothing and hold more memory."""
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)


def embed(picture: Pixels) -> Array | None:
    """(1280,) float32; None when the weights are not there."""
    found = embed_all([picture])
    return None if found is None else found[0]


def embed_all(pictures: Sequence[Pixels]) -> Array | None:
    """(N, 1280) float32; None when the weights are not there. Several at once take a quarter less time each."""
    if not models.is_ready(NAME):
        return None
    net = _net()
    rows = [np.zeros((0, network.WIDTH), np.float32)]
    for start in range(0, len(pictures), TOGETHER):
        net.setInput(np.stack([_scaled(picture) for picture in pictures[start : start + TOGETHER]]))
        rows.append(np.asarray(net.forward(), np.float32).reshape(-1, network.WIDTH))
    return np.concatenate(rows)


def _scaled(picture: Pixels) -> Array:
    side = network.SIDE_PX
    shrinks = min(picture.shape[:2]) > side
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    scaled = (small.astype(np.float32) / 255 - _MEAN) / _SPREAD
    return np.asarray(scaled.transpose(2, 0, 1), np.float32)


@cache
def _net() -> cv2.dnn.Net:
    weights = tensors.parse(models.read(NAME))
    return cv2.dnn.readNetFromONNX(np.frombuffer(network.onnx(weights), np.uint8))


def main(arguments: list[str]) -> int:
    """The command, for programs that must not import this side: 0 done, 1 the weights are missing, 2 wrong use."""
    if len(arguments) != 2:
        print("usage: python -m greenroom.vision.embedding PICTURES.npy OUT.npy", file=sys.stderr)
        return 2
    vectors = embed_all(np.load(arguments[0]))
    if vectors is None:
        print(f"The weights of {NAME} are missing. Fetch them: greenroom models fetch.", file=sys.stderr)
        return 1
    np.save(arguments[1], vectors)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
