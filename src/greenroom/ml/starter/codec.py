"""The starter's autoencoder: a fixed linear encoder that is computed, and a small decoder that is trained.

The encoder keeps the 32 strongest principal components of each 8x8 patch, so a 128 px picture becomes (32, 16, 16)
latents at once, without training, and the denoiser need not wait for anything. Both halves live in a stock
`AutoencoderDC`. Its enlargements are pixel shuffles, so the decoder can start as the components' own inverse and
training only has to improve on it; one that enlarges by nearest neighbours cannot even express that inverse.
Knows nothing about captions or diffusion.

Shape letters: B batch, H W pixels, h w latent cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

PICTURE_PX = 128
LATENT_CHANNELS = 32
CELL_PX = 8  # pixels of the picture that one latent cell covers
LATENT_DIVISOR = 2.0  # latents = components / 2: a root mean square near 0.7, as pixels have
DECODER_WIDTHS = (32, 64, 128)  # at cells of 2, 4 and 8 pixels
DECODER_BLOCKS = (2, 2, 2)
CONSTANT = 32.0  # value of the channel that keeps the decoder's last RMSNorm nearly linear


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


def components(data: Path) -> tuple[Tensor, Tensor]:
    """Basis and mean that belong to a folder of shards; computed from the first one and kept at first use."""
    path = data / "components.safetensors"
    if not path.exists():
        first = np.load(min(data.glob("shard-*.npy")), mmap_mode="r")
        basis, mean = principal_components(first[:600])
        save_file({"basis": basis.contiguous(), "mean": mean}, path)
    stored = load_file(path)
    return stored["basis"], stored["mean"]


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in [-1, 1]; renders of twice the size are averaged down."""
    pixels = torch.tensor(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return F.avg_pool2d(pixels, 2) if pixels.shape[-1] == 2 * PICTURE_PX else pixels


def empty(
    encoder_widths: tuple[int, ...] = (12, 48, 192),
    decoder_widths: tuple[int, ...] = DECODER_WIDTHS,
    decoder_blocks: tuple[int, ...] = DECODER_BLOCKS,
) -> AutoencoderDC:
    """A random autoencoder of the starter's layout: widths at cells of 2, 4 and 8 pixels. Its norms never learn."""
    vae = AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(3, *encoder_widths),
        encoder_layers_per_block=(0, 1, 1, 0),
        encoder_qkv_multiscales=((),) * 4,
        encoder_out_shortcut=False,
        decoder_block_out_channels=(3, *decoder_widths),
        decoder_layers_per_block=(0, *decoder_blocks),
        decoder_qkv_multiscales=((),) * 4,
        decoder_in_shortcut=False,
        decoder_norm_types="batch_norm",  # in eval mode, with its first statistics: a scale and a shift
        decoder_act_fns="relu",
    )
    # ZImagePipeline reads these two, which the class itself does not have; they are saved and loaded with the rest.
    vae.register_to_config(block_out_channels=[3, *decoder_widths], shift_factor=0.0)
    return vae.eval()


def build(basis: Tensor, mean: Tensor) -> AutoencoderDC:
    """An autoencoder whose encoder is exactly these components, and whose decoder starts as their inverse."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = empty()
    with torch.no_grad():
        _write_encoder(vae.encoder, basis, mean)
        _write_decoder(vae.decoder, basis, mean)
    return vae.requires_grad_(False)


def _write_encoder(encoder: Any, basis: Tensor, mean: Tensor) -> None:
    for parameter in encoder.parameters():
        parameter.zero_()
    # Space to depth three times: the first by a copying kernel, the others by the blocks' own shortcuts.
    for color in range(3):
        encoder.conv_in.conv.weight[color, color, 1, 1] = 1
    encoder.conv_out.weight[:, :, 1, 1] = basis[:, _depth_order()] / LATENT_DIVISOR
    encoder.conv_out.bias.copy_(-(basis @ mean) / LATENT_DIVISOR)


def _write_decoder(decoder: Any, basis: Tensor, mean: Tensor) -> None:
    """The first channels of each stage carry the latents or the picture; the others start as random features."""
    order = _depth_order()
    _copy(decoder.conv_in, LATENT_CHANNELS)
    for stage in decoder.up_blocks:
        for block in stage:
            if hasattr(block, "conv2"):
                block.conv2.weight.zero_()  # a residual block starts as the identity

    first, second = decoder.up_blocks[2][0], decoder.up_blocks[1][0]
    kernels = torch.zeros(192, first.conv.in_channels)
    kernels[:, :LATENT_CHANNELS] = basis[:, order].T * LATENT_DIVISOR
    _set_rows(first, slice(0, 192), kernels, mean[order])
    _set_rows(second, slice(0, 48), torch.eye(48, second.conv.in_channels), torch.zeros(48))
    constant = slice(second.conv.out_channels - 4, second.conv.out_channels)
    _set_rows(second, constant, torch.zeros(4, second.conv.in_channels), torch.full((4,), CONSTANT))

    # RMSNorm divides by a root mean square that the constant channel dominates; ReLU cuts what is below black.
    decoder.norm_out.weight.fill_(1)
    decoder.norm_out.weight[:12] = CONSTANT / decoder.norm_out.weight.numel() ** 0.5
    decoder.norm_out.bias[:12] = 1
    decoder.conv_out.conv.weight.zero_()
    _copy(decoder.conv_out.conv, 12)
    decoder.conv_out.conv.bias.fill_(-1)


def _copy(conv: nn.Conv2d, channels: int) -> None:
    """Make a convolution hand on its first channels unchanged."""
    assert conv.bias is not None
    conv.weight[:channels] = 0
    conv.weight[:channels, :, 1, 1] = torch.eye(channels, conv.in_channels)
    conv.bias[:channels] = 0


def _set_rows(up: Any, rows: slice, kernels: Tensor, bias: Tensor) -> None:
    """Make these outputs of an enlarging block exactly `kernels` (rows, inputs) and `bias`, less its shortcut."""
    up.conv.weight[rows] = 0
    up.conv.weight[rows, :, 1, 1] = kernels
    up.conv.bias[rows] = bias
    for row in range(rows.start, rows.stop):
        up.conv.weight[row, row // up.repeats, 1, 1] -= 1


def _depth_order() -> Tensor:
    """Where each channel of a patch that was unshuffled three times stands in F.unfold's order; (192,) indices."""
    order = torch.arange(3 * CELL_PX**2).view(1, 3, CELL_PX, CELL_PX).float()
    for _ in range(3):
        order = F.pixel_unshuffle(order, 2)
    return order.flatten().long()


def linear_decode(latents: Tensor, basis: Tensor, mean: Tensor) -> Tensor:
    """The components' own picture, (B, 3, 8h, 8w) in [-1, 1]: what the latents hold without any decoder."""
    patches = torch.einsum("bchw,cp->bphw", latents * LATENT_DIVISOR, basis) + mean.view(1, -1, 1, 1)
    size = (latents.shape[2] * CELL_PX, latents.shape[3] * CELL_PX)
    return F.fold(patches.flatten(2), size, CELL_PX, stride=CELL_PX).clamp(-1, 1)


@torch.no_grad()
def encode(pictures: np.ndarray, basis: Tensor, mean: Tensor, batch_size: int = 64) -> Tensor:
    """uint8 (N, H, W, 3) -> latents (N, 32, h, w): what the encoder gives, by one product."""
    parts = []
    for i in range(0, len(pictures), batch_size):
        pixels = to_pixels(pictures[i : i + batch_size])
        patches = F.unfold(pixels, CELL_PX, stride=CELL_PX) - mean[:, None]
        size = (pixels.shape[2] // CELL_PX, pixels.shape[3] // CELL_PX)
        parts.append((basis @ patches).unflatten(2, size) / LATENT_DIVISOR)
    return torch.cat(parts)
