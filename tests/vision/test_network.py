from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from greenroom.vision import embedding, models, network, tensors


def test_the_onnx_computes_what_the_weights_say() -> None:
    weights = tensors.parse(models.read(embedding.NAME))
    picture = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(network.onnx(weights), np.uint8))
    net.setInput(picture)
    now, entry = torch.from_numpy(picture), torch.empty(0)
    for layer in network.layers():
        if layer.starts_block:
            entry = now
        weight, bias = (torch.from_numpy(weights[f"{layer.name}.{part}"]) for part in ("weight", "bias"))
        kernel, side = weight.shape[-1], now.shape[-1]
        padding = max((-(-side // layer.stride) - 1) * layer.stride + kernel - side, 0)
        low, high = padding // 2, padding - padding // 2
        groups = weight.shape[0] if layer.depthwise else 1
        now = F.conv2d(F.pad(now, (low, high, low, high)), weight, bias, layer.stride, groups=groups)
        if layer.rectified:
            now = F.relu6(now)
        if layer.residual:
            now = now + entry
    truth = now.mean((2, 3)).numpy().ravel()
    assert np.abs(net.forward().ravel() - truth).max() < 1e-3 * np.abs(truth).max()


def test_tensors_come_back_as_half_precision(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    tensors.write(file, {"b": np.arange(6.0).reshape(2, 3), "a": np.float32([0.1])}, metadata={"x": "y"})
    back = tensors.read(file)
    assert back["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back["a"] == pytest.approx(0.1, abs=1e-4)
    assert back["a"].dtype == np.float32


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 400]}}, "offsets"),
        ({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}, "offsets"),
        ({"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, "I64"),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(header: dict[str, object], why: str) -> None:
    head = json.dumps(header).encode()
    with pytest.raises(ValueError, match=why):
        tensors.parse(struct.pack("<Q", len(head)) + head + b"\0" * 8)
    with pytest.raises(ValueError, match="longer"):
        tensors.parse(struct.pack("<Q", 1 << 40) + head)
