"""The facts of a base family that the studio needs without torch. Knows no code of any family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KeyFormat = Literal["diffusers", "kohya"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One base family. Sizes in pixels, memory in bytes."""

    id: str
    title: str
    licence: str
    gated: bool
    hub_ids: tuple[str, ...]
    native_px: int
    size_multiple_px: int
    """Width and height must be multiples of this: pixels per latent cell times the denoiser's patch."""

    pipeline: str
    """Name of the diffusers pipeline class that model_index.json must have."""

    networks: tuple[str, ...]
    """The components that have weights, and so must have safetensors."""

    denoiser: Literal["transformer", "unet"]
    """The pipeline component that the LoRA attaches to, and the key prefix in a diffusers LoRA file."""

    lora_targets: tuple[str, ...]
    """Suffixes of the attention and feed-forward linears, as peft matches them."""

    default_steps: int
    default_guidance: float
    text_max_tokens: int
    prediction: Literal["flow", "epsilon", "x0-flow"]
    """What the network predicts; an epsilon family may hold v-prediction bases (its scheduler says which)."""

    key_formats: tuple[KeyFormat, ...]
    architecture: str
    """modelspec.architecture without the trailing /lora."""

    activation_bytes: int
    """Measured: what one float32 training sample of native_px keeps for the backward pass."""
