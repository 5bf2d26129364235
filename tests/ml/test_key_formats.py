"""LoRA weights keep their values and their alpha under every tool's names."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers
from diffusers.utils import convert_unet_state_dict_to_peft
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig

from greenroom.errors import BadInput
from greenroom.ml import key_formats
from greenroom.ml.families.sd15.card import CARD as SD15
from greenroom.ml.key_formats import Lora

LAYERS = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
    "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_v",
    "layers.0.attention.to_k",
    "noise_refiner.0.feed_forward.w1",
    "layers.0.adaLN_modulation.0",
)


@st.composite
def loras(draw: st.DrawFn) -> Lora:
    layers = draw(st.lists(st.sampled_from(LAYERS), min_size=1, unique=True))
    tensors, alphas = {}, {}
    for layer in layers:
        rank = draw(st.integers(1, 5))
        tensors[layer + key_formats.DOWN] = torch.randn(rank, 3)
        tensors[layer + key_formats.UP] = torch.randn(4, rank)
        # alphas that float32 holds exactly, as kohya's format stores them
        alphas[layer] = draw(st.floats(-64, 64, width=32, allow_nan=False))
    return Lora(tensors=tensors, alphas=alphas)


def same(one: Lora, other: Lora) -> bool:
    return (
        one.alphas == other.alphas
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    )


@settings(deadline=None)
@given(lora=loras(), component=st.sampled_from(["transformer", "unet"]))
def test_diffusers_names_come_back(lora: Lora, component: str) -> None:
    tensors, metadata = key_formats.to_diffusers(lora, component)
    assert all(isinstance(value, str) for value in metadata.values())
    assert same(key_formats.read(tensors, metadata, component, LAYERS), lora)


@settings(deadline=None)
@given(lora=loras())
def test_kohya_names_come_back(lora: Lora) -> None:
    tensors = key_formats.to_kohya(lora)
    assert all(name.startswith("lora_unet_") and name.count(".") in (1, 2) for name in tensors)
    assert same(key_formats.read(tensors, {}, "unet", LAYERS), lora)


@settings(deadline=None)
@given(lora=loras())
def test_peft_takes_the_adapter_metadata_and_means_the_same_by_them(lora: Lora) -> None:
    from peft.utils.other import get_pattern_key

    config = LoraConfig(**key_formats.adapter_metadata(lora))
    for layer in lora.layers:
        # what peft does with each layer's path when it attaches the LoRA
        rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), layer), config.r)
        alpha = config.alpha_pattern.get(
            get_pattern_key(config.alpha_pattern.keys(), layer), config.lora_alpha
        )
        assert (rank, alpha) == (lora.rank(layer), lora.alphas[layer])


def full_sd15_lora(alpha: float = 3.0, rank: int = 2) -> Lora:
    """A LoRA of the card's layers on the true SD 1.5 UNet, without its weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    tensors = {}
    for name, module in unet.named_modules():
        if name.endswith(tuple(f".{target}" for target in SD15.lora_targets)):
            assert isinstance(module, torch.nn.Linear)
            tensors[name + key_formats.DOWN] = torch.zeros(rank, module.in_features)
            tensors[name + key_formats.UP] = torch.zeros(module.out_features, rank)
    return key_formats.from_peft(tensors, alpha)


def test_the_kohya_names_of_sd15_are_the_published_ones() -> None:
    """Sixteen blocks of eight attention and two feed-forward layers, named as kohya's trainer names them."""
    blocks = [
        *(f"down_blocks_{i}_attentions_{j}" for i in range(3) for j in range(2)),
        "mid_block_attentions_0",
        *(f"up_blocks_{i}_attentions_{j}" for i in (1, 2, 3) for j in range(3)),
    ]
    layers = [
        *(f"attn{a}_to_{p}" for a in (1, 2) for p in ("q", "k", "v", "out_0")),
        "ff_net_0_proj",
        "ff_net_2",
    ]
    ends = ("lora_down.weight", "lora_up.weight", "alpha")
    expected = {
        f"lora_unet_{block}_transformer_blocks_0_{layer}.{end}"
        for block in blocks
        for layer in layers
        for end in ends
    }
    tensors = key_formats.to_kohya(full_sd15_lora())
    assert set(tensors) == expected
    assert len(expected) == 16 * 10 * 3
    alpha = tensors["lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2.alpha"]
    assert (alpha.shape, alpha.dtype, alpha.item()) == ((), torch.float32, 3.0)


def test_diffusers_own_converter_undoes_every_kohya_name_of_sd15() -> None:
    lora = full_sd15_lora()
    converted, alphas = _convert_non_diffusers_lora_to_diffusers(dict(key_formats.to_kohya(lora)))
    without_prefix = {name.removeprefix("unet."): tensor for name, tensor in converted.items()}
    assert convert_unet_state_dict_to_peft(without_prefix).keys() == lora.tensors.keys()
    assert set(alphas.values()) == {3.0}
    assert len(alphas) == len(lora.layers)


def test_adapter_metadata_stand_under_the_components_name() -> None:
    lora = key_formats.from_peft(
        {"layers.0.to_q.lora_A.weight": torch.zeros(4, 8), "layers.0.to_q.lora_B.weight": torch.zeros(8, 4)},
        6.0,
    )
    tensors, metadata = key_formats.to_diffusers(lora, "transformer")
    assert set(tensors) == {
        "transformer.layers.0.to_q.lora_A.weight",
        "transformer.layers.0.to_q.lora_B.weight",
    }
    facts = json.loads(metadata["lora_adapter_metadata"])
    assert facts["transformer.r"] == 4
    assert facts["transformer.lora_alpha"] == 6


def test_a_missing_alpha_is_the_rank_as_every_tool_takes_it() -> None:
    pair = {"a.to_q.lora_A.weight": torch.zeros(4, 8), "a.to_q.lora_B.weight": torch.zeros(8, 4)}
    plain = {f"unet.{name}": tensor for name, tensor in pair.items()}
    assert key_formats.read(plain, {}, "unet", ["a.to_q"]).alphas == {"a.to_q": 4.0}
    kohya = {
        "lora_unet_a_to_q.lora_down.weight": torch.zeros(4, 8),
        "lora_unet_a_to_q.lora_up.weight": torch.zeros(8, 4),
    }
    assert key_formats.read(kohya, {}, "unet", ["a.to_q"]).alphas == {"a.to_q": 4.0}


def test_a_rank_stabilised_lora_keeps_its_scale() -> None:
    tensors = {
        "unet.a.to_q.lora_A.weight": torch.zeros(16, 8),
        "unet.a.to_q.lora_B.weight": torch.zeros(8, 16),
    }
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2, "unet.use_rslora": True})}
    lora = key_formats.read(tensors, metadata, "unet", ["a.to_q"])
    assert lora.alphas["a.to_q"] / 16 == 2 / 16**0.5


DOWN, UP = torch.zeros(2, 8), torch.zeros(8, 2)


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({}, {}, "no LoRA for this base"),
        ({"transformer.a.to_q.lora_A.weight": DOWN}, {}, "no LoRA for this base"),
        ({"unet.a.to_q.lora_A.weight": DOWN}, {}, "not a complete"),
        ({"unet.a.to_q.weight": DOWN}, {}, "not a complete"),
        ({"unet.a.to_q.lora_A.weight": DOWN, "unet.a.to_q.lora_B.weight": DOWN}, {}, "do not fit"),
        ({"unet.a.to_q.lora_A.weight": DOWN[0], "unet.a.to_q.lora_B.weight": UP}, {}, "do not fit"),
        ({"unet.b.to_q.lora_A.weight": DOWN, "unet.b.to_q.lora_B.weight": UP}, {}, "another base"),
        ({"unet.a.to_q.lora_A.weight": DOWN, "unet.a.to_q.lora_B.weight": UP, "unet.x": UP}, {}, "complete"),
        ({"lora_unet_a_to_q.lora_down.weight": DOWN}, {}, "not a complete"),
        ({"lora_unet_a_to_q.alpha": torch.tensor(1.0)}, {}, "not a complete"),
        ({"lora_unet_a_to_q.dora_scale": UP}, {}, "not supported"),
        ({"lora_unet_a_to_q.alpha": UP}, {}, "not supported"),
        (
            {"lora_unet_a_to_q.alpha": torch.tensor(1.0), "lora_te_x.alpha": torch.tensor(1.0)},
            {},
            "text-encoder",
        ),
        (
            {
                "lora_unet_a_to_q.lora_down.weight": DOWN,
                "lora_unet_a_to_q.lora_up.weight": UP,
                "lora_unet_a_to_q.alpha": torch.tensor(float("nan")),
            },
            {},
            "alpha nan",
        ),
        (
            {"unet.a.to_q.lora_A.weight": DOWN, "unet.a.to_q.lora_B.weight": UP},
            {"lora_adapter_metadata": "{"},
            "damaged",
        ),
        (
            {"unet.a.to_q.lora_A.weight": DOWN, "unet.a.to_q.lora_B.weight": UP},
            {"lora_adapter_metadata": '{"unet.lora_alpha": "high"}'},
            "'high' as alpha",
        ),
        (
            {"unet.a.to_q.lora_A.weight": DOWN, "unet.a.to_q.lora_B.weight": UP},
            {"lora_adapter_metadata": '{"unet.lora_alpha": 1, "unet.alpha_pattern": [1]}'},
            "damaged",
        ),
    ],
)
def test_a_file_that_is_no_lora_for_this_base_is_refused_with_a_reason(
    tensors: dict[str, torch.Tensor], metadata: dict[str, str], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        key_formats.read(tensors, metadata, "unet", ["a.to_q"])


def test_two_layers_with_one_kohya_name_are_refused() -> None:
    tensors = {
        f"{layer}{end}": torch.zeros(2, 2)
        for layer in ("a.b", "a_b")
        for end in (".lora_A.weight", ".lora_B.weight")
    }
    with pytest.raises(BadInput, match="one name"):
        key_formats.to_kohya(key_formats.from_peft(tensors, 2.0))
