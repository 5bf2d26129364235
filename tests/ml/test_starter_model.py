"""The starter's own training and what ships: real renders, few of them, at toy width."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, ZImagePipeline, ZImageTransformer2DModel
from safetensors.torch import load_file

import greenroom.ml.starter
from greenroom.ml.starter import codec, vocabulary
from greenroom.ml.starter.data import write_shard
from greenroom.ml.starter.forward import denoise
from greenroom.ml.starter.optimizer import orthogonal

WEIGHTS = Path(greenroom.ml.starter.__file__).parent / "weights"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shard(folder, 0, count=40, size_px=128)
    return folder


def run(module: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"greenroom.ml.starter.{module}", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_encoder_is_exactly_the_principal_components(shards: Path) -> None:
    pictures = np.load(shards / "shard-0000.npy")
    basis, mean = codec.principal_components(pictures)
    vae = codec.build(basis, mean)
    by_network = vae.encode(codec.to_pixels(pictures[:4])).latents * codec.SCALING_FACTOR
    assert torch.allclose(by_network, codec.encode(pictures[:4], basis, mean), atol=1e-4)
    assert torch.allclose(basis @ basis.T, torch.eye(codec.LATENT_CHANNELS), atol=1e-4)


def test_the_components_alone_already_hold_the_picture(shards: Path) -> None:
    pictures = np.load(shards / "shard-0000.npy")
    basis, mean = codec.principal_components(pictures)
    again = codec.linear_decode(codec.encode(pictures[:8], basis, mean), basis, mean)
    error = (again - codec.to_pixels(pictures[:8])).square().mean()
    assert 10 * torch.log10(4 / error) > 24  # dB


def test_the_batched_forward_is_the_stock_one() -> None:
    torch.manual_seed(0)
    net = ZImageTransformer2DModel(
        in_channels=32, dim=64, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 12, 12], axes_lens=[128, 64, 64],
    )  # fmt: skip
    torch.nn.init.normal_(net.cap_pad_token)
    noisy, t, captions = torch.randn(3, 32, 16, 16), torch.rand(3), torch.randn(3, 32, 16)
    is_text = torch.arange(32) < torch.tensor([[5], [32], [17]])
    with torch.no_grad():
        ours = denoise(net, noisy, t, captions, is_text)
        words = [caption[mask] for caption, mask in zip(captions, is_text, strict=True)]
        stock = net(list(noisy.unsqueeze(2)), t, words, return_dict=False)[0]
    assert torch.allclose(ours, torch.stack(stock)[:, :, 0], atol=1e-5)


def test_muon_evens_out_the_singular_values() -> None:
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.logspace(0, -2, 60)
    )
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_the_tokenizer_spells_any_word() -> None:
    tokenizer = vocabulary.learn(["a woman with purple hair"] * 30, size=300)
    for word in ("kia_01", "żółć", "猫", "a-b_c9"):
        assert tokenizer.decode(tokenizer(word).input_ids).strip() == word
    assert tokenizer("").input_ids == []
    assert len(tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)) > 0


@pytest.mark.slow
def test_pretraining_goes_on_with_the_same_numbers(shards: Path, tmp_path: Path) -> None:
    common = ["--data", shards, "--width", 64, "--layers", 1, "--batch", 4, "--threads", 1, "--log-every", 1]
    run("train", "--run", tmp_path / "whole", "--samples", 16, *common)
    run("train", "--run", tmp_path / "parts", "--samples", 8, *common)
    run("train", "--run", tmp_path / "parts", "--samples", 16, *common)
    whole, parts = (load_file(tmp_path / name / "state" / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert list((tmp_path / "whole" / "sheets").glob("*.png"))

    out = tmp_path / "pipeline"
    run("train_decoder", "--run", tmp_path / "decoder", "--data", shards, "--hours", 0.0001, "--batch", 2)
    run("assemble", "--run", tmp_path / "whole", "--data", shards, "--out", out,
        "--decoder", tmp_path / "decoder" / "decoder.safetensors")  # fmt: skip
    assert isinstance(DiffusionPipeline.from_pretrained(out), ZImagePipeline)


def test_what_ships_is_small_and_stock_diffusers_draws_with_it() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) < 40_000_000
    pipe = DiffusionPipeline.from_pretrained(WEIGHTS, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    drawn = [
        np.asarray(
            pipe(
                "a green monster, on a yellow background",
                height=128,
                width=128,
                num_inference_steps=6,
                guidance_scale=2.0,
                generator=torch.Generator().manual_seed(seed),
            ).images[0],
            dtype=float,
        )
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    corner = drawn[0][:24, :24].mean((0, 1))
    assert corner[0] > 150 > corner[2], f"the background is not yellow: {corner}"
