"""The facts of a base family that the studio needs without torch. Knows no code of any family."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

KeyFormat = Literal["diffusers", "kohya"]

_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.")


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

    idle_in_last_block: tuple[str, ...] = ()
    """Those of them whose output nothing reads in the last of `transformer_blocks`: they could not learn."""

    default_steps: int
    default_guidance: float
    guidance_argument: str = "guidance_scale"
    """What the stock pipeline calls the guidance."""

    text_max_tokens: int
    prediction: Literal["flow", "epsilon", "x0-flow"]
    """What the network predicts; an epsilon family may hold v-prediction bases (its scheduler says which)."""

    key_formats: tuple[KeyFormat, ...]
    architecture: str
    """modelspec.architecture without the trailing /lora."""

    activation_bytes: int
    """What one float32 training sample of native_px keeps for the backward pass."""

    checkpointed_share: float = 0.15
    """What gradient checkpointing leaves of them; the default was counted on the layouts of SD 1.5 and starter."""

    is_activation_measured: bool = True
    """False: both were counted on the network's layout, plus a third, and never seen on a device."""

    forward_flops: float | None = None
    """Arithmetic of one forward pass at native_px, one sample, captions of full length; counted, a multiply and
    an add being two. None: twice the weights for each token."""

    objective: str = ""
    """The loss and how noise levels are drawn, in words."""

    prompt_style: str = ""
    """What captions and prompts should look like."""

    advice: str = ""
    """On which of its bases to train and on which to draw."""

    def lora_layers(self, linears: Iterable[str]) -> list[str]:
        """Those of the denoiser's linears, by path, that a LoRA changes, in the order given."""
        wanted = tuple(f".{target}" for target in self.lora_targets)
        layers = [path for path in linears if path.endswith(wanted)]
        numbers = [int(match[1]) for path in layers if (match := _BLOCK.match(path))]
        last = f"transformer_blocks.{max(numbers, default=0)}."
        idle = tuple(f".{target}" for target in self.idle_in_last_block)
        return [path for path in layers if not (idle and path.startswith(last) and path.endswith(idle))]
