"""FLUX.2 [klein]: a stock Flux2KleinPipeline. Knows no training runs.

The latents of this family are those that the denoiser reads: patches of 2x2 VAE cells, each channel normalised
by the VAE's running statistics. Shape letters: B batch, C channels, H W pixels, h w such patches, T tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, flow, toys
from greenroom.ml.families.flux2_klein.card import CARD
from greenroom.ml.families.loading import check_folder, variant


class Flux2Klein:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> Flux2KleinPipeline:
        check_folder(source, CARD)
        pipe = Flux2KleinPipeline.from_pretrained(
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
        vae = pipe.vae
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float()
        patches = pipe._patchify_latents(latents)
        # NOTE: the statistics are per channel of a patch, so they are applied after the patches are made.
        mean = vae.bn.running_mean.view(1, -1, 1, 1).float()
        spread = (vae.bn.running_var.view(1, -1, 1, 1).float() + vae.config.batch_norm_eps).sqrt()
        scaled: Tensor = (patches - mean) / spread
        return scaled

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: list[str]) -> list[Prompt]:
        # Padded to 512 tokens, without a mask for the denoiser: that is how the base was trained.
        embeds, _ = pipe.encode_prompt(
            list(prompts), device=pipe.text_encoder.device, max_sequence_length=CARD.text_max_tokens
        )
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
        sigma = flow.noise_levels(latents, rng, flow.shift_of(latents.shape[2] * latents.shape[3]))
        noisy = flow.noised(latents, noise, sigma)
        embeds = torch.stack([prompt["embeds"] for prompt in prompts]).to(net.dtype)
        out = net(
            hidden_states=pipe._pack_latents(noisy.to(net.dtype)),
            timestep=sigma,  # NOTE: the network multiplies it by 1000
            guidance=None,
            encoder_hidden_states=embeds,
            txt_ids=pipe._prepare_text_ids(embeds).to(latents.device),
            img_ids=pipe._prepare_latent_ids(latents).to(latents.device),
            return_dict=False,
        )[0]
        return flow.error(out.transpose(1, 2).reshape(latents.shape), latents, noise, weights)

    def generate(self, pipe: Any, config: GenerateConfig, on_step: OnStep) -> list[Image.Image]:
        steps = config.steps or CARD.default_steps
        guidance = CARD.default_guidance if config.guidance is None else config.guidance
        pictures: list[Image.Image] = []

        def tell(_pipe: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(len(pictures) * steps + step + 1, config.count * steps)
            return tensors

        # This pipeline takes a negative prompt as embeddings only, and otherwise guides away from "".
        negative = {}
        if config.negative and guidance > 1 and not pipe.config.is_distilled:
            negative["negative_prompt_embeds"] = self.encode_prompts(pipe, [config.negative])[0]["embeds"][
                None
            ]

        # One at a time: sums inside a matrix product depend on the batch; a seed must give the same bytes.
        for index in range(config.count):
            drawn = pipe(
                prompt=config.prompt,  # NOTE: by name; this pipeline's first argument is an image
                **negative,
                width=config.width_px,
                height=config.height_px,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(config.seed + index),
                callback_on_step_end=tell,
            )
            pictures.append(drawn.images[0])
        return pictures


FAMILY = Flux2Klein()


def tiny(folder: Path, seed: int = 0) -> None:
    """Save a random pipeline of FLUX.2 klein's layout at toy width; stock diffusers loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = Flux2Transformer2DModel(
            in_channels=32,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=32,
            num_attention_heads=2,  # at least as wide as a patch has numbers, or much of its noise could not pass
            joint_attention_dim=24,
            timestep_guidance_channels=32,
            axes_dims_rope=(8, 8, 8, 8),
            guidance_embeds=False,
        )
        vae = AutoencoderKLFlux2(
            block_out_channels=(4, 4, 8, 8),
            layers_per_block=1,
            latent_channels=8,
            norm_num_groups=4,
            sample_size=64,
        )
        vae.bn.running_mean.normal_(0, 0.1)
        vae.bn.running_var.uniform_(0.5, 2)
        tokenizer = toys.byte_tokenizer()
        text_encoder = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=28,  # the pipeline reads the hidden states 9, 18 and 27
                num_attention_heads=1,
                num_key_value_heads=1,
                head_dim=8,
            )
        )
        toys.speak_up(text_encoder)
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
    Flux2KleinPipeline(scheduler, vae, text_encoder, tokenizer, transformer).save_pretrained(folder)
