"""Muon for the starter's hidden matrices: momentum whose steps are orthogonalised. Knows nothing about the model.

torch.optim.Muon does the same in bfloat16, which CPUs without that instruction emulate a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz; Jordan et al. 2024, "Muon"


class Muon(Optimizer):
    """Step = 0.2 sqrt(max(m, n)) of the orthogonalised Nesterov momentum, so that an AdamW learning rate fits.

    Source: Jordan et al. 2024; scale and decoupled decay from Liu et al. 2025, arXiv:2502.16982, eq. 4.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                # A convolution's kernel counts as the matrix from its input window to its output channels.
                direction = orthogonal(parameter.grad.lerp(momentum, group["momentum"]).flatten(1))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                scale = 0.2 * max(direction.shape) ** 0.5
                parameter.add_(direction.view_as(parameter), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix whose singular values are about 1 (0.7 to 1.2), by Newton-Schulz iteration."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
