"""Facts of Stable Diffusion 1.x and everything that shares its layout (epsilon or v prediction)."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="sd15",
    title="Stable Diffusion 1.5",
    licence="CreativeML Open RAIL-M",
    gated=False,
    hub_ids=("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    native_px=512,
    size_multiple_px=64,
    pipeline="StableDiffusionPipeline",
    networks=("unet", "vae", "text_encoder"),
    denoiser="unet",
    lora_targets=("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
    default_steps=25,
    default_guidance=7.0,
    text_max_tokens=77,
    prediction="epsilon",
    key_formats=("diffusers", "kohya"),
    architecture="stable-diffusion-v1",
    activation_bytes=6_400_000_000,
    is_activation_measured=False,
    forward_flops=8.0e11,
)
