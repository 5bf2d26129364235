"""Facts of the starter base: a small text-to-image model of cartoon characters in the layout of Z-Image."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="starter",
    title="Greenroom starter",
    licence="Apache-2.0",
    gated=False,
    hub_ids=(),
    native_px=128,
    size_multiple_px=16,
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
    default_steps=20,
    default_guidance=2.0,
    text_max_tokens=512,
    prediction="x0-flow",
    key_formats=("diffusers",),
    architecture="greenroom-starter-v1",
    activation_bytes=32_000_000,
)
