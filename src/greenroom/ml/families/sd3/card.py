"""Facts of Stable Diffusion 3 and 3.5, medium and large."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="sd3",
    title="Stable Diffusion 3.5",
    licence="Stability AI Community License",
    gated=True,
    hub_ids=("stabilityai/stable-diffusion-3.5-medium", "stabilityai/stable-diffusion-3.5-large"),
    native_px=1024,
    size_multiple_px=32,
    pipeline="StableDiffusion3Pipeline",
    networks=("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
    denoiser="transformer",
    lora_targets=(
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
        "ff.net.0.proj",
        "ff.net.2",
        "ff_context.net.0.proj",
        "ff_context.net.2",
    ),
    idle_in_last_block=("add_q_proj",),
    default_steps=40,
    default_guidance=4.5,
    text_max_tokens=256,
    prediction="flow",
    key_formats=("diffusers", "kohya"),
    architecture="stable-diffusion-3",
    activation_bytes=40_000_000_000,
    checkpointed_share=0.12,
    is_activation_measured=False,
    forward_flops=1.13e13,
    objective="rectified flow, logit-normal noise levels shifted by 3",
    prompt_style="Plain sentences; the two CLIP encoders read the first 77 tokens, T5 the first 256.",
    advice="Train and draw on the same size; medium and large do not share LoRAs.",
)
