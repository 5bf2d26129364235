"""Tells from the header of a single .safetensors file which base it is and what it lacks. Loads no weights.

The names are those of the original repositories (LDM, SGM, Black Forest Labs and others), as the tools that
share such files write them: one file with everything for Stable Diffusion, often the denoiser alone for the
larger families. Knows no folders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import BadBase
from greenroom.ml.header import Header, TensorEntry, read_header

DENOISER = "model.diffusion_model."
"""The prefix of the denoiser where other networks stand in the file beside it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one family looks in a single file."""

    family: str
    marks: tuple[str, ...]
    """Names of its denoiser, without prefix, that no other family has together."""
    parts: Mapping[str, str]
    """Each other network of the pipeline, and the prefix that its names have."""
    has_settings: bool = False
    """Whether its settings and tokenizers ship with Greenroom; else a diffusers folder must bring them."""


LAYOUTS = (
    Layout(
        family="sdxl",
        marks=("input_blocks.0.0.weight", "label_emb.0.0.weight"),
        parts={
            "vae": "first_stage_model.",
            "text_encoder": "conditioner.embedders.0.transformer.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        },
        has_settings=True,
    ),
    Layout(
        family="sd15",
        marks=("input_blocks.0.0.weight", "time_embed.0.weight"),
        parts={"vae": "first_stage_model.", "text_encoder": "cond_stage_model.transformer."},
        has_settings=True,
    ),
    Layout(
        family="sd3",
        marks=("joint_blocks.0.x_block.attn.qkv.weight",),
        parts={
            "vae": "first_stage_model.",
            "text_encoder": "text_encoders.clip_l.transformer.",
            "text_encoder_2": "text_encoders.clip_g.transformer.",
            "text_encoder_3": "text_encoders.t5xxl.transformer.",
        },
    ),
    Layout(
        family="flux2_klein",
        marks=("double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"),
        parts={},
    ),
    Layout(
        family="flux1", marks=("double_blocks.0.img_attn.qkv.weight", "vector_in.in_layer.weight"), parts={}
    ),
    Layout(
        family="zimage",
        marks=(
            "layers.0.attention.qkv.weight",
            "layers.0.adaLN_modulation.0.weight",
            "cap_embedder.0.weight",
        ),
        parts={},
    ),
    Layout(
        family="qwen_image",
        marks=("transformer_blocks.0.img_mlp.net.0.proj.weight", "txt_norm.weight"),
        parts={},
    ),
)
"""Asked in this order: what SDXL has, SD 1.5 has in part."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a file is."""

    layout: Layout
    dtype: str
    """The number type of most of its denoiser, as the header spells it."""
    missing: tuple[str, ...]
    """The networks that a pipeline needs and the file does not have."""
    is_v_prediction: bool


def inspect(path: Path) -> Found:
    """Read the header and say what the file is.

    Raises UnsafeFile for what is no sound safetensors file, BadBase for a sound one that is no base.
    """
    header = read_header(path)
    names = header.tensors
    prefix = DENOISER if any(name.startswith(DENOISER) for name in names) else ""
    layout = next((each for each in LAYOUTS if all(prefix + mark in names for mark in each.marks)), None)
    if layout is None:
        raise BadBase(f"{path.name} is not a base that can be added: {_looks_like(header)}.")
    _check_variant(path.name, layout, names, prefix)
    _check_blocks(path.name, names, prefix)
    bulk: dict[str, int] = {}
    for name, entry in names.items():
        if name.startswith(prefix):
            bulk[entry.dtype] = bulk.get(entry.dtype, 0) + entry.elements
    missing = [
        network
        for network, start in layout.parts.items()
        if not any(name.startswith(start) for name in names)
    ]
    return Found(
        layout=layout,
        dtype=max(bulk, key=lambda key: bulk[key]),
        missing=tuple(missing),
        # Two empty tensors by which trainers of v-prediction bases mark their files.
        is_v_prediction="v_pred" in names,
    )


def _check_variant(file: str, layout: Layout, names: Mapping[str, TensorEntry], prefix: str) -> None:
    """Raise BadBase for relatives of a family that it cannot stand for."""
    if layout.family not in {"sd15", "sdxl"}:
        return
    inputs = names[f"{prefix}input_blocks.0.0.weight"].shape[1:2]
    if inputs != (4,):
        what = "an inpainting" if inputs == (9,) else "an image-to-image"
        raise BadBase(f"{file} is {what} model ({inputs[0]} input channels). Use the plain one of its kind.")
    if any(name.startswith("cond_stage_model.model.") for name in names):
        raise BadBase(f"{file} is a Stable Diffusion 2, whose family is not supported. Use another base.")
    if layout.family == "sdxl" and any(name.startswith("conditioner.embedders.0.model.") for name in names):
        raise BadBase(f"{file} is the SDXL refiner, which is not trained by itself. Use the SDXL base.")


def _check_blocks(file: str, names: Mapping[str, TensorEntry], prefix: str) -> None:
    """Raise BadBase when a numbered row of blocks has a hole: a half file, as a broken merge leaves it."""
    rows: dict[str, set[int]] = {}
    for name in names:
        if not name.startswith(prefix):
            continue
        for match in re.finditer(r"\.(\d+)\.", name):
            rows.setdefault(name[: match.start()], set()).add(int(match[1]))
    for row, found in sorted(rows.items()):
        # Only whole blocks count from 0 without a hole; inside of them, numbers are left out by design.
        is_blocks = "." not in row.removeprefix(prefix) and row.endswith(("blocks", "layers", "refiner"))
        lacking = sorted(set(range(max(found) + 1)) - found)
        if is_blocks and lacking:
            raise BadBase(
                f"{file} is half a base: it has {row}.{max(found)} but not {row}.{lacking[0]}. Fetch it again."
            )


def _looks_like(header: Header) -> str:
    names = list(header.tensors)

    def has(*parts: str) -> bool:
        return any(part in name for name in names for part in parts)

    if not names:
        return "it holds no weights"
    if has(".lora_down.", ".lora_A.", ".lora_up.", ".hada_w1_a"):
        return "it is a LoRA, which is added to a base and is none itself"
    if has("first_stage_model.", "cond_stage_model.", "conditioner.embedders."):
        return f"it lacks the denoiser ({DENOISER}…), so it is half a base. Fetch it again"
    if ("conv_in.weight" in names and has("down_blocks.")) or has("transformer_blocks.0.attn.to_q"):
        return "it is one network of a diffusers folder. Name the folder that has model_index.json"
    if has("encoder.conv_in.weight", "decoder.conv_in.weight"):
        return "it is an autoencoder alone"
    if has("text_model.encoder.layers", "encoder.block.0.layer"):
        return "it is a text encoder alone"
    if has("control_model.", "controlnet_"):
        return "it is a ControlNet"
    return f"no supported family has weights called {names[0]!r}"
