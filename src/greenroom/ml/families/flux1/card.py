"""Facts of FLUX.1 [dev] and everything that shares its layout."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="flux1",
    title="FLUX.1 [dev]",
    licence="FLUX.1 [dev] Non-Commercial License",
    gated=True,
    hub_ids=("black-forest-labs/FLUX.1-dev",),
    native_px=1024,
    size_multiple_px=32,
    pipeline="FluxPipeline",
    networks=("transformer", "vae", "text_encoder", "text_encoder_2"),
    denoiser="transformer",
    lora_targets=(
        "attn.to_q",
        "attn.to_k",
        "attn.to_v",
        "attn.to_out.0",
        "attn.add_q_proj",
        "attn.add_k_proj",
        "attn.add_v_proj",
        "attn.to_add_out",
        "ff.net.0.proj",
        "ff.net.2",
        "ff_context.net.0.proj",
        "ff_context.net.2",
        "proj_mlp",
        "proj_out",
    ),
    default_steps=28,
    default_guidance=3.5,
    text_max_tokens=512,
    prediction="flow",
    key_formats=("diffusers", "kohya"),
    architecture="flux-1-dev",
    activation_bytes=75_000_000_000,
    checkpointed_share=0.12,
    is_activation_measured=False,
    forward_flops=7.4e13,
    objective="rectified flow, logit-normal noise levels, guidance embedding 1",
    prompt_style="One or two plain sentences; it reads long descriptions well.",
    advice="Train and draw on [dev]. A negative prompt doubles the drawing time: the base is guidance-distilled.",
)
