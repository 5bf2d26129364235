"""The layers of FLUX.1 and Stable Diffusion 3 as their original code names them, for the tools built on that.

There, one linear computes what several of diffusers' do: queries, keys and values, in FLUX.1's single blocks the
feed-forward part as well. A LoRA of the several becomes one of the one, with the sum of their ranks: the downs
one above the other, the ups along the diagonal. Knows no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from greenroom.errors import BadInput

_IMAGE = ("attn.to_q", "attn.to_k", "attn.to_v")
_TEXT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")

# family -> rows of blocks in diffusers -> the original's name of the row, and of each layer in a block
TABLES: dict[str, dict[str, tuple[str, dict[str, tuple[str, ...]]]]] = {
    "flux1": {
        "transformer_blocks": (
            "double_blocks",
            {
                "img_attn_qkv": _IMAGE,
                "img_attn_proj": ("attn.to_out.0",),
                "img_mlp_0": ("ff.net.0.proj",),
                "img_mlp_2": ("ff.net.2",),
                "txt_attn_qkv": _TEXT,
                "txt_attn_proj": ("attn.to_add_out",),
                "txt_mlp_0": ("ff_context.net.0.proj",),
                "txt_mlp_2": ("ff_context.net.2",),
            },
        ),
        "single_transformer_blocks": (
            "single_blocks",
            {"linear1": (*_IMAGE, "proj_mlp"), "linear2": ("proj_out",)},
        ),
    },
    "sd3": {
        "transformer_blocks": (
            "joint_blocks",
            {
                "x_block_attn_qkv": _IMAGE,
                "x_block_attn_proj": ("attn.to_out.0",),
                "x_block_attn2_qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
                "x_block_attn2_proj": ("attn2.to_out.0",),
                "x_block_mlp_fc1": ("ff.net.0.proj",),
                "x_block_mlp_fc2": ("ff.net.2",),
                "context_block_attn_qkv": _TEXT,
                "context_block_attn_proj": ("attn.to_add_out",),
                "context_block_mlp_fc1": ("ff_context.net.0.proj",),
                "context_block_mlp_fc2": ("ff_context.net.2",),
            },
        ),
    },
}
"""Source: networks/lora_flux.py and networks/lora_sd3.py of sd-scripts, which name layers by the original modules."""

_BLOCK = re.compile(r"([a-z_]+)\.(\d+)\.(.+)")


def groups(family: str, layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Original name, with underscores -> the diffusers paths that it stands for, of all blocks that `layers` has.

    Raises BadInput for a layer that the original code has no linear for.
    """
    table = TABLES[family]
    found: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        match = _BLOCK.fullmatch(layer)
        row, number, path = match.groups() if match else ("", "", "")
        original, names = table.get(row, ("", {}))
        name = next((name for name, members in names.items() if path in members), None)
        if name is None:
            raise BadInput(f"The layer {layer!r} has no name in this format. Use the diffusers file.")
        members = tuple(f"{row}.{number}.{member}" for member in names[name])
        found[f"{original}_{number}_{name}"] = members
    return found


def is_named(family: str, layer: str) -> bool:
    """Whether the original code has a linear for this layer."""
    match = _BLOCK.fullmatch(layer)
    if match is None:
        return False
    _, names = TABLES[family].get(match[1], ("", {}))
    return any(match[3] in members for members in names.values())


def join(
    pairs: Sequence[tuple[Tensor, Tensor, float] | None],
) -> tuple[Tensor, Tensor, float]:
    """One (down, up, alpha) that does what those of the members do, None for a member that is not changed.

    down: (r, in), up: (out, r). Members that are not changed must be as wide as the others.
    """
    there = [pair for pair in pairs if pair is not None]
    if len(pairs) == 1:
        return there[0]
    widths = {up.shape[0] for _, up, _ in there}
    if len(there) < len(pairs) and len(widths) > 1:
        raise BadInput("This LoRA leaves out layers that have no name of their own in this format.")
    rank = sum(down.shape[0] for down, _, _ in there)
    # Whichever is not zero: the others are measured by it.
    scale = next((alpha / down.shape[0] for down, _, alpha in there if alpha), 1.0)
    rows: list[Tensor] = []
    at = 0
    for pair in pairs:
        if pair is None:
            rows.append(there[0][1].new_zeros(next(iter(widths)), rank))
            continue
        down, up, alpha = pair
        row = up.new_zeros(up.shape[0], rank)
        own = alpha / down.shape[0]
        row[:, at : at + down.shape[0]] = up if own == scale else up * (own / scale)
        rows.append(row)
        at += down.shape[0]
    return torch.cat([down for down, _, _ in there]), torch.cat(rows), scale * rank


def part(down: Tensor, up: Tensor, alpha: float, widths: Sequence[int]) -> list[tuple[Tensor, Tensor, float]]:
    """The members' (down, up, alpha) of a joint one, in order; small ones again where `join` made it."""
    if sum(widths) != up.shape[0]:
        raise BadInput(f"A layer of this LoRA is {up.shape[0]} wide, but this base's is {sum(widths)}.")
    ups = list(torch.split(up, list(widths)))
    count = len(widths)
    rank = down.shape[0] // count
    is_joint = down.shape[0] % count == 0 and all(
        not each[:, : index * rank].any() and not each[:, (index + 1) * rank :].any()
        for index, each in enumerate(ups)
    )
    if not is_joint or count == 1:
        return [(down, each.contiguous(), alpha) for each in ups]
    return [
        (
            down[index * rank : (index + 1) * rank].contiguous(),
            each[:, index * rank : (index + 1) * rank].contiguous(),
            alpha / count,
        )
        for index, each in enumerate(ups)
    ]
