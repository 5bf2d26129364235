"""Qwen-Image: a stock QwenImagePipeline. Knows no training runs.

Its VAE is one for videos; a picture is a video of one frame. Shape letters: B batch, C channels, H W pixels,
h w latent cells, T tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, flow, toys
from greenroom.ml.families.loading import check_folder, variant
from greenroom.ml.families.qwen_image.card import CARD

SHIFT = 2.2
"""Of the training's noise levels, as published recipes for this base have it."""


class QwenImage:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> QwenImagePipeline:
        check_folder(source, CARD)
        pipe = QwenImagePipeline.from_pretrained(
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
        frames = pixels.to(vae.device, vae.dtype).unsqueeze(2)
        latents = vae.encode(frames).latent_dist.mode().squeeze(2).float()
        mean, spread = (
            torch.tensor(numbers, device=latents.device).view(1, -1, 1, 1)
            for numbers in (vae.config.latents_mean, vae.config.latents_std)
        )
        scaled: Tensor = (latents - mean) / spread
        return scaled

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: list[str]) -> list[Prompt]:
        embeds, mask = pipe.encode_prompt(
            list(prompts), device=pipe.text_encoder.device, max_sequence_length=CARD.text_max_tokens
        )
        if mask is None:  # all are equally long
            return [{"embeds": each} for each in embeds]
        return [{"embeds": each[own.bool()]} for each, own in zip(embeds, mask, strict=True)]

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
        sigma = flow.noise_levels(latents, rng, SHIFT)
        noisy = flow.noised(latents, noise, sigma)
        embeds, mask = _padded([prompt["embeds"].to(net.dtype) for prompt in prompts])
        out = net(
            hidden_states=pipe._pack_latents(noisy.to(net.dtype), batch, channels, height, width),
            timestep=sigma,  # NOTE: the network multiplies it by 1000
            encoder_hidden_states=embeds,
            encoder_hidden_states_mask=mask,
            img_shapes=[[(1, height // 2, width // 2)]] * batch,
            return_dict=False,
        )[0]
        velocity = pipe._unpack_latents(
            out, height * pipe.vae_scale_factor, width * pipe.vae_scale_factor, pipe.vae_scale_factor
        )
        return flow.error(velocity.squeeze(2), latents, noise, weights)

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
                # Without one this pipeline does not guide at all; the makers' own "none" is a blank.
                negative_prompt=config.negative or " ",
                width=config.width_px,
                height=config.height_px,
                num_inference_steps=steps,
                true_cfg_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(config.seed + index),
                callback_on_step_end=tell,
            )
            pictures.append(drawn.images[0])
        return pictures


FAMILY = QwenImage()


def _padded(embeds: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """(B,T,D) with zeros behind the shorter prompts, and their mask (B,T); None when all are equally long."""
    batch = nn.utils.rnn.pad_sequence(embeds, batch_first=True)
    if all(len(each) == batch.shape[1] for each in embeds):
        return batch, None  # NOTE: as the pipeline does; without a mask the fast attention kernels are taken
    lengths = torch.tensor([len(each) for each in embeds], device=batch.device)
    return batch, (torch.arange(batch.shape[1], device=batch.device) < lengths[:, None]).long()


def tiny(folder: Path, seed: int = 0) -> None:
    """Save a random pipeline of Qwen-Image's layout at toy width; stock diffusers loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = QwenImageTransformer2DModel(
            in_channels=64,
            out_channels=16,
            num_layers=2,
            attention_head_dim=32,
            num_attention_heads=2,  # as wide as a patch has numbers, or much of its noise could not pass
            joint_attention_dim=16,
            axes_dims_rope=(8, 12, 12),
        )
        vae = AutoencoderKLQwenImage(base_dim=4, z_dim=16, num_res_blocks=1)
        tokenizer = toys.byte_tokenizer(1024 + 34)
        text_encoder = Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(
                text_config={
                    "vocab_size": len(tokenizer),
                    "hidden_size": 16,
                    "intermediate_size": 16,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "rope_parameters": {
                        "rope_type": "default",
                        "mrope_section": [1, 1, 2],
                        "rope_theta": 1e6,
                    },
                },
                vision_config={
                    "depth": 1,
                    "hidden_size": 16,
                    "intermediate_size": 16,
                    "num_heads": 2,
                    "out_hidden_size": 16,
                },
            )
        )
        toys.speak_up(text_encoder)
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=0.9,
        base_image_seq_len=256,
        max_image_seq_len=8192,
        shift_terminal=0.02,
        time_shift_type="exponential",
    )
    QwenImagePipeline(scheduler, vae, text_encoder, tokenizer, transformer).save_pretrained(folder)
