"""A batched forward pass of the starter's transformer: same weights and result as diffusers', fewer copies.

`ZImageTransformer2DModel.forward` takes lists because its pictures may differ in size. The starter's batches never do,
so here they stay one tensor from end to end; that is what makes pretraining and LoRA training fast on a CPU.
Knows the layer names of the Z-Image transformer; knows nothing about losses, data or files.

Shape letters: B batch, C latent channels, h w latent cells, N picture tokens, T caption tokens, D width, E head width.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CAPTION_MULTIPLE = 32  # Z-Image pads captions to a multiple of this with a learned token
PATCH = 2


def denoise(transformer: nn.Module, latents: Tensor, t: Tensor, captions: Tensor, is_text: Tensor) -> Tensor:
    """The transformer's raw output, (B, C, h, w), for noisy latents.

    latents: (B, C, h, w); t: (B,), 0 is pure noise and 1 a clean picture; captions: (B, T, caption width) with T a
    multiple of 32; is_text: (B, T) bool, False where the learned pad token stands instead.
    """
    net: Any = transformer
    batch, channels, height, width = latents.shape
    rows, columns = height // PATCH, width // PATCH
    tokens = latents.reshape(batch, channels, rows, PATCH, columns, PATCH)
    tokens = tokens.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, PATCH * PATCH * channels)

    time_embedding = net.t_embedder(t * net.t_scale).to(latents.dtype)
    x = net.all_x_embedder["2-1"](tokens)
    text = net.cap_embedder(captions)
    text = torch.where(is_text[..., None], text, net.cap_pad_token.to(text.dtype))

    length = text.shape[1]
    rope_text, rope_picture = _rotations(net.rope_theta, tuple(net.axes_dims), length, rows, columns)
    rope_text = rope_text.to(device=x.device)
    rope_picture = rope_picture.to(device=x.device)
    for layer in net.noise_refiner:
        x = _block(layer, x, rope_picture, time_embedding)
    for layer in net.context_refiner:
        text = _block(layer, text, rope_text, None)

    joint = torch.cat([x, text.to(x.dtype)], dim=1)
    rope = torch.cat([rope_picture, rope_text], dim=1)
    for layer in net.layers:
        joint = _block(layer, joint, rope, time_embedding)

    final = net.all_final_layer["2-1"]
    x = joint[
        :, : rows * columns
    ]  # the final layer works token by token, so the text's part need not be computed
    x = final.norm_final(x) * (1 + final.adaLN_modulation(time_embedding))[:, None]
    x = final.linear(x)
    x = x.view(batch, rows, columns, PATCH, PATCH, channels).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(batch, channels, height, width)


def _block(layer: Any, x: Tensor, rope: Tensor, time_embedding: Tensor | None) -> Tensor:
    if time_embedding is None:
        x = x + layer.attention_norm2(_attend(layer.attention, layer.attention_norm1(x), rope))
        return x + layer.ffn_norm2(layer.feed_forward(layer.ffn_norm1(x)))
    modulation = layer.adaLN_modulation(time_embedding)[:, None]
    scale_attention, gate_attention, scale_mlp, gate_mlp = modulation.chunk(4, dim=2)
    attended = _attend(layer.attention, layer.attention_norm1(x) * (1 + scale_attention), rope)
    x = x + gate_attention.tanh() * layer.attention_norm2(attended)
    fed = layer.feed_forward(layer.ffn_norm1(x) * (1 + scale_mlp))
    return x + gate_mlp.tanh() * layer.ffn_norm2(fed)


def _attend(attention: Any, x: Tensor, rope: Tensor) -> Tensor:
    heads = attention.heads
    query = attention.norm_q(attention.to_q(x).unflatten(-1, (heads, -1)))
    key = attention.norm_k(attention.to_k(x).unflatten(-1, (heads, -1)))
    value = attention.to_v(x).unflatten(-1, (heads, -1))
    query, key = _rotate(query, rope), _rotate(key, rope)
    out = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    out = out.transpose(1, 2).flatten(2)
    return attention.to_out[0](out)


def _rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotary embedding of neighbouring pairs. x: (B, tokens, heads, E); rope: (2, tokens, 1, E/2) cosines and sines."""
    cosine, sine = rope.to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(3)


@lru_cache(maxsize=32)
def _rotations(
    theta: float, axes: tuple[int, ...], length: int, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (2, tokens, 1, E/2), for the caption (positions 1..T on axis 0) and the picture's grid."""
    caption = torch.zeros(length, 3)
    caption[:, 0] = torch.arange(1, length + 1)
    grid = torch.stack(
        torch.meshgrid(torch.tensor([length + 1]), torch.arange(rows), torch.arange(columns), indexing="ij"),
        dim=-1,
    ).reshape(-1, 3)

    def angles(positions: Tensor) -> Tensor:
        parts = []
        for axis, width in enumerate(axes):
            frequencies = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
            parts.append(torch.outer(positions[:, axis].double(), frequencies))
        return torch.cat(parts, dim=-1)

    def table(positions: Tensor) -> Tensor:
        angle = angles(positions)
        return torch.stack([angle.cos(), angle.sin()]).float()[:, :, None]

    return table(caption), table(grid)
