"""FLUX.1 and SD 3 in kohya's format: the original code's layers, joint where it joins them, doing the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from test_big_families import full_size, names, numbered, of_full_size
from tiny_actors import attach_trained, request, train_config
from torch import Tensor

from greenroom.errors import BadInput
from greenroom.ml import families, key_formats, native_names, safe
from greenroom.ml.config import LoraUse
from greenroom.ml.generate import draw
from greenroom.ml.key_formats import DOWN, UP, Lora
from greenroom.ml.warm import WarmBase

CPU = torch.device("cpu")
KINDS = ("lora_down.weight", "lora_up.weight", "alpha")


def under(start: str, count: int, layers: tuple[str, ...]) -> set[str]:
    return {f"lora_unet_{start}_{number}_{layer}" for number in range(count) for layer in layers}


def expected(family_id: str) -> set[str]:
    """The module names of sd-scripts' lora_flux.py and lora_sd3.py, without the modulations, which are not trained."""
    if family_id == "flux1":
        streams = tuple(f"{stream}_{part}" for stream in ("img", "txt") for part in (
            "attn_qkv", "attn_proj", "mlp_0", "mlp_2"))  # fmt: skip
        return under("double_blocks", 19, streams) | under("single_blocks", 38, ("linear1", "linear2"))
    parts = ("attn_qkv", "attn_proj", "mlp_fc1", "mlp_fc2")
    everywhere = under("joint_blocks", 24, tuple(f"x_block_{part}" for part in parts))
    text = under("joint_blocks", 23, tuple(f"context_block_{part}" for part in parts))
    last = {
        "lora_unet_joint_blocks_23_context_block_attn_qkv"
    }  # its keys and values are read, its output is not
    return everywhere | text | last | under("joint_blocks", 13, ("x_block_attn2_qkv", "x_block_attn2_proj"))


@pytest.mark.parametrize("family_id", ["flux1", "sd3"])
def test_the_kohya_names_are_the_published_ones(family_id: str) -> None:
    with torch.device("meta"):
        denoiser = full_size(family_id)
    tensors = key_formats.to_kohya(of_full_size(families.CARDS[family_id], denoiser), family_id)
    assert set(tensors) == names(expected(family_id), KINDS)
    if family_id == "flux1":
        joint = tensors["lora_unet_single_blocks_0_linear1.lora_up.weight"]
        assert joint.shape == (3 * 3072 + 12288, 4 * 2)
    assert numbered("a", 1) == ["a.0"]


def a_lora(layers: dict[str, tuple[int, int]], alpha: float = 3.0, rank: int = 4) -> Lora:
    rng = torch.Generator().manual_seed(0)
    tensors = {}
    for layer, (wide, deep) in layers.items():
        tensors[layer + DOWN] = torch.randn(rank, deep, generator=rng)
        tensors[layer + UP] = torch.randn(wide, rank, generator=rng)
    return key_formats.from_peft(tensors, alpha)


def change(down: Tensor, up: Tensor, alpha: float) -> Tensor:
    return up @ down * (alpha / down.shape[0])


SINGLE = {
    f"single_transformer_blocks.7.{layer}": (wide, deep)
    for layer, wide, deep in (
        ("attn.to_q", 3072, 3072),
        ("attn.to_k", 3072, 3072),
        ("attn.to_v", 3072, 3072),
        ("proj_mlp", 12288, 3072),
        ("proj_out", 3072, 15360),
    )
}
DOUBLE = {
    f"transformer_blocks.3.{layer}": (wide, deep)
    for layer, wide, deep in (
        *((f"attn.{each}", 3072, 3072) for each in ("to_q", "to_k", "to_v", "to_out.0")),
        *((f"attn.{each}", 3072, 3072) for each in ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")),
        ("ff.net.0.proj", 12288, 3072),
        ("ff.net.2", 3072, 12288),
        ("ff_context.net.0.proj", 12288, 3072),
        ("ff_context.net.2", 3072, 12288),
    )
}


def test_diffusers_own_converter_undoes_flux1_with_its_alpha() -> None:
    lora = a_lora(SINGLE | DOUBLE, alpha=2.0, rank=4)
    converted = _convert_kohya_flux_lora_to_diffusers(dict(key_formats.to_kohya(lora, "flux1")))
    assert {name.removeprefix("transformer.") for name in converted} == set(lora.tensors)
    for layer in lora.layers:
        theirs = converted[f"transformer.{layer}{UP}"] @ converted[f"transformer.{layer}{DOWN}"]
        ours = change(lora.tensors[layer + DOWN], lora.tensors[layer + UP], 2.0)
        torch.testing.assert_close(theirs, ours)


def test_a_joint_layer_changes_what_its_members_change() -> None:
    lora = a_lora({"transformer_blocks.0.attn." + part: (6, 8) for part in ("to_q", "to_k", "to_v")})
    lora.alphas["transformer_blocks.0.attn.to_k"] = 1.5  # a foreign LoRA may have another alpha in each layer
    tensors = key_formats.to_kohya(lora, "sd3")
    stem = "lora_unet_joint_blocks_0_x_block_attn_qkv"
    joint = change(*(tensors[f"{stem}.{kind}"] for kind in KINDS[:2]), float(tensors[f"{stem}.alpha"]))
    apart = [
        change(lora.tensors[layer + DOWN], lora.tensors[layer + UP], lora.alphas[layer])
        for layer in ("transformer_blocks.0.attn." + part for part in ("to_q", "to_k", "to_v"))
    ]
    torch.testing.assert_close(joint, torch.cat(apart))


def test_a_member_that_is_not_trained_is_not_changed() -> None:
    lora = a_lora({f"transformer_blocks.23.attn.{part}": (6, 8) for part in ("add_k_proj", "add_v_proj")})
    tensors = key_formats.to_kohya(lora, "sd3")
    up = tensors["lora_unet_joint_blocks_23_context_block_attn_qkv.lora_up.weight"]
    assert up.shape == (18, 8)
    assert not up[:6].any()
    assert up[6:].any()


def test_a_layer_without_a_name_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'norm_out\.linear' has no name"):
        key_formats.to_kohya(a_lora({"norm_out.linear": (4, 4)}), "flux1")


@pytest.mark.parametrize("family_id", ["flux1", "sd3"])
def test_the_kohya_file_draws_what_the_diffusers_file_draws(
    family_id: str, tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    source = tiny_bases[family_id]
    base = WarmBase(family_id, source, device=CPU, dtype=torch.float32)
    config = train_config(family_id, source)
    pipe: Any = base.family.load(source, CPU, torch.float32)
    lora = key_formats.from_peft(attach_trained(family_id, pipe, config), config.alpha)
    tensors, metadata = key_formats.to_diffusers(lora, "transformer")
    safe.save(tmp_path / "lora.safetensors", tensors, metadata)
    safe.save(tmp_path / "lora-kohya.safetensors", key_formats.to_kohya(lora, family_id), {"format": "pt"})
    drawn = []
    for name in (None, "lora.safetensors", "lora-kohya.safetensors"):
        base.cast([LoraUse(file=str(tmp_path / name))] if name else [])
        drawn.append(draw(base.family, base.pipe, request(family_id, source, steps=1), lambda *_: None)[0])
    assert drawn[0].tobytes() != drawn[1].tobytes()
    assert drawn[1].tobytes() == drawn[2].tobytes()


def test_a_joint_lora_of_another_trainer_is_taken_apart() -> None:
    """A low rank over all of them, as sd-scripts trains it: each member has the same down."""
    down, up = torch.randn(2, 8), torch.randn(18, 2)
    parts = native_names.part(down, up, 1.0, [6, 6, 6])
    torch.testing.assert_close(torch.cat([change(*each) for each in parts]), change(down, up, 1.0))
    with pytest.raises(BadInput, match="18 wide, but this base's is 20"):
        native_names.part(down, up, 1.0, [6, 6, 8])


@pytest.mark.parametrize(("alpha", "expected_alpha"), [(4.0, 4.0), (2.0, 4.0), (8.0, 4.0), (3.0, 3.0)])
def test_alpha_is_folded_in_where_that_is_exact(alpha: float, expected_alpha: float) -> None:
    lora = a_lora({"layers.0.attention.to_q": (6, 8)}, alpha=alpha)
    folded = key_formats.folded(lora)
    layer = "layers.0.attention.to_q"
    assert folded.alphas[layer] == expected_alpha
    before, after = (
        change(each.tensors[layer + DOWN], each.tensors[layer + UP], each.alphas[layer])
        for each in (lora, folded)
    )
    assert torch.equal(before, after)
