"""Stable Diffusion 3 and 3.5: a stock StableDiffusion3Pipeline. Knows no training runs.

Shape letters: B batch, C channels, H W pixels, h w latent cells, T tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from PIL import Image
from torch import Tensor, nn

from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, flow, toys
from greenroom.ml.families.loading import check_folder, variant
from greenroom.ml.families.sd3.card import CARD

SHIFT = 3.0
"""Of the training's noise levels, as of the sampler's. Source: Esser et al. 2024, arXiv:2403.03206, 5.3.2."""


class SD3:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> StableDiffusion3Pipeline:
        check_folder(source, CARD)
        pipe = StableDiffusion3Pipeline.from_pretrained(
            source, dtype=dtype, variant=variant(source, CARD), local_files_only=True, use_safetensors=True
        )
        pipe.set_progress_bar_config(disable=True)
        for network in (
            pipe.transformer,
            pipe.vae,
            pipe.text_encoder,
            pipe.text_encoder_2,
            pipe.text_encoder_3,
        ):
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
        embeds, _, pooled, _ = pipe.encode_prompt(
            list(prompts),
            prompt_2=None,
            prompt_3=None,
            device=pipe.text_encoder.device,
            do_classifier_free_guidance=False,
            max_sequence_length=CARD.text_max_tokens,
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
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        sigma = flow.noise_levels(latents, rng, SHIFT)
        velocity = net(
            hidden_states=flow.noised(latents, noise, sigma).to(net.dtype),
            timestep=1000 * sigma,
            encoder_hidden_states=torch.stack([prompt["embeds"] for prompt in prompts]).to(net.dtype),
            pooled_projections=torch.stack([prompt["pooled"] for prompt in prompts]).to(net.dtype),
            return_dict=False,
        )[0]
        return flow.error(velocity, latents, noise, weights)

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
                prompt=config.prompt,
                negative_prompt=config.negative,
                width=config.width_px,
                height=config.height_px,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(config.seed + index),
                callback_on_step_end=tell,
                max_sequence_length=CARD.text_max_tokens,
            )
            pictures.append(drawn.images[0])
        return pictures


FAMILY = SD3()


def tiny(folder: Path, seed: int = 0) -> None:
    """Save a random pipeline of SD 3.5 medium's layout at toy width; stock diffusers loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = SD3Transformer2DModel(
            sample_size=16,
            in_channels=16,
            num_layers=2,
            attention_head_dim=32,
            num_attention_heads=2,  # as wide as a patch has numbers, or much of its noise could not pass
            joint_attention_dim=16,
            caption_projection_dim=64,
            pooled_projection_dim=16,
            pos_embed_max_size=32,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
        vae = toys.vae(
            16, shift_factor=0.0609, scaling_factor=1.5305, use_quant_conv=False, use_post_quant_conv=False
        )
        clip_tokenizer, t5_tokenizer = toys.clip_tokenizer(), toys.byte_tokenizer()
        clips = [toys.clip(clip_tokenizer, 8, projection=True) for _ in range(2)]
        t5 = toys.t5(t5_tokenizer, 16)
        toys.speak_up(t5)
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=vae,
        text_encoder=clips[0],
        tokenizer=clip_tokenizer,
        text_encoder_2=clips[1],
        tokenizer_2=toys.clip_tokenizer(),
        text_encoder_3=t5,
        tokenizer_3=t5_tokenizer,
    ).save_pretrained(folder)
