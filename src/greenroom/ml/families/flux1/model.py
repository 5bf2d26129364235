"""FLUX.1: a stock FluxPipeline. Knows no training runs.

Shape letters: B batch, C channels, H W pixels, h w latent cells, T tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from PIL import Image
from torch import Tensor, nn

from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, flow, toys
from greenroom.ml.families.flux1.card import CARD
from greenroom.ml.families.loading import check_folder, variant

TRAINING_GUIDANCE = 1.0
"""What the guidance embedding is told in training: the pictures are not guided ones. As kohya's trainer does."""

NEGATIVE_SCALE = 2.0
"""True guidance when there is a negative prompt, which this base does not know of itself."""


class Flux1:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> FluxPipeline:
        check_folder(source, CARD)
        pipe = FluxPipeline.from_pretrained(
            source, dtype=dtype, variant=variant(source, CARD), local_files_only=True, use_safetensors=True
        )
        pipe.set_progress_bar_config(disable=True)
        for network in (pipe.transformer, pipe.vae, pipe.text_encoder, pipe.text_encoder_2):
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
        embeds, pooled, _ = pipe.encode_prompt(
            list(prompts), device=pipe.text_encoder.device, max_sequence_length=CARD.text_max_tokens
        )
        return [{"embeds": one, "pooled": whole} for one, whole in zip(embeds, pooled, strict=True)]

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
        batch, channels, height, width = latents.shape
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        sigma = flow.noise_levels(latents, rng)
        noisy = flow.noised(latents, noise, sigma)
        embeds = torch.stack([prompt["embeds"] for prompt in prompts]).to(net.dtype)
        guidance = torch.full((batch,), TRAINING_GUIDANCE, device=latents.device)
        out = net(
            hidden_states=pipe._pack_latents(noisy.to(net.dtype), batch, channels, height, width),
            timestep=sigma,  # NOTE: the network multiplies it by 1000
            guidance=guidance if net.config.guidance_embeds else None,
            pooled_projections=torch.stack([prompt["pooled"] for prompt in prompts]).to(net.dtype),
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3, device=latents.device, dtype=net.dtype),
            img_ids=pipe._prepare_latent_image_ids(batch, height // 2, width // 2, latents.device, net.dtype),
            return_dict=False,
        )[0]
        velocity = pipe._unpack_latents(
            out, height * pipe.vae_scale_factor, width * pipe.vae_scale_factor, pipe.vae_scale_factor
        )
        return flow.error(velocity, latents, noise, weights)

    def generate(self, pipe: Any, config: GenerateConfig, on_step: OnStep) -> list[Image.Image]:
        steps = config.steps or CARD.default_steps
        guidance = CARD.default_guidance if config.guidance is None else config.guidance
        negative = {"negative_prompt": config.negative, "true_cfg_scale": NEGATIVE_SCALE}
        pictures: list[Image.Image] = []

        def tell(_pipe: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(len(pictures) * steps + step + 1, config.count * steps)
            return tensors

        # One at a time: sums inside a matrix product depend on the batch; a seed must give the same bytes.
        for index in range(config.count):
            drawn = pipe(
                prompt=config.prompt,
                **(negative if config.negative else {}),
                width=config.width_px,
                height=config.height_px,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(config.seed + index),
                callback_on_step_end=tell,
            )
            pictures.append(drawn.images[0])
        return pictures


FAMILY = Flux1()


def tiny(folder: Path, seed: int = 0) -> None:
    """Save a random pipeline of FLUX.1's layout at toy width; stock diffusers loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=6,  # wider than a patch of 64 numbers, or much of its noise could not pass
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        )
        vae = toys.vae(
            16, shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False, use_post_quant_conv=False
        )
        clip_tokenizer, t5_tokenizer = toys.clip_tokenizer(), toys.byte_tokenizer()
        clip = toys.clip(clip_tokenizer, 16, projection=False)
        t5 = toys.t5(t5_tokenizer, 16)
        toys.speak_up(t5)
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
    FluxPipeline(scheduler, vae, clip, clip_tokenizer, t5, t5_tokenizer, transformer).save_pretrained(folder)
