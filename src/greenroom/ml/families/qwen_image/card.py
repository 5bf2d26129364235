"""Facts of Qwen-Image."""

from __future__ import annotations

from greenroom.ml.families.card import Card

CARD = Card(
    id="qwen_image",
    title="Qwen-Image",
    licence="Apache-2.0",
    gated=False,
    hub_ids=("Qwen/Qwen-Image", "Qwen/Qwen-Image-2512"),
    native_px=1024,
    size_multiple_px=32,
    pipeline="QwenImagePipeline",
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
        "img_mlp.net.0.proj",
        "img_mlp.net.2",
        "txt_mlp.net.0.proj",
        "txt_mlp.net.2",
    ),
    idle_in_last_block=("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
    default_steps=50,
    default_guidance=4.0,
    guidance_argument="true_cfg_scale",
    text_max_tokens=512,
    prediction="flow",
    key_formats=("diffusers",),
    architecture="Qwen-Image",
    activation_bytes=82_000_000_000,
    checkpointed_share=0.12,
    is_activation_measured=False,
    forward_flops=7.8e13,
    objective="rectified flow, logit-normal noise levels shifted by 2.2",
    prompt_style="Long plain descriptions, in English or Chinese; it writes text well.",
    advice="Train and draw on Qwen-Image; the edit models are another family.",
)
