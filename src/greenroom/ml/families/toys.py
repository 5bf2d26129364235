"""Small random text encoders, tokenizers and a VAE for the `tiny` pipelines of the families. Knows no family.

Every tokenizer spells any text in bytes, so no vocabulary is needed.
"""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vae(latent_channels: int, **changes: Any) -> AutoencoderKL:
    """An autoencoder of factor 8."""
    return AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=64,
        **changes,
    )


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's own byte letters, each alone and at the end of a word; no merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = letters + [f"{letter}</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77
    )


def clip(tokenizer: CLIPTokenizer, width: int, *, projection: bool) -> CLIPTextModel:
    """A CLIP text encoder; with a projection it also gives the pooled text that SDXL and SD 3 read."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def byte_tokenizer(max_length: int = 512) -> PreTrainedTokenizerFast:
    """A byte tokenizer with a chat template, in the place of Qwen's and T5's."""
    specials = ["<pad>", "</s>", "<|im_start|>", "<|im_end|>"]
    words = specials + sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        padding_side="right",
        model_max_length=max_length,
        chat_template=CHAT,
    )


def t5(tokenizer: PreTrainedTokenizerFast, width: int) -> T5EncoderModel:
    """A T5 encoder of two layers."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=8,
            d_ff=width,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def speak_up(encoder: nn.Module) -> None:
    """Larger word embeddings: with the usual 0.02 all prompts would be nearly alike to a random encoder."""
    nn.init.normal_(encoder.get_input_embeddings().weight)  # type: ignore[operator]
