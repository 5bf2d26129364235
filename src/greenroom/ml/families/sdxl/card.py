"""Facts of Stable Diffusion XL 1.0 and everything that shares its layout (epsilon or v prediction)."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="sdxl",
    title="Stable Diffusion XL",
    licence="CreativeML Open RAIL++-M",
    gated=False,
    hub_ids=("stabilityai/stable-diffusion-xl-base-1.0",),
    native_px=1024,
    size_multiple_px=64,
    pipeline="StableDiffusionXLPipeline",
    networks=("unet", "vae", "text_encoder", "text_encoder_2"),
    denoiser="unet",
    lora_targets=(
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "ff.net.0.proj",
        "ff.net.2",
        "proj_in",
        "proj_out",
    ),
    default_steps=30,
    default_guidance=6.0,
    text_max_tokens=77,
    prediction="epsilon",
    key_formats=("diffusers", "kohya"),
    architecture="stable-diffusion-xl-v1-base",
    activation_bytes=19_000_000_000,
    checkpointed_share=0.2,
    is_activation_measured=False,
    forward_flops=6.8e12,
    objective="epsilon or v as the base's scheduler says, min-SNR weighting on request, uniform timesteps",
    prompt_style="A sentence or tags, up to 77 tokens.",
    advice="Train on the base that you draw with: LoRAs pass between bases of one descent, with some loss.",
)
