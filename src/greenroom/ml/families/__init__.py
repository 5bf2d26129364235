"""The base families, a folder each: card.py has facts, model.py the code. Imports no torch before `get`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from greenroom.errors import UnknownBase
from greenroom.ml.families.card import Card
from greenroom.ml.families.flux1.card import CARD as FLUX1
from greenroom.ml.families.flux2_klein.card import CARD as FLUX2_KLEIN
from greenroom.ml.families.qwen_image.card import CARD as QWEN_IMAGE
from greenroom.ml.families.sd3.card import CARD as SD3
from greenroom.ml.families.sd15.card import CARD as SD15
from greenroom.ml.families.sdxl.card import CARD as SDXL
from greenroom.ml.families.starter.card import CARD as STARTER
from greenroom.ml.families.zimage.card import CARD as ZIMAGE

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from PIL import Image
    from torch import Tensor, nn

    from greenroom.ml.config import GenerateConfig, TrainConfig

CARDS: dict[str, Card] = {
    card.id: card for card in (STARTER, SD15, SDXL, SD3, FLUX1, FLUX2_KLEIN, ZIMAGE, QWEN_IMAGE)
}

Prompt = dict[str, "Tensor"]
"""One prompt's text condition, unbatched, ready for the denoiser."""

OnStep = Callable[[int, int], None]
"""Called after each denoising step with (steps done, steps in all) of the request; may raise to stop."""


class Family(Protocol):
    """What training and drawing need of a base. B batch, C channels, H W pixels, h w latent cells."""

    card: Card

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> DiffusionPipeline:
        """The pipeline of a local diffusers folder, in eval mode; raises what loading.check_folder raises."""

    def denoiser(self, pipe: Any) -> nn.Module:
        """The network that the LoRA attaches to."""

    def encode_pictures(self, pipe: Any, pixels: Tensor) -> Tensor:
        """(B,3,H,W) in [-1, 1] -> (B,C,h,w) scaled latents, the same for the same pixels."""

    def encode_prompts(self, pipe: Any, prompts: list[str]) -> list[Prompt]:
        """One unbatched dict of tensors for each prompt; lengths may differ."""

    def loss(
        self,
        pipe: Any,
        latents: Tensor,
        prompts: list[Prompt],
        config: TrainConfig,
        rng: torch.Generator,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The family's training loss of one batch, a float32 scalar. Uses the denoiser and scheduler only.

        weights: (B,1,h,w) of the latents' cells, with mean 1 in each sample; None weighs all alike.
        """

    def generate(self, pipe: Any, config: GenerateConfig, on_step: OnStep) -> list[Image.Image]:
        """`config.count` pictures, picture i from seed + i; LoRAs are whatever is attached to the pipe."""


_MODULES = {
    "starter": "greenroom.ml.families.starter.model",
    "sd15": "greenroom.ml.families.sd15.model",
    "sdxl": "greenroom.ml.families.sdxl.model",
    "sd3": "greenroom.ml.families.sd3.model",
    "flux1": "greenroom.ml.families.flux1.model",
    "flux2_klein": "greenroom.ml.families.flux2_klein.model",
    "zimage": "greenroom.ml.families.zimage.model",
    "qwen_image": "greenroom.ml.families.qwen_image.model",
}


def get(family_id: str) -> Family:
    """The family's code; this is where torch and diffusers are imported."""
    if family_id not in _MODULES:
        known = ", ".join(sorted(_MODULES))
        raise UnknownBase(f"There is no base family {family_id!r}. Use one of: {known}.")
    family: Family = importlib.import_module(_MODULES[family_id]).FAMILY
    return family
