"""Facts of Z-Image and Z-Image-Turbo."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="zimage",
    title="Z-Image",
    licence="Apache-2.0",
    gated=False,
    hub_ids=("Tongyi-MAI/Z-Image", "Tongyi-MAI/Z-Image-Turbo"),
    native_px=1024,
    size_multiple_px=32,
    pipeline="ZImagePipeline",
    networks=("transformer", "vae", "text_encoder"),
    denoiser="transformer",
    lora_targets=(
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "feed_forward.w1",
        "feed_forward.w2",
        "feed_forward.w3",
    ),
    default_steps=50,
    default_guidance=4.0,
    text_max_tokens=512,
    prediction="flow",
    key_formats=("diffusers",),
    architecture="Z-Image",
    activation_bytes=65_000_000_000,
    checkpointed_share=0.12,
    is_activation_measured=False,
    forward_flops=6.3e13,
    objective="rectified flow, logit-normal noise levels shifted by 2",
    prompt_style="Long plain descriptions, in English or Chinese.",
    advice=(
        "Train on Z-Image, not on Turbo: a plain LoRA trained on Turbo unlearns its few steps. Draw on Z-Image, "
        "or on Turbo with 9 steps and guidance 0."
    ),
)
