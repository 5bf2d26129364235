"""Writes a diffusers folder of Stable Diffusion as the single file of the original repositories.

The other way round than the code under test, after kohya's convert_diffusers_to_original_stable_diffusion.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from greenroom.ml import safe

UNET = "model.diffusion_model."
OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write(source: Path, file: Path, *, extra: dict[str, Tensor] | None = None) -> Path:
    """The folder's networks in one file; `extra` tensors stand beside them."""
    unet = network(source, "unet")
    # An upsampler stands behind the attention of its block, where the block has one.
    attended = {
        int(name.split(".")[1]) for name in unet if name.startswith("up_blocks.") and ".attentions." in name
    }
    tensors = {UNET + unet_name(name, attended): each for name, each in unet.items()}
    for name, each in network(source, "vae").items():
        renamed = vae_name(name)
        is_matrix = "mid.attn_1." in renamed and each.ndim == 2
        tensors[f"first_stage_model.{renamed}"] = each[:, :, None, None] if is_matrix else each
    is_xl = (source / "text_encoder_2").is_dir()
    start = "conditioner.embedders.0.transformer." if is_xl else "cond_stage_model.transformer."
    for name, each in network(source, "text_encoder").items():
        tensors[f"{start}text_model.{name.removeprefix('text_model.')}"] = each
    if is_xl:
        tensors |= open_clip(network(source, "text_encoder_2"))
    safe.save(file, {**tensors, **(extra or {})}, {"format": "pt"})
    return file


def network(source: Path, name: str) -> dict[str, Tensor]:
    (file,) = (source / name).glob("*.safetensors")
    return load_file(file)


def unet_name(name: str, attended: set[int], layers: int = 1) -> str:
    """down_blocks.1.resnets.0.conv1.weight -> input_blocks.3.0.in_layers.2.weight, for blocks of `layers` layers."""
    stem, _, kind = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    row, *rest = name.split(".")
    if row == "mid_block":
        part, number, *inner = rest
        place = f"middle_block.{'1' if part == 'attentions' else 2 * int(number)}"
        return f"{place}.{inner_name(part, inner)}"
    block, part, number, *inner = int(rest[0]), *rest[1:]
    if row == "down_blocks":
        if part == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.op.{inner[-1]}"
        place = f"input_blocks.{1 + block * (layers + 1) + int(number)}.{int(part == 'attentions')}"
    else:
        if part == "upsamplers":
            after = 2 if block in attended else 1
            return f"output_blocks.{block * (layers + 1) + layers}.{after}.conv.{inner[-1]}"
        place = f"output_blocks.{block * (layers + 1) + int(number)}.{int(part == 'attentions')}"
    return f"{place}.{inner_name(part, inner)}"


def inner_name(part: str, inner: list[str]) -> str:
    name = ".".join(inner)
    if part != "resnets":
        return name
    stem, _, kind = name.rpartition(".")
    return f"{RESNET[stem]}.{kind}"


def vae_name(name: str, blocks: int = 4) -> str:
    """As the first-stage model of the original calls it."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    for number in range(blocks):
        name = name.replace(f"down_blocks.{number}.resnets", f"down.{number}.block")
        name = name.replace(f"down_blocks.{number}.downsamplers.0", f"down.{number}.downsample")
        name = name.replace(f"up_blocks.{number}.resnets", f"up.{blocks - 1 - number}.block")
        name = name.replace(f"up_blocks.{number}.upsamplers.0", f"up.{blocks - 1 - number}.upsample")
    for number in (0, 1):
        name = name.replace(f"mid_block.resnets.{number}", f"mid.block_{number + 1}")
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    if ".attn_1." in name:
        for ours, theirs in VAE_ATTENTION.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def open_clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The second encoder of SDXL, which OpenCLIP wrote: one matrix for q, k and v."""
    start = "conditioner.embedders.1.model."
    found: dict[str, Tensor] = {start + "logit_scale": torch.tensor(4.6)}
    renamed = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for name, each in weights.items():
        short = name.removeprefix("text_model.")
        if short == "text_projection.weight":
            found[start + "text_projection"] = each.T.contiguous()
        elif short.startswith("embeddings.token"):
            found[start + "token_embedding.weight"] = each
        elif short.startswith("embeddings.position"):
            found[start + "positional_embedding"] = each
        elif short.startswith("final_layer_norm"):
            found[start + short.replace("final_layer_norm", "ln_final")] = each
        elif ".self_attn." not in short:
            for ours, theirs in renamed.items():
                short = short.replace(ours, theirs)
            found[start + short.replace("encoder.layers", "transformer.resblocks")] = each
        elif ".out_proj." in short or ".q_proj." in short:
            place = short.replace("encoder.layers", "transformer.resblocks").replace("self_attn", "attn")
            if ".q_proj." in short:
                place = place.replace("q_proj.", "in_proj_")
                parts = [name.replace("q_proj", one) for one in ("q_proj", "k_proj", "v_proj")]
                found[start + place] = torch.cat([weights[part] for part in parts])
            else:
                found[start + place] = each
    return found
