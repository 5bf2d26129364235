"""The LoRA while it is trained: attach it, take its weights out, put them back. Knows no files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from peft import LoraConfig
from torch import Tensor, nn

from greenroom.ml.config import TrainConfig
from greenroom.ml.families.card import Card

ADAPTER = "default"  # the name under which diffusers' own functions look for a trained adapter


def attach(denoiser: nn.Module, card: Card, config: TrainConfig) -> dict[str, nn.Parameter]:
    """Put a fresh LoRA on the card's layers; returns its float32 weights under peft's file names.

    Its first weights depend on config.seed alone; B is zero, so the base is unchanged until the first step.
    """
    linears = [path for path, module in denoiser.named_modules() if isinstance(module, nn.Linear)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        denoiser.add_adapter(  # type: ignore[operator]
            LoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,  # type: ignore[arg-type]  # only ever divided by the rank
                lora_dropout=config.dropout,
                target_modules=card.lora_layers(linears),
                init_lora_weights=True,
            ),
            adapter_name=ADAPTER,
        )
    weights = {}
    for name, parameter in denoiser.named_parameters():
        if f".{ADAPTER}." in name:
            # NOTE: the base may be in bfloat16, whose 8 bits would swallow an update of a thousandth.
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
            weights[name.replace(f".{ADAPTER}.", ".")] = parameter
    return weights


def snapshot(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of the weights, which the next step does not change."""
    return {name: weight.detach().clone() for name, weight in weights.items()}


def follow(average: Mapping[str, Tensor], weights: Mapping[str, Tensor], decay: float, step: int) -> None:
    """Move the running average towards the weights after step `step`, counted from 0.

    The first steps count for more, (1 + step) / (10 + step), or it would be an average of the start for long.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    for name, mean in average.items():
        mean.lerp_(weights[name].detach(), share)


def restore(weights: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    """Write saved weights into the attached LoRA; names and shapes must be the same."""
    if weights.keys() != saved.keys():
        odd = sorted(weights.keys() ^ saved.keys())[0]
        raise ValueError(f"the saved LoRA has other layers than this one, for example {odd}")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(saved[name])


@contextlib.contextmanager
def swapped(weights: Mapping[str, nn.Parameter], other: Mapping[str, Tensor] | None) -> Iterator[None]:
    """The LoRA holds `other` weights (its moving average) for the block's length; None changes nothing."""
    if other is None:
        yield
        return
    own = snapshot(weights)
    restore(weights, other)
    try:
        yield
    finally:
        restore(weights, own)
