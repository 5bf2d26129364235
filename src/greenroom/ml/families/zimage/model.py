"""Z-Image: a stock ZImagePipeline. Knows no training runs.

Shape letters: B batch, C channels, H W pixels, h w latent cells, T tokens, D width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model

from greenroom.errors import BadBase
from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, flow, toys
from greenroom.ml.families.loading import check_folder, variant
from greenroom.ml.families.zimage.card import CARD

SHIFT = 2.0
"""Of the training's noise levels: what published recipes for this base agree on (2 to 3)."""


class ZImage:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> ZImagePipeline:
        check_folder(source, CARD)
        _check_vae(source)
        pipe = ZImagePipeline.from_pretrained(
            source, dtype=dtype, variant=variant(source, CARD), local_files_only=True, use_safetensors=True
        )
        pipe.set_progress_bar_config(disable=True)
        for network in (pipe.transformer, pipe.vae, pipe.text_encoder):
            network.eval().requires_grad_(False)
        return pipe.to(device)

    def denoiser(self, pipe: Any) -> nn.Module:
        network: nn.Module = pipe.transformer
        return network

    @torch.no_grad()
    def encode_pictures(self, pipe: Any, pixels: Tensor) -> Tensor:
        # The mean and not a draw: the spread is a few thousandths, and a cached draw would freeze its noise.
        vae = pipe.vae
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float()
        scaled: Tensor = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        return scaled

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: list[str]) -> list[Prompt]:
        # NOTE: ZImagePipeline.encode_prompt writes the chat template into the caller's list, hence the copy.
        embeds, _ = pipe.encode_prompt(list(prompts), do_classifier_free_guidance=False)
        return [{"embeds": each} for each in embeds]

    def loss(
        self,
        pipe: Any,
        latents: Tensor,
        prompts: list[Prompt],
        config: TrainConfig,
        rng: torch.Generator,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Rectified-flow loss of one batch, a float32 scalar. Source: Esser et al. 2024, arXiv:2403.03206."""
        net = pipe.transformer
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        sigma = flow.noise_levels(latents, rng, SHIFT)
        noisy = flow.noised(latents, noise, sigma)
        out = net(
            list(noisy.to(net.dtype).unsqueeze(2).unbind()),
            1 - sigma,  # NOTE: this network's time runs from noise to picture
            [prompt["embeds"].to(net.dtype) for prompt in prompts],
            return_dict=False,
        )[0]
        # NOTE: and the pipeline negates its output.
        return flow.error(-torch.stack(out).squeeze(2), latents, noise, weights)

    def generate(self, pipe: Any, config: GenerateConfig, on_step: OnStep) -> list[Image.Image]:
        steps = config.steps or CARD.default_steps
        guidance = CARD.default_guidance if config.guidance is None else config.guidance
        pictures: list[Image.Image] = []

        def tell(_pipe: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(len(pictures) * steps + step + 1, config.count * steps)
            return tensors

        # One at a time: sums inside a matrix product depend on the batch; a seed must give the same bytes.
        for index in range(config.count):
            drawn = pipe(
                prompt=[config.prompt],
                negative_prompt=[config.negative],
                width=config.width_px,
                height=config.height_px,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(config.seed + index),
                callback_on_step_end=tell,
            )
            pictures.append(drawn.images[0])
        return pictures


FAMILY = ZImage()


def _check_vae(source: Path) -> None:
    """The starter has the same pipeline, but another VAE and another meaning of the network's output."""
    kind = json.loads((source / "model_index.json").read_text(encoding="utf-8")).get("vae")
    if kind != ["diffusers", "AutoencoderKL"]:
        raise BadBase(
            f"{source} holds a ZImagePipeline with the VAE {kind}, which is not {CARD.title}'s. "
            "If it is of the starter's layout, add it as family starter."
        )


def tiny(folder: Path, seed: int = 0) -> None:
    """Save a random pipeline of Z-Image's layout at toy width; stock diffusers loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = ZImageTransformer2DModel(
            in_channels=16,
            dim=64,  # as wide as a patch has numbers, or much of its noise could not pass
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 12, 12],
            axes_lens=[1024, 64, 64],
        )
        vae = toys.vae(
            16, shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False, use_post_quant_conv=False
        )
        tokenizer = toys.byte_tokenizer()
        text_encoder = Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=8,
            )
        )
        toys.speak_up(text_encoder)
    ZImagePipeline(
        FlowMatchEulerDiscreteScheduler(shift=6.0), vae, text_encoder, tokenizer, transformer
    ).save_pretrained(folder)
