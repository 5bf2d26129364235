"""What a picture or a head looks like, as 1280 numbers: for drawn and other characters, places and objects.

A general image embedding, approximate for people: two photos of one person can stand further apart than it
thinks.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from greenroom.vision import models, network, tensors
from greenroom.vision.faces import Pixels
from greenroom.vision.tensors import Array

NAME = "efficientnet-lite0"
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)


def embed(picture: Pixels) -> Array | None:
    """(1280,) float32; None when the weights are not there."""
    if not models.is_ready(NAME):
        return None
    side = network.SIDE_PX
    shrinks = min(picture.shape[:2]) > side
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    scaled = (small.astype(np.float32) / 255 - _MEAN) / _SPREAD
    net = _net()
    net.setInput(scaled.transpose(2, 0, 1)[None])
    return np.asarray(net.forward(), np.float32).reshape(-1)


@cache
def _net() -> cv2.dnn.Net:
    weights = tensors.parse(models.read(NAME))
    return cv2.dnn.readNetFromONNX(np.frombuffer(network.onnx(weights), np.uint8))
