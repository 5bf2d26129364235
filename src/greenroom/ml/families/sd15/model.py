"""Stable Diffusion 1.x: a stock StableDiffusionPipeline, epsilon or v prediction. Knows no training runs.

The text encoder is not trained. The safety checker is not loaded: what may be drawn is not for a base to say.
Shape letters: B batch, C channels, H W pixels, h w latent cells, T tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from greenroom.errors import BadBase
from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, toys
from greenroom.ml.families.loading import check_folder, variant
from greenroom.ml.families.sd15.card import CARD


class SD15:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
        check_folder(source, CARD)
        pipe = StableDiffusionPipeline.from_pretrained(
            source,
            dtype=dtype,
            variant=variant(source, CARD),
            local_files_only=True,
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        for network in (pipe.unet, pipe.vae, pipe.text_encoder):
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
        embeds, _ = pipe.encode_prompt(
            list(prompts),
            pipe.text_encoder.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
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
        """Mean squared error of epsilon or v, a float32 scalar; min-SNR weighted if the config asks for it.

        Source: Ho et al. 2020, arXiv:2006.11239; Salimans & Ho 2022, arXiv:2202.00512; Hang et al. 2023,
        arXiv:2303.09556.
        """
        net, scheduler = pipe.unet, pipe.scheduler
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        steps = torch.randint(
            scheduler.config.num_train_timesteps, (len(latents),), generator=rng, device=latents.device
        )
        kept = scheduler.alphas_cumprod.to(latents.device)[steps].float()
        signal, spread = kept.sqrt().view(-1, 1, 1, 1), (1 - kept).sqrt().view(-1, 1, 1, 1)
        noisy = signal * latents + spread * noise
        out = net(
            noisy.to(net.dtype),
            steps,
            torch.stack([prompt["embeds"] for prompt in prompts]).to(net.dtype),
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
                negative_prompt=config.negative,
                width=config.width_px,
                height=config.height_px,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(config.seed + index),
                callback_on_step_end=tell,
            )
            pictures.append(drawn.images[0])
        return pictures


FAMILY = SD15()


def tiny(folder: Path, seed: int = 0, prediction_type: str = "epsilon") -> None:
    """Save a random pipeline of SD 1.x's layout at toy width (3 MB); stock diffusers loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=32,
            attention_head_dim=4,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
        )
        tokenizer = toys.clip_tokenizer()
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=37,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=77,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    ).save_pretrained(folder)
