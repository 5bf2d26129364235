"""The optimizer of a run, its state as named tensors, and back. Knows AdamW in 32 and in 8 bits; no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from greenroom.ml.config import TrainConfig

BETAS = (0.9, 0.99)
MOMENTS = {"state1": "exp_avg", "state2": "exp_avg_sq"}
"""What bitsandbytes calls AdamW's moments, and what torch does; files have torch's names."""

SCALES = ("absmax1", "absmax2")


def make(weights: Mapping[str, nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over the weights, as the config says."""
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": BETAS,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "adamw":
        return torch.optim.AdamW(list(weights.values()), **options, fused=True)
    from bitsandbytes.optim.adamw import (
        AdamW8bit,
    )  # an optional package: preflight.check_package says so when it is missing

    made: torch.optim.Optimizer = AdamW8bit(list(weights.values()), **options)
    return made


def name_of(config: TrainConfig) -> str:
    """What the exported file calls it."""
    package = "torch.optim.AdamW" if config.optimizer == "adamw" else "bitsandbytes.optim.AdamW8bit"
    return f"{package}(weight_decay={config.weight_decay})"


def moments(optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The state after at least one step: "<weight>.exp_avg", "<weight>.exp_avg_sq" and, in 8 bits, their scales."""
    found = {}
    for name, weight in weights.items():
        for key, value in optimizer.state[weight].items():
            if key in {*MOMENTS, *MOMENTS.values(), *SCALES}:
                found[f"{name}.{MOMENTS.get(key, key)}"] = value
    return found


def restore(
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, nn.Parameter],
    saved: Mapping[str, Tensor],
    step: int,
) -> None:
    """Give a new optimizer the state that `moments` took after `step` steps.

    A run that climbs from 32 to 8 bits has its moments rounded once, as every step in 8 bits rounds them.
    """
    if isinstance(optimizer, torch.optim.AdamW):
        state = {
            index: {
                # AdamW counts its own steps; it has made one for each of ours.
                "step": torch.tensor(float(step)),
                "exp_avg": saved[f"{name}.exp_avg"],
                "exp_avg_sq": saved[f"{name}.exp_avg_sq"],
            }
            for index, name in enumerate(weights)
        }
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return
    from bitsandbytes.functional import quantize_blockwise

    eight: Any = optimizer
    (group,) = eight.param_groups
    for index, (name, weight) in enumerate(weights.items()):
        eight.init_state(group, weight, 0, index)
        state = eight.state[weight]
        state["step"] = step
        for number, (key, stem) in enumerate(MOMENTS.items(), start=1):
            tensor = saved[f"{name}.{stem}"].to(weight.device)
            if state[key].dtype == torch.uint8 and tensor.dtype != torch.uint8:
                code = state[f"qmap{number}"]
                tensor, facts = quantize_blockwise(tensor, code=code, blocksize=256)
                state[f"absmax{number}"].copy_(facts.absmax)
            elif state[key].dtype == torch.uint8:
                state[f"absmax{number}"].copy_(saved[f"{name}.absmax{number}"])
            state[key].copy_(tensor)
