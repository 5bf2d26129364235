"""The names that LoRA weights have in files: peft's, diffusers' and kohya's. Knows no files and no training.

- peft:      `layers.0.attention.to_q.lora_A.weight`, as the training holds them; alpha stands beside them.
- diffusers: `transformer.layers.0.attention.to_q.lora_A.weight`; alpha stands in the file's metadata only,
             and diffusers takes alpha = rank when it is missing there.
- kohya:     `lora_unet_layers_0_attention_to_q.lora_down.weight` and `.lora_up.weight`, with an `.alpha`
             tensor for each layer; what ComfyUI, A1111, Forge and InvokeAI read for Stable Diffusion. For FLUX.1
             and SD 3 the layers have the original code's names: see native_names.py.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from greenroom.errors import BadInput
from greenroom.ml import native_names

T = TypeVar("T")

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
KOHYA_DOWN, KOHYA_UP, KOHYA_ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"
KOHYA_PREFIX = "lora_unet_"  # for every denoiser, whether it is a UNet or not
EXPORT_AGAIN = "Export it again from the tool that wrote it."
ADAPTER_METADATA = "lora_adapter_metadata"  # where diffusers keeps rank and alpha


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The weights of one LoRA under peft's names, and the alpha of each layer (its scale is alpha / rank)."""

    tensors: dict[str, Tensor]
    alphas: dict[str, float]

    @property
    def layers(self) -> list[str]:
        """The paths of the layers that are changed, sorted."""
        return sorted(self.alphas)

    def rank(self, layer: str) -> int:
        """The inner width of one layer's pair of matrices."""
        return self.tensors[layer + DOWN].shape[0]


def from_peft(tensors: Mapping[str, Tensor], alpha: float) -> Lora:
    """The weights of a training, whose layers all have the same alpha."""
    return _checked(dict(tensors), {layer: float(alpha) for layer in _layers(tensors, DOWN)})


def to_diffusers(lora: Lora, component: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Names and metadata that stock `load_lora_weights` reads; `component` is "transformer" or "unet"."""
    tensors = {f"{component}.{name}": tensor for name, tensor in lora.tensors.items()}
    facts = {f"{component}.{key}": value for key, value in adapter_metadata(lora).items()}
    # NOTE: without this entry diffusers takes alpha = rank and draws another picture, silently.
    return tensors, {"format": "pt", ADAPTER_METADATA: json.dumps(facts, indent=2, sort_keys=True)}


def to_kohya(lora: Lora, family: str = "") -> dict[str, Tensor]:
    """Names as kohya's trainer writes them. Adapter metadata beside them would be refused.

    family: FLUX.1 and SD 3 have the original code's layers there, which join several of diffusers'.
    """
    if family in native_names.TABLES:
        names = {
            KOHYA_PREFIX + name: members for name, members in native_names.groups(family, lora.layers).items()
        }
    else:
        names = {kohya_name(layer): (layer,) for layer in lora.layers}
        if len(names) != len(lora.layers):
            raise BadInput("Two layers of this LoRA have one name in kohya's format. Use the diffusers file.")
    tensors: dict[str, Tensor] = {}
    for name, members in names.items():
        down, up, alpha = native_names.join([_pair(lora, member) for member in members])
        tensors[name + KOHYA_DOWN], tensors[name + KOHYA_UP] = down, up
        tensors[name + KOHYA_ALPHA] = torch.tensor(alpha, dtype=torch.float32)
    return tensors


def folded(lora: Lora) -> Lora:
    """The same LoRA with alpha = rank wherever that changes no bit, for tools that know no alpha.

    The ups take the factor alpha / rank, which is exact for powers of two.
    """
    tensors, alphas = dict(lora.tensors), dict(lora.alphas)
    for layer in lora.layers:
        factor = lora.alphas[layer] / lora.rank(layer)
        if factor != 1 and math.frexp(factor)[0] == 0.5:
            tensors[layer + UP] = lora.tensors[layer + UP] * factor
            alphas[layer] = float(lora.rank(layer))
    return Lora(tensors=tensors, alphas=alphas)


def kohya_name(layer: str) -> str:
    """down_blocks.0.attentions.0 -> lora_unet_down_blocks_0_attentions_0."""
    return KOHYA_PREFIX + layer.replace(".", "_")


def read(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    component: str,
    modules: Collection[str],
    family: str = "",
) -> Lora:
    """The LoRA in a file of either format.

    modules: the paths of the denoiser's layers; kohya's names can only be undone with them, since dots and
    underscores are one there. For a family with joint layers it has to map them to the shapes of their weights.
    Raises BadInput when the file belongs to another kind of base.
    """
    if any(name.startswith(KOHYA_PREFIX) for name in tensors):
        if family in native_names.TABLES and isinstance(modules, Mapping):
            tensors = _apart(tensors, modules, family)
        lora = _from_kohya(tensors, modules)
    else:
        lora = _from_diffusers(tensors, metadata, component)
    strangers = [layer for layer in lora.layers if layer not in modules]
    if strangers:
        raise BadInput(
            f"This LoRA was trained for another base: {len(strangers)} of its {len(lora.layers)} layers, "
            f"such as {strangers[0]!r}, do not exist in this one. Choose the base it was trained on."
        )
    return lora


def adapter_metadata(lora: Lora) -> dict[str, Any]:
    """Keyword arguments of peft's LoraConfig: the fewest that say it all, so that any peft takes them."""
    ranks = {layer: lora.rank(layer) for layer in lora.layers}
    rank, alpha = _most_common(ranks), _most_common(lora.alphas)
    # NOTE: the caret keeps peft from matching a path as the end of a longer one.
    return {
        "r": rank,
        "lora_alpha": _plain(alpha),
        "rank_pattern": {f"^{layer}": value for layer, value in ranks.items() if value != rank},
        "alpha_pattern": {
            f"^{layer}": _plain(lora.alphas[layer]) for layer in lora.layers if lora.alphas[layer] != alpha
        },
        "target_modules": lora.layers,
        "bias": "none",
        "use_dora": False,
    }


def _pair(lora: Lora, layer: str) -> tuple[Tensor, Tensor, float] | None:
    if layer not in lora.alphas:
        return None
    return lora.tensors[layer + DOWN], lora.tensors[layer + UP], lora.alphas[layer]


def _apart(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], family: str
) -> dict[str, Tensor]:
    """The file's joint layers as those of diffusers, still under kohya's kind of names; others stay as they are."""
    known = [layer for layer in shapes if native_names.is_named(family, layer)]
    names = {KOHYA_PREFIX + name: members for name, members in native_names.groups(family, known).items()}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, dot, kind = name.partition(".")
        members = names.get(stem)
        if members is None:
            found[name] = tensor
        elif dot + kind == KOHYA_DOWN and stem + KOHYA_UP in tensors:
            alpha = float(tensors.get(stem + KOHYA_ALPHA, torch.tensor(float(tensor.shape[0]))))
            widths = [shapes[member][0] for member in members]
            for member, (down, up, own) in zip(
                members, native_names.part(tensor, tensors[stem + KOHYA_UP], alpha, widths), strict=True
            ):
                found[kohya_name(member) + KOHYA_DOWN] = down
                found[kohya_name(member) + KOHYA_UP] = up
                found[kohya_name(member) + KOHYA_ALPHA] = torch.tensor(own)
    return found


def _from_diffusers(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], component: str) -> Lora:
    prefix = component + "."
    strangers = [name for name in tensors if not name.startswith(prefix)]
    if strangers or not tensors:
        example = f", such as {strangers[0]!r}" if strangers else ""
        raise BadInput(
            f"This file is no LoRA for this base: its names should begin with {prefix!r} or "
            f"{KOHYA_PREFIX!r}, and {len(strangers)} of {len(tensors)} do not{example}. "
            "Choose the base it was trained on."
        )
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    facts = _adapter_facts(metadata, prefix)
    alphas = {}
    for layer in _layers(weights, DOWN):
        rank = weights[layer + DOWN].shape[0]
        alphas[layer] = _alpha(facts, layer, rank)
    return _checked(weights, alphas)


def _from_kohya(tensors: Mapping[str, Tensor], modules: Collection[str]) -> Lora:
    paths = {kohya_name(module): module for module in modules}
    weights: dict[str, Tensor] = {}
    alphas: dict[str, float] = {}
    for name, tensor in tensors.items():
        stem, dot, kind = name.partition(".")
        layer = paths.get(stem)
        if layer is None:
            raise BadInput(
                f"This LoRA changes {stem!r}, which is not part of this base's denoiser; "
                "text-encoder LoRAs are not supported. Choose its own base, or a LoRA of the denoiser only."
            )
        if dot + kind == KOHYA_DOWN:
            weights[layer + DOWN] = tensor
            alphas.setdefault(layer, float(tensor.shape[0]))
        elif dot + kind == KOHYA_UP:
            weights[layer + UP] = tensor
        elif dot + kind == KOHYA_ALPHA and tensor.numel() == 1:
            alphas[layer] = float(tensor)
        else:
            raise BadInput(f"This LoRA has the entry {name!r}, which is not supported. Use a plain LoRA.")
    return _checked(weights, alphas)


def _checked(tensors: dict[str, Tensor], alphas: dict[str, float]) -> Lora:
    """Every layer has both of its matrices, of one rank, and nothing else is there."""
    expected = {layer + end for layer in alphas for end in (DOWN, UP)}
    odd = sorted(expected ^ set(tensors))
    if odd or not alphas:
        example = f" ({odd[0]!r} is missing or extra)" if odd else ""
        raise BadInput(f"This file is not a complete plain LoRA{example}. {EXPORT_AGAIN}")
    for layer, alpha in alphas.items():
        down, up = tensors[layer + DOWN], tensors[layer + UP]
        if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.shape[1]:
            raise BadInput(f"The two matrices of layer {layer!r} do not fit each other. {EXPORT_AGAIN}")
        if not math.isfinite(alpha):
            raise BadInput(f"Layer {layer!r} has the alpha {alpha}. {EXPORT_AGAIN}")
    return Lora(tensors=tensors, alphas=alphas)


def _adapter_facts(metadata: Mapping[str, str], prefix: str) -> dict[str, Any]:
    text = metadata.get(ADAPTER_METADATA)
    if text is None:
        return {}
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise BadInput(f"The LoRA's adapter metadata are damaged. {EXPORT_AGAIN}")
    return {key.removeprefix(prefix): value for key, value in facts.items() if key.startswith(prefix)}


def _alpha(facts: Mapping[str, Any], layer: str, rank: int) -> float:
    patterns = facts.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise BadInput(f"The LoRA's adapter metadata are damaged. {EXPORT_AGAIN}")
    value = patterns.get(f"^{layer}", patterns.get(layer, facts.get("lora_alpha", rank)))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"The LoRA's metadata give {value!r} as alpha. {EXPORT_AGAIN}")
    # Rank-stabilised LoRA divides by the root of the rank; this is the alpha of a plain LoRA of equal scale.
    return float(value) * (math.sqrt(rank) if facts.get("use_rslora") else 1.0)


def _layers(tensors: Mapping[str, Tensor], end: str) -> list[str]:
    return sorted(name.removesuffix(end) for name in tensors if name.endswith(end))


def _most_common(values: Mapping[str, T]) -> T:
    return Counter(values.values()).most_common(1)[0][0]


def _plain(value: float) -> int | float:
    """8.0 -> 8, as peft writes it."""
    return int(value) if value.is_integer() else value
