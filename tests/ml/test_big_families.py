"""What is particular to a big family: its published file names, its conditions, its traps."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers
from diffusers.utils import convert_unet_state_dict_to_peft
from torch import nn

from greenroom.errors import BadBase, BaseMissing
from greenroom.ml import export, families, key_formats
from greenroom.ml.config import TrainConfig
from greenroom.ml.families import flow
from greenroom.ml.families.card import Card
from greenroom.ml.families.loading import check_folder
from greenroom.ml.key_formats import Lora

CPU = torch.device("cpu")
DOWN_UP = ("lora_A.weight", "lora_B.weight")
STREAMS = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def of_full_size(card: Card, denoiser: nn.Module, rank: int = 2) -> Lora:
    """A LoRA of the card's layers on the true network, which has no weights here."""
    shapes = {path: part for path, part in denoiser.named_modules() if isinstance(part, nn.Linear)}
    tensors = {}
    for path in card.lora_layers(shapes):
        tensors[path + key_formats.DOWN] = torch.empty(rank, shapes[path].in_features, device="meta")
        tensors[path + key_formats.UP] = torch.empty(shapes[path].out_features, rank, device="meta")
    return key_formats.from_peft(tensors, float(rank))


def names(*parts: Any) -> set[str]:
    """Every way to join one of each part with dots."""
    return {".".join(each) for each in itertools.product(*parts)}


def numbered(name: str, count: int) -> list[str]:
    return [f"{name}.{number}" for number in range(count)]


# ---- the names in the files, as the tools that read them publish them


def test_the_kohya_names_of_sdxl_are_the_published_ones() -> None:
    """Attention blocks of 2 and 10 transformer blocks, with the projections in and out that kohya trains too."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
    depths = {
        f"down_blocks_{block}_attentions_{i}": depth for block, depth in ((1, 2), (2, 10)) for i in (0, 1)
    }
    depths |= {
        f"up_blocks_{block}_attentions_{i}": depth for block, depth in ((0, 10), (1, 2)) for i in (0, 1, 2)
    }
    depths["mid_block_attentions_0"] = 10
    layers = [
        *(f"attn{a}_to_{p}" for a in (1, 2) for p in ("q", "k", "v", "out_0")),
        "ff_net_0_proj",
        "ff_net_2",
    ]
    stems = {
        f"lora_unet_{block}_transformer_blocks_{number}_{layer}"
        for block, depth in depths.items()
        for number in range(depth)
        for layer in layers
    } | {f"lora_unet_{block}_proj_{way}" for block in depths for way in ("in", "out")}
    lora = of_full_size(families.CARDS["sdxl"], unet)
    tensors = key_formats.to_kohya(lora)
    assert set(tensors) == names(stems, ("lora_down.weight", "lora_up.weight", "alpha"))
    assert len(stems) == 70 * 10 + 11 * 2

    converted, alphas = _convert_non_diffusers_lora_to_diffusers(dict(tensors))
    without_prefix = {name.removeprefix("unet."): tensor for name, tensor in converted.items()}
    assert convert_unet_state_dict_to_peft(without_prefix).keys() == lora.tensors.keys()
    assert len(alphas) == len(lora.layers)


def expected_flux1() -> set[str]:
    double = numbered("transformer_blocks", 19)
    mlps = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
    single = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out")
    return (
        names(double, ("attn",), STREAMS, DOWN_UP)
        | names(double, mlps, DOWN_UP)
        | names(numbered("single_transformer_blocks", 38), single, DOWN_UP)
    )


def expected_klein() -> set[str]:
    double = numbered("transformer_blocks", 5)
    mlps = names(("ff", "ff_context"), ("linear_in", "linear_out"))
    single = ("attn.to_qkv_mlp_proj", "attn.to_out")
    return (
        names(double, ("attn",), STREAMS, DOWN_UP)
        | names(double, mlps, DOWN_UP)
        | names(numbered("single_transformer_blocks", 20), single, DOWN_UP)
    )


def expected_zimage() -> set[str]:
    blocks = numbered("layers", 30) + numbered("noise_refiner", 2) + numbered("context_refiner", 2)
    attention = names(("attention",), ("to_q", "to_k", "to_v", "to_out.0"))
    return names(blocks, attention | names(("feed_forward",), ("w1", "w2", "w3")), DOWN_UP)


def expected_qwen_image() -> set[str]:
    mlps = names(("img_mlp", "txt_mlp"), ("net.0.proj", "net.2"))
    everywhere = names(numbered("transformer_blocks", 60), names(("attn",), STREAMS) | mlps, DOWN_UP)
    idle = ("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2")
    return everywhere - names(("transformer_blocks.59",), idle, DOWN_UP)


def expected_sd3() -> set[str]:
    """SD 3.5 medium: 24 blocks, the first 13 with a second attention, the last without a text output."""
    blocks = numbered("transformer_blocks", 24)
    mlps = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
    everywhere = names(blocks, names(("attn",), STREAMS) | set(mlps), DOWN_UP)
    second = names(blocks[:13], ("attn2",), ("to_q", "to_k", "to_v", "to_out.0"), DOWN_UP)
    absent = ("attn.add_q_proj", "attn.to_add_out", "ff_context.net.0.proj", "ff_context.net.2")
    return (everywhere | second) - names(blocks[-1:], absent, DOWN_UP)


def full_size(family_id: str) -> nn.Module:
    if family_id == "flux1":
        return FluxTransformer2DModel(guidance_embeds=True)
    if family_id == "flux2_klein":
        return Flux2Transformer2DModel(
            num_layers=5,
            num_single_layers=20,
            num_attention_heads=24,
            joint_attention_dim=7680,
            guidance_embeds=False,
        )
    if family_id == "zimage":
        return ZImageTransformer2DModel()
    if family_id == "qwen_image":
        return QwenImageTransformer2DModel()
    return SD3Transformer2DModel(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=8,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    )


@pytest.mark.parametrize(
    ("family_id", "expected"),
    [
        ("flux1", expected_flux1()),
        ("flux2_klein", expected_klein()),
        ("zimage", expected_zimage()),
        ("qwen_image", expected_qwen_image()),
        ("sd3", expected_sd3()),
    ],
)
def test_the_diffusers_names_of_a_transformer_are_the_published_ones(
    family_id: str, expected: set[str]
) -> None:
    with torch.device("meta"):
        denoiser = full_size(family_id)
    tensors, metadata = key_formats.to_diffusers(
        of_full_size(families.CARDS[family_id], denoiser), "transformer"
    )
    assert set(tensors) == {f"transformer.{name}" for name in expected}
    assert json.loads(metadata[key_formats.ADAPTER_METADATA])["transformer.lora_alpha"] == 2


@pytest.mark.parametrize(
    ("family_id", "architecture", "version"),
    [
        ("sdxl", "stable-diffusion-xl-v1-base/lora", "sdxl_base_v1-0"),  # Forge looks for "sdxl_"
        ("flux1", "flux-1-dev/lora", "flux1"),
        ("zimage", "Z-Image/lora", "Z-Image"),
        ("qwen_image", "Qwen-Image/lora", "Qwen-Image"),
    ],
)
def test_the_metadata_say_the_architecture_as_other_trainers_do(
    family_id: str, architecture: str, version: str
) -> None:
    card = families.CARDS[family_id]
    config = TrainConfig(
        name="Kia", trigger="KIA_01", base_family=family_id, base_source="x", resolution_px=1024, steps=9
    )
    facts = export.metadata(config, card, base_sha256="0" * 64, steps=9, pictures=5, thumbnail=None)
    assert facts["modelspec.architecture"] == architecture
    assert facts["ss_base_model_version"] == version


# ---- conditions and losses


def test_noise_levels_are_logit_normal_and_shifted_towards_noise() -> None:
    latents = torch.zeros(20_000, 1, 1, 1)
    plain, shifted = (
        flow.noise_levels(latents, torch.Generator().manual_seed(0), each) for each in (1.0, 3.0)
    )
    assert plain.min() > 0
    assert plain.max() < 1
    assert float(plain.median()) == pytest.approx(0.5, abs=0.01)
    assert float(plain.logit().std()) == pytest.approx(1.0, abs=0.02)
    assert float(shifted.median()) == pytest.approx(3 / 4, abs=0.01)  # 3 · ½ / (1 + 2 · ½)
    assert flow.shift_of(256) == pytest.approx(2.718281828**0.5)
    assert flow.shift_of(4096) == pytest.approx(2.718281828**1.15)


def load(family_id: str, tiny_bases: dict[str, Path]) -> tuple[Any, Any]:
    family = families.get(family_id)
    return family, family.load(tiny_bases[family_id], CPU, torch.float32)


def config_of(family_id: str) -> TrainConfig:
    return TrainConfig(
        name="Kia", trigger="K", base_family=family_id, base_source="x", resolution_px=64, steps=9
    )


@pytest.mark.parametrize("family_id", ["flux1", "flux2_klein", "qwen_image", "zimage", "sd3"])
def test_the_target_of_a_flow_family_is_noise_minus_picture(
    family_id: str, tiny_bases: dict[str, Path]
) -> None:
    """A network that answers c everywhere has the mean of |c - (noise - x)|^2 as its loss, with the right sign."""
    family, pipe = load(family_id, tiny_bases)
    last = {
        "flux1": lambda net: net.proj_out,
        "flux2_klein": lambda net: net.proj_out,
        "qwen_image": lambda net: net.proj_out,
        "zimage": lambda net: net.all_final_layer["2-1"].linear,
        "sd3": lambda net: net.proj_out,
    }[family_id](pipe.transformer)
    answer = -2.0 if family_id == "zimage" else 2.0  # Z-Image's output is negated by its pipeline
    with torch.no_grad():
        last.weight.zero_()
        if last.bias is None:
            last.bias = nn.Parameter(torch.full((last.out_features,), answer))
        else:
            last.bias.fill_(answer)
    pixels = torch.zeros(1, 3, 64, 64)
    shape = family.encode_pictures(pipe, pixels).shape
    prompts = family.encode_prompts(pipe, ["a"]) * 8
    losses = [
        float(
            family.loss(
                pipe,
                torch.full((8, *shape[1:]), x),
                prompts,
                config_of(family_id),
                torch.Generator().manual_seed(0),
            )
        )
        for x in (-2.0, 2.0)
    ]
    assert losses[0] == pytest.approx(1.0, abs=0.15)  # 2 - (noise + 2)
    assert losses[1] == pytest.approx(17.0, abs=1.5)  # 2 - (noise - 2)


def test_sdxl_means_the_empty_prompt_by_zeros(tiny_bases: dict[str, Path]) -> None:
    family, pipe = load("sdxl", tiny_bases)
    empty, some = family.encode_prompts(pipe, ["", "KIA_01"])
    assert not empty["embeds"].any()
    assert not empty["pooled"].any()
    assert some["pooled"].any()
    pipe.register_to_config(force_zeros_for_empty_prompt=False)
    assert family.encode_prompts(pipe, [""])[0]["pooled"].any()


def test_sdxl_is_told_the_size_of_the_picture(tiny_bases: dict[str, Path]) -> None:
    family, pipe = load("sdxl", tiny_bases)
    seen: list[Any] = []
    pipe.unet.register_forward_pre_hook(
        lambda _net, _args, options: seen.append(options["added_cond_kwargs"]["time_ids"]), with_kwargs=True
    )
    latents = family.encode_pictures(pipe, torch.zeros(2, 3, 64, 128))
    family.loss(pipe, latents, family.encode_prompts(pipe, ["a", "b"]), config_of("sdxl"), torch.Generator())
    assert seen[0].tolist() == [[64, 128, 0, 0, 64, 128]] * 2


def test_qwen_image_pads_prompts_out_of_sight(tiny_bases: dict[str, Path]) -> None:
    """A short prompt beside a long one costs what it costs alone."""
    family, pipe = load("qwen_image", tiny_bases)
    latents = family.encode_pictures(pipe, torch.rand(1, 3, 64, 64) * 2 - 1).repeat(2, 1, 1, 1)
    short, long = family.encode_prompts(pipe, ["a", "a long prompt of many words"])
    assert len(short["embeds"]) < len(long["embeds"])
    answers: list[torch.Tensor] = []
    pipe.transformer.register_forward_hook(lambda _net, _args, out: answers.append(out[0][:1]))
    for pair in ([short, short], [short, long]):
        family.loss(pipe, latents, pair, config_of("qwen_image"), torch.Generator().manual_seed(0))
    torch.testing.assert_close(answers[0], answers[1])


def test_a_negative_prompt_acts_in_families_that_have_no_argument_for_it(tiny_bases: dict[str, Path]) -> None:
    from tiny_actors import request

    for family_id in ("flux1", "flux2_klein", "qwen_image"):
        family, pipe = load(family_id, tiny_bases)
        plain, other = (
            family.generate(
                pipe, request(family_id, tiny_bases[family_id], negative=negative, steps=2), lambda *_: None
            )[0]
            for negative in ("", "a blurred picture")
        )
        assert plain.tobytes() != other.tobytes(), family_id


# ---- folders


def test_the_starter_is_not_taken_for_z_image(tiny_bases: dict[str, Path]) -> None:
    with pytest.raises(BadBase, match="AutoencoderDC"):
        families.get("zimage").load(tiny_bases["starter"], CPU, torch.float32)


def test_a_base_that_lacks_one_of_its_files_is_named(tmp_path: Path) -> None:
    card = families.CARDS["zimage"]
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": card.pipeline}))
    for network in card.networks:
        (tmp_path / network).mkdir()
        for number in (1, 2, 3):
            (tmp_path / network / f"model-{number:05d}-of-00003.safetensors").touch()
    check_folder(tmp_path, card)
    (tmp_path / "text_encoder" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(BaseMissing, match=r"text_encoder lacks model-00002-of-00003\.safetensors"):
        check_folder(tmp_path, card)


def test_the_layers_that_cannot_learn_are_left_out_of_the_last_block_only() -> None:
    card = families.CARDS["qwen_image"]
    paths = [f"transformer_blocks.{number}.attn.to_add_out" for number in (0, 9, 10)]
    assert card.lora_layers([*paths, "proj_out"]) == paths[:2]
