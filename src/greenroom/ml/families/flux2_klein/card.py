"""Facts of FLUX.2 [klein] 4B and 9B, the base and the distilled ones."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="flux2_klein",
    title="FLUX.2 [klein]",
    licence="Apache-2.0 (4B); FLUX Non-Commercial License, gated (9B)",
    gated=False,
    hub_ids=(
        "black-forest-labs/FLUX.2-klein-base-4B",
        "black-forest-labs/FLUX.2-klein-base-9B",
        "black-forest-labs/FLUX.2-klein-4B",
        "black-forest-labs/FLUX.2-klein-9B",
    ),
    native_px=1024,
    size_multiple_px=32,
    pipeline="Flux2KleinPipeline",
    networks=("transformer", "vae", "text_encoder"),
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
        "ff.linear_in",
        "ff.linear_out",
        "ff_context.linear_in",
        "ff_context.linear_out",
        "attn.to_qkv_mlp_proj",  # a single block's attention and feed-forward in one matrix
        "attn.to_out",  # and its way out; the double blocks' is to_out.0
    ),
    default_steps=50,
    default_guidance=4.0,
    text_max_tokens=512,
    prediction="flow",
    key_formats=("diffusers",),
    architecture="Flux.2-klein",
    activation_bytes=40_000_000_000,
    checkpointed_share=0.12,
    is_activation_measured=False,
    forward_flops=3.5e13,
    objective="rectified flow, logit-normal noise levels, shifted by the picture's number of tokens",
    prompt_style="Plain sentences.",
    advice=(
        "Train on a base model (klein-base-4B or -9B). Draw on it, or on the distilled one with 4 steps and "
        "guidance 1. LoRAs of 4B and 9B do not fit each other."
    ),
)
