"""EfficientNet-Lite0 without its classifier: folds its trained weights, and writes it as ONNX for OpenCV.

The weights are kept as safetensors and the ONNX is made in memory at load, so that what lies on disk is plain
numbers. ONNX is a protobuf of a few message types; writing it takes these lines, while the onnx package
would weigh more than the network.
Source: Tan and Le 2019, arXiv:1905.11946 (the Lite variant: no squeeze-and-excite, ReLU6); the layer names
are those of the PyTorch weights by ML Illustrated, converted from Google's.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from greenroom.vision.tensors import Array

SIDE_PX = 224
WIDTH = 1280
_EPS = 1e-3  # as TensorFlow trained it

# expansion, channels, repeats, kernel, stride of each stage
_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution with its batch norm folded in."""

    name: str
    norm: str
    stride: int = 1
    depthwise: bool = False
    rectified: bool = True
    residual: bool = False
    """Adds what went into the block that ends here."""
    starts_block: bool = False


def layers() -> list[Layer]:
    """The network from its first convolution to the last, in order."""
    found = [Layer(name="_conv_stem", norm="_bn0", stride=2)]
    channels, number = 32, 0
    for expansion, width, repeats, _, stride in _STAGES:
        for repeat in range(repeats):
            at, step = f"_blocks.{number}", stride if repeat == 0 else 1
            if expansion > 1:
                found.append(Layer(name=f"{at}._expand_conv", norm=f"{at}._bn0", starts_block=True))
            found += [
                Layer(
                    name=f"{at}._depthwise_conv",
                    norm=f"{at}._bn1",
                    stride=step,
                    depthwise=True,
                    starts_block=expansion == 1,
                ),
                Layer(
                    name=f"{at}._project_conv",
                    norm=f"{at}._bn2",
                    rectified=False,
                    residual=step == 1 and channels == width,
                ),
            ]
            channels, number = width, number + 1
    return [*found, Layer(name="_conv_head", norm="_bn1")]


def folded(state: Mapping[str, Array]) -> dict[str, Array]:
    """Convolution weights and biases with the batch norms folded in, as they are kept on disk."""
    out: dict[str, Array] = {}
    for layer in layers():
        scale = state[f"{layer.norm}.weight"] / np.sqrt(state[f"{layer.norm}.running_var"] + _EPS)
        out[f"{layer.name}.weight"] = state[f"{layer.name}.weight"] * scale[:, None, None, None]
        out[f"{layer.name}.bias"] = state[f"{layer.norm}.bias"] - state[f"{layer.norm}.running_mean"] * scale
    return out


def onnx(weights: Mapping[str, Array]) -> bytes:
    """The network as an ONNX model: (1, 3, 224, 224) normalised RGB to (1, 1280, 1, 1)."""
    nodes, initial = [], []
    side = SIDE_PX
    current = entry = "picture"
    for layer in layers():
        if layer.starts_block:
            entry = current
        weight, bias = weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"]
        initial += [_tensor(f"{layer.name}.w", weight), _tensor(f"{layer.name}.b", bias)]
        kernel = weight.shape[-1]
        # TensorFlow's "same": an odd pixel of padding goes to the lower right.
        padding = max((-(-side // layer.stride) - 1) * layer.stride + kernel - side, 0)
        first, side = padding // 2, -(-side // layer.stride)
        nodes.append(
            _node(
                "Conv",
                [current, f"{layer.name}.w", f"{layer.name}.b"],
                layer.name,
                kernel_shape=[kernel, kernel],
                strides=[layer.stride, layer.stride],
                pads=[first, first, padding - first, padding - first],
                group=weight.shape[0] if layer.depthwise else 1,
            )
        )
        current = layer.name
        if layer.rectified:
            nodes.append(_node("Clip", [current], f"{layer.name}.act", min=0.0, max=6.0))
            current = f"{layer.name}.act"
        if layer.residual:
            nodes.append(_node("Add", [current, entry], f"{layer.name}.sum"))
            current = f"{layer.name}.sum"
    nodes.append(_node("GlobalAveragePool", [current], "embedding"))
    graph = b"".join(_part(1, node) for node in nodes) + _part(2, b"efficientnet-lite0")
    graph += b"".join(_part(5, tensor) for tensor in initial)
    graph += _part(11, _value("picture", (1, 3, SIDE_PX, SIDE_PX)))
    graph += _part(12, _value("embedding", (1, WIDTH, 1, 1)))
    # Opset 10: Clip still has its bounds as attributes.
    return _number(1, 5) + _part(7, graph) + _part(8, _part(1, b"") + _number(2, 10))


# Protobuf: a field is its number and wire type in one varint, then a varint, or a length and bytes.
def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _tensor(name: str, values: Array) -> bytes:
    dims = b"".join(_number(1, size) for size in values.shape)
    return (
        dims
        + _number(2, 1)
        + _part(8, name.encode())
        + _part(9, np.ascontiguousarray(values, "<f4").tobytes())
    )


def _node(operation: str, inputs: list[str], output: str, **attributes: float | int | list[int]) -> bytes:
    parts = [_part(1, name.encode()) for name in inputs]
    parts += [_part(2, output.encode()), _part(3, output.encode()), _part(4, operation.encode())]
    return b"".join([*parts, *(_part(5, _attribute(name, value)) for name, value in attributes.items())])


def _attribute(name: str, value: float | int | list[int]) -> bytes:
    head = _part(1, name.encode())
    if isinstance(value, float):
        return head + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, int):
        return head + _number(3, value) + _number(20, 2)
    return head + b"".join(_number(8, item) for item in value) + _number(20, 7)


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_part(1, _number(1, size)) for size in shape)
    return _part(1, name.encode()) + _part(2, _part(1, _number(1, 1) + _part(2, dims)))
