"""The starter base: a stock ZImagePipeline whose transformer predicts clean latents. Knows no training runs.

Shape letters: B batch, C channels, H W pixels, h w latent cells, T tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    UniPCMultistepScheduler,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import OnStep, Prompt, flow
from greenroom.ml.families.loading import check_folder, variant
from greenroom.ml.families.starter.card import CARD

MIN_NOISE = 0.05
"""Floor of 1 - t in the velocity loss; below it the weight would explode. Li & He 2025, arXiv:2511.13720."""

TIME_MEAN, TIME_STD = -0.8, 1.6
"""t = sigmoid(normal(mean, std)), as the base was trained."""


class Starter:
    """See `Family` for what each method promises."""

    card = CARD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> ZImagePipeline:
        check_folder(source, CARD)
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
        vae = pipe.vae
        latents = vae.encode(pixels.to(vae.device, vae.dtype), return_dict=False)[0].float()
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
        """Velocity loss of a network that predicts the clean latents x, a float32 scalar.

        z = t x + (1 - t) noise; loss = mean |x' - x|^2 / max(1 - t, MIN_NOISE)^2. Source: arXiv:2511.13720.
        """
        net = pipe.transformer
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        t = (
            torch.randn(len(latents), generator=rng, device=latents.device)
            .mul_(TIME_STD)
            .add_(TIME_MEAN)
            .sigmoid_()
        )
        part = t.view(-1, 1, 1, 1)
        noisy = torch.lerp(noise, latents, part)
        out = net(
            list(noisy.to(net.dtype).unsqueeze(2).unbind()),
            t,
            [prompt["embeds"].to(net.dtype) for prompt in prompts],
            return_dict=False,
        )[0]
        # NOTE: the pipeline negates the network's output, so the prediction of x is minus what it returns.
        error = torch.stack(out).squeeze(2).float() + latents
        return flow.weighted(error / (1 - part).clamp_min(MIN_NOISE), weights)

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


FAMILY = Starter()


def tiny(folder: Path, seed: int = 0) -> None:
    """Save a random pipeline of the starter's layout at toy width (0.4 MB); stock diffusers loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = ZImageTransformer2DModel(
            in_channels=32,
            dim=64,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[8, 12, 12],
            axes_lens=[1024, 64, 64],
        )
        vae = AutoencoderDC(
            latent_channels=32,
            encoder_block_out_channels=(3, 12, 24, 48),
            encoder_layers_per_block=(0, 1, 1, 0),
            encoder_qkv_multiscales=((),) * 4,
            encoder_out_shortcut=False,
            decoder_block_out_channels=(3, 4, 8, 8),
            decoder_layers_per_block=(0, 1, 1, 1),
            decoder_qkv_multiscales=((),) * 4,
            decoder_in_shortcut=False,
            decoder_norm_types="batch_norm",
            decoder_act_fns="relu",
            scaling_factor=1.3,
        )
        # ZImagePipeline reads these two, which the class itself does not have.
        vae.register_to_config(block_out_channels=[3, 4, 8, 8], shift_factor=0.0)
        tokenizer = _byte_tokenizer()
        text_encoder = Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=16,
            )
        )
        nn.init.normal_(text_encoder.embed_tokens.weight)  # the default of 0.02 would make all prompts alike
        # Random weights decode every latent to nearly one grey, which would make all pictures alike.
        with torch.no_grad():
            vae.decoder.conv_out.conv.weight.mul_(6)
    # NOTE: without Karras' noise levels the pipeline's list of sigmas breaks UniPC (a list times a float).
    scheduler = UniPCMultistepScheduler(
        prediction_type="sample", use_flow_sigmas=True, use_karras_sigmas=True, sigma_max=40.0, sigma_min=0.03
    )
    ZImagePipeline(scheduler, vae, text_encoder, tokenizer, transformer).save_pretrained(folder)


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["<pad>", "<s>"]
    words = specials + sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        padding_side="right",
        model_max_length=512,
        chat_template="{% for message in messages %}<s>{{ message['content'] }}{% endfor %}",
    )
