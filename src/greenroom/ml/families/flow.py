"""The arithmetic that all rectified-flow families share. Knows no network.

sigma is the share of noise: 0 is the picture, 1 is noise. Shape letters: B batch, T tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def noise_levels(latents: Tensor, rng: torch.Generator, shift: float = 1.0) -> Tensor:
    """One sigma for each sample, (B,) float32: the sigmoid of a normal draw, moved towards noise by `shift`.

    Source: Esser et al. 2024, arXiv:2403.03206, logit-normal timesteps (section 3.1) and shift (eq. 23).
    """
    drawn = torch.randn(len(latents), generator=rng, device=latents.device).sigmoid_()
    return drawn * shift / (1 + (shift - 1) * drawn)


def shift_of(tokens: int) -> float:
    """The shift that FLUX.1's sampler takes for a picture of so many tokens: e^0.5 at 256, e^1.15 at 4096.

    Small pictures need less noise to lose their outlines than large ones.
    """
    return math.exp(0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256))


def noised(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) latents + sigma noise, for a batch of any rank."""
    return torch.lerp(latents, noise, sigma.view(-1, *[1] * (latents.ndim - 1)))


def error(velocity: Tensor, latents: Tensor, noise: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error of a predicted velocity, whose target is noise - latents; a float32 scalar.

    weights: (B, 1, h, w), whose mean over each sample is 1, for the cells of the latents; None weighs all alike.
    """
    return weighted(velocity.float() - (noise - latents), weights)


def weighted(error: Tensor, weights: Tensor | None) -> Tensor:
    """The mean square of an error, (B, C, h, w), a float32 scalar; weights as in `error`."""
    squares = error.square()
    return (squares if weights is None else squares * weights).mean()
