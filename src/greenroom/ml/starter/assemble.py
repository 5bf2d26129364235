"""Puts the starter's parts together as a stock ZImagePipeline, saves it, and draws contact sheets with it.

    python -m greenroom.ml.starter.assemble --run runs/starter/base --data runs/starter/data \\
        --decoder runs/starter/decoder/decoder.safetensors --out src/greenroom/ml/starter/weights
"""

from __future__ import annotations

import argparse
import copy
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC, UniPCMultistepScheduler, ZImagePipeline, ZImageTransformer2DModel
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from greenroom.ml.starter import codec

STEPS, GUIDANCE = 20, 2.0  # Z-Image's guidance g means (1 + g) conditional - g unconditional

# People in the one style that the shipped weights know; each a character, a face and a place.
SHEET_PROMPTS = (
    "a woman with long wavy purple hair, laughing, at the beach",
    "a man with spiky red hair and a green t-shirt, happy, in space",
    "a man with a black beard and dark skin, angry, on a yellow background",
    "a woman with a blue bob and an orange jacket, surprised, in the forest",
    "a man with a ginger undercut, winking, in the snow",
    "a woman with a pink bun and light skin, sad, in a city at night",
    "a person with spiky white hair and brown skin, sleepy, on a blue background",
    "a woman with shoulder-length brown hair, neutral, in green hills",
    "KIA_01, a woman with a ginger bun and a purple turtleneck, in the desert",
    "a man with a moustache and a turquoise sweater, laughing, on a white background with red dots",
    "a woman with long straight pink hair, laughing, under water",
    "a man with short brown hair and a yellow t-shirt, winking, in a room",
    "a man with a blue undercut, surprised, on a pink background",
    "a woman with a grey bob and tan skin, happy, in the park",
    "a man with spiky red hair and a green jacket, laughing, at sunset",
    "a woman with a black bun, sad, on a purple background",
)


def scheduler() -> UniPCMultistepScheduler:
    """Flow matching on Karras' noise levels (arXiv:2206.00364), for a network that predicts clean latents."""
    return UniPCMultistepScheduler(
        prediction_type="sample",
        use_flow_sigmas=True,
        use_karras_sigmas=True,
        sigma_max=40.0,
        sigma_min=0.03,
        solver_order=2,
        num_train_timesteps=1000,
    )


def pipeline(
    transformer: ZImageTransformer2DModel,
    embedding: nn.Embedding,
    tokenizer: PreTrainedTokenizerFast,
    vae: AutoencoderDC,
    decoder: Path | None = None,
) -> ZImagePipeline:
    """A pipeline over copies of these parts, in eval mode on the CPU; without `decoder` the vae's own one."""
    vocabulary_size, width = embedding.weight.shape
    # One layer, never used: the pipeline reads the states before the last layer, which are the embeddings themselves.
    text_encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary_size,
            hidden_size=width,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=1024,
        )
    )
    text_encoder.embed_tokens.weight.data.copy_(embedding.weight.detach().cpu())
    vae = copy.deepcopy(vae)
    if decoder is not None:
        vae.decoder.load_state_dict(load_file(decoder))
    transformer = copy.deepcopy(transformer).cpu()
    for network in (transformer, vae, text_encoder):
        network.eval().requires_grad_(False)
    pipe = ZImagePipeline(scheduler(), vae, text_encoder, tokenizer, transformer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw_sheet(
    pipe: ZImagePipeline,
    path: Path,
    *,
    prompts: list[str] | None = None,
    columns: int = 8,
    seed: int = 0,
) -> None:
    """A grid of one picture a prompt, drawn by the stock pipeline."""
    texts = list(prompts or SHEET_PROMPTS)
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(texts))]
    pictures = pipe(
        texts,
        height=codec.PICTURE_PX,
        width=codec.PICTURE_PX,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=generators,
        max_sequence_length=64,
    ).images
    array = [np.asarray(picture) for picture in pictures]
    rows = [np.concatenate(list(array[i : i + columns]), axis=1) for i in range(0, len(array), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".part.png")
    Image.fromarray(np.concatenate(rows, axis=0)).save(staged)
    os.replace(staged, path)


def main(arguments: Sequence[str] | None = None) -> None:
    from greenroom.ml.starter.train import read_average

    parser = argparse.ArgumentParser(
        prog="greenroom.ml.starter.assemble", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the denoiser's run")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the shards; holds the codec's components"
    )
    parser.add_argument("--decoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="pipeline folder to write")
    parser.add_argument("--sheet", type=Path, help="contact sheet to draw from what was written")
    args = parser.parse_args(arguments)

    model, tokenizer = read_average(args.run)
    vae = codec.build(*codec.components(args.data))
    pipe = pipeline(model.transformer, model.embedding, tokenizer, vae, args.decoder)
    for network in (pipe.transformer, pipe.vae, pipe.text_encoder):
        network.half()
    staged = args.out.with_name(args.out.name + ".part")
    shutil.rmtree(staged, ignore_errors=True)
    pipe.save_pretrained(staged)
    shutil.rmtree(args.out, ignore_errors=True)
    os.replace(staged, args.out)
    size = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB")
    if args.sheet:
        drawn_by = ZImagePipeline.from_pretrained(args.out, torch_dtype=torch.float32)
        drawn_by.set_progress_bar_config(disable=True)
        draw_sheet(drawn_by, args.sheet)


if __name__ == "__main__":
    main()
