"""Stable Diffusion XL: a stock StableDiffusionXLPipeline, epsilon or v prediction. Knows no training runs.

The text encoders are not trained. NOTE: the original VAE overflows in fp16; it is loaded in bfloat16 or
float32 only, as the rest. Shape letters: B batch, C channels, H W pixels, h w latent cells, T tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from greenroom.errors import BadBase
from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, toys
from greenroom.ml.families.loading import check_folder, variant
from greenroom.ml.families.sdxl.card import CARD


class SDXL:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> StableDiffusionXLPipeline:
        check_folder(source, CARD)
        pipe = StableDiffusionXLPipeline.from_pretrained(
            source, dtype=dtype, variant=variant(source, CARD), local_files_only=True, use_safetensors=True
        )
        pipe.set_progress_bar_config(disable=True)
        for network in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.text_encoder_2):
            network.eval().requires_grad_(False)
        if device.type == "cuda":
            # Tensor cores convolve channels-last without transposing; a CPU was measured to gain nothing.
            pipe.unet.to(memory_format=torch.channels_last)
        return pipe.to(device)

    def denoiser(self, pipe: Any) -> nn.Module:
        network: nn.Module = pipe.unet
        return network

    @torch.no_grad()
    def encode_pictures(self, pipe: Any, pixels: Tensor) -> Tensor:
        # The mean and not a draw: the spread is a few thousandths, and a cached draw would freeze its noise.
        vae = pipe.vae
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float()
        scaled: Tensor = latents * vae.config.scaling_factor
        return scaled

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: list[str]) -> list[Prompt]:
        embeds, _, pooled, _ = pipe.encode_prompt(
            list(prompts), device=pipe.text_encoder.device, do_classifier_free_guidance=False
        )
        made = [{"embeds": one, "pooled": whole} for one, whole in zip(embeds, pooled, strict=True)]
        if not pipe.config.force_zeros_for_empty_prompt:
            return made
        # NOTE: such a base means "no prompt" by zeros, and its pipeline guides away from zeros, not from "".
        return [
            one if prompt else {name: torch.zeros_like(tensor) for name, tensor in one.items()}
            for prompt, one in zip(prompts, made, strict=True)
        ]

    def loss(
        self,
        pipe: Any,
        latents: Tensor,
        prompts: list[Prompt],
        config: TrainConfig,
        rng: torch.Generator,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of epsilon or v, a float32 scalar; min-SNR weighted if the config asks for it.

        The size condition says what the pipeline says when it draws: the picture's own size, uncropped.
        Source: Ho et al. 2020, arXiv:2006.11239; Salimans & Ho 2022, arXiv:2202.00512; Hang et al. 2023,
        arXiv:2303.09556; Podell et al. 2023, arXiv:2307.01952.
        """
        net, scheduler = pipe.unet, pipe.scheduler
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        steps = torch.randint(
            scheduler.config.num_train_timesteps, (len(latents),), generator=rng, device=latents.device
        )
        kept = scheduler.alphas_cumprod.to(latents.device)[steps].float()
        signal, spread = kept.sqrt().view(-1, 1, 1, 1), (1 - kept).sqrt().view(-1, 1, 1, 1)
        noisy = signal * latents + spread * noise
        size = [side * pipe.vae_scale_factor for side in latents.shape[2:]]
        time_ids = torch.tensor([[*size, 0, 0, *size]], device=latents.device, dtype=net.dtype)
        out = net(
            noisy.to(net.dtype),
            steps,
            torch.stack([prompt["embeds"] for prompt in prompts]).to(net.dtype),
            added_cond_kwargs={
                "text_embeds": torch.stack([prompt["pooled"] for prompt in prompts]).to(net.dtype),
                "time_ids": time_ids.repeat(len(latents), 1),
            },
            return_dict=False,
        )[0].float()
        snr = kept / (1 - kept)
        if scheduler.config.prediction_type == "epsilon":
            target, snr_in_target = noise, snr
        elif scheduler.config.prediction_type == "v_prediction":
            target, snr_in_target = signal * noise - spread * latents, snr + 1
        else:
            raise BadBase(
                f"This base predicts {scheduler.config.prediction_type!r}; this family has epsilon "
                "and v_prediction. Choose another base."
            )
        squares = (out - target).square()
        error = (squares if weights is None else squares * weights).mean(dim=(1, 2, 3))
        if config.min_snr_gamma is not None:
            error = error * snr.clamp_max(config.min_snr_gamma) / snr_in_target.clamp_min(1e-8)
        loss: Tensor = error.mean()
        return loss

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
                negative_prompt=config.negative
                or None,  # None lets the base take zeros, where it was so trained
                width=config.width_px,
                height=config.height_px,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(config.seed + index),
                callback_on_step_end=tell,
            )
            pictures.append(drawn.images[0])
        return pictures


FAMILY = SDXL()


def tiny(folder: Path, seed: int = 0, prediction_type: str = "epsilon") -> None:
    """Save a random pipeline of SDXL's layout at toy width; stock diffusers loads it.

    It has attention in its outer blocks too, or so few layers of a LoRA could hardly learn anything.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=24,
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=16 + 6 * 8,
        )
        vae = toys.vae(4, scaling_factor=0.13025)
        tokenizer = toys.clip_tokenizer()
        encoders = toys.clip(tokenizer, 8, projection=False), toys.clip(tokenizer, 16, projection=True)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        prediction_type=prediction_type,
    )
    StableDiffusionXLPipeline(
        vae, *encoders, tokenizer, toys.clip_tokenizer(), unet, scheduler
    ).save_pretrained(folder)
