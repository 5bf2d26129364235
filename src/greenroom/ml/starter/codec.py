"""The starter's autoencoder: a fixed linear encoder that is computed, and a small decoder that is trained.

The encoder keeps the 32 strongest principal components of each 8x8 patch, so a 128 px picture becomes (32, 16, 16)
latents at once, without training, and the denoiser need not wait for anything. Both halves live in a stock
`AutoencoderTiny`. Knows nothing about captions or diffusion.

Shape letters: B batch, H W pixels, h w latent cells.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

PICTURE_PX = 128
LATENT_CHANNELS = 32
CELL_PX = 8  # pixels of the picture that one latent cell covers
RAW_DIVISOR = 16.0  # keeps raw latents inside +-1, where the decoder's tanh clamp is nearly linear
SCALING_FACTOR = 8.0  # latents = raw * 8: a root mean square near 0.6, as pixels have
ENCODER_WIDTH = 48
DECODER_WIDTH = 32
DECODER_BLOCKS = (4, 4, 2, 0)


def principal_components(pictures: np.ndarray, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Basis (32, 192) and mean (192,) of 8x8 patches in [-1, 1]; pictures: uint8 (N, H, W, 3)."""
    patches = (
        F.unfold(to_pixels(pictures), CELL_PX, stride=CELL_PX).transpose(1, 2).reshape(-1, 3 * CELL_PX**2)
    )
    rng = torch.Generator().manual_seed(seed)
    patches = patches[torch.randperm(len(patches), generator=rng)[:200_000]].double()
    mean = patches.mean(0)
    _, vectors = torch.linalg.eigh(torch.cov((patches - mean).T))
    basis = vectors.flip(1)[:, :LATENT_CHANNELS].T
    sign = torch.where(
        basis.sum(1, keepdim=True) < 0, -1.0, 1.0
    )  # an eigenvector's sign is arbitrary: fix it
    return (basis * sign).float(), mean.float()


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in [-1, 1]; renders of twice the size are averaged down."""
    pixels = torch.tensor(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return F.avg_pool2d(pixels, 2) if pixels.shape[-1] == 2 * PICTURE_PX else pixels


def build(basis: Tensor, mean: Tensor) -> AutoencoderTiny:
    """An autoencoder whose encoder is exactly these components; its decoder is untrained."""
    vae = AutoencoderTiny(
        encoder_block_out_channels=(ENCODER_WIDTH,) * 4,
        decoder_block_out_channels=(DECODER_WIDTH,) * 4,
        num_encoder_blocks=(0,) * 4,
        num_decoder_blocks=DECODER_BLOCKS,
        latent_channels=LATENT_CHANNELS,
        scaling_factor=SCALING_FACTOR,
    )
    copy, fold_1, fold_2, project, name = (layer.weight for layer in vae.encoder.layers)
    first_bias, last_bias = vae.encoder.layers[0].bias, vae.encoder.layers[-1].bias
    with torch.no_grad():
        for parameter in vae.encoder.parameters():
            parameter.zero_()
        first_bias.zero_()
        for color in range(3):
            copy[color, color, 1, 1] = 1
        # Space to depth twice: channel = (color, y, x) of a 2x2, then of a 4x4 patch, written by one-hot kernels.
        for channel in range(12):
            color, y, x = channel // 4, channel // 2 % 2, channel % 2
            fold_1[channel, color, 1 + y, 1 + x] = 1
        for channel in range(48):
            color, y, x = channel // 16, channel // 4 % 4, channel % 4
            fold_2[channel, color * 4 + (y % 2) * 2 + x % 2, 1 + y // 2, 1 + x // 2] = 1
        kernels = basis.view(LATENT_CHANNELS, 3, 2, 4, 2, 4).permute(
            0, 1, 3, 5, 2, 4
        )  # out, color, y4, x4, Y, X
        project[:LATENT_CHANNELS, :, 1:, 1:] = kernels.reshape(LATENT_CHANNELS, 48, 2, 2) * (2 / RAW_DIVISOR)
        for channel in range(LATENT_CHANNELS):
            name[channel, channel, 1, 1] = 1
        # The network sees [0, 1] where the components were computed in [-1, 1].
        last_bias.copy_(-(basis @ (mean + 1)) / RAW_DIVISOR)
    return vae.requires_grad_(False)


def linear_decode(latents: Tensor, basis: Tensor, mean: Tensor) -> Tensor:
    """The components' own picture, (B, 3, 8h, 8w) in [-1, 1]: what the latents hold without any decoder."""
    patches = torch.einsum("bchw,cp->bphw", latents / SCALING_FACTOR * RAW_DIVISOR, basis) + mean.view(
        1, -1, 1, 1
    )
    size = (latents.shape[2] * CELL_PX, latents.shape[3] * CELL_PX)
    return F.fold(patches.flatten(2), size, CELL_PX, stride=CELL_PX).clamp(-1, 1)


@torch.no_grad()
def encode(pictures: np.ndarray, basis: Tensor, mean: Tensor, batch_size: int = 64) -> Tensor:
    """uint8 (N, H, W, 3) -> scaled latents (N, 32, h, w): what the encoder gives, by one product."""
    parts = []
    for i in range(0, len(pictures), batch_size):
        pixels = to_pixels(pictures[i : i + batch_size])
        patches = F.unfold(pixels, CELL_PX, stride=CELL_PX) - mean[:, None]
        size = (pixels.shape[2] // CELL_PX, pixels.shape[3] // CELL_PX)
        parts.append((basis @ patches).unflatten(2, size) / RAW_DIVISOR * SCALING_FACTOR)
    return torch.cat(parts)
