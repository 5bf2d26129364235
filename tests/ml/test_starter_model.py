"""The starter's own training and what ships: real renders, few of them, at toy width."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, ZImagePipeline, ZImageTransformer2DModel
from safetensors.torch import load_file

import greenroom.ml.starter
from greenroom.ml.families.starter.model import tiny
from greenroom.ml.starter import assemble, codec, evaluate, judge, train_decoder, vocabulary
from greenroom.ml.starter.data import STYLES, Attributes, caption, write_shard
from greenroom.ml.starter.forward import denoise
from greenroom.ml.starter.optimizer import orthogonal
from greenroom.ml.starter.train_decoder import psnr

WEIGHTS = Path(greenroom.ml.starter.__file__).parent / "weights"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shard(folder, 0, count=40, size_px=128)
    return folder


def pretrain(*arguments: object) -> None:
    command = [sys.executable, "-m", "greenroom.ml.starter.train", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def learn_to_decode(*arguments: object) -> None:
    train_decoder.main([*map(str, arguments), "--threads", str(torch.get_num_threads())])


def test_the_encoder_is_exactly_the_principal_components(shards: Path) -> None:
    pictures = np.load(shards / "shard-0000.npy")
    basis, mean = codec.principal_components(pictures)
    vae = codec.build(basis, mean)
    by_network = vae.encode(codec.to_pixels(pictures[:4])).latent * vae.config.scaling_factor
    assert torch.allclose(by_network, codec.encode(pictures[:4], basis, mean), atol=1e-4)
    assert torch.allclose(basis @ basis.T, torch.eye(codec.LATENT_CHANNELS), atol=1e-4)


def test_the_components_alone_already_hold_the_picture(shards: Path) -> None:
    pictures = np.load(shards / "shard-0000.npy")
    basis, mean = codec.principal_components(pictures)
    again = codec.linear_decode(codec.encode(pictures[:8], basis, mean), basis, mean)
    error = (again - codec.to_pixels(pictures[:8])).square().mean()
    assert 10 * torch.log10(4 / error) > 24  # dB


def test_an_untrained_decoder_is_the_components_own_inverse(shards: Path) -> None:
    pictures = np.load(shards / "shard-0000.npy")[:8]
    basis, mean = codec.components(shards)
    vae = codec.build(basis, mean)
    latents = codec.encode(pictures, basis, mean)
    with torch.no_grad():
        by_network = vae.decode(latents).sample.clamp(-1, 1)
    inverse = codec.linear_decode(latents, basis, mean)
    wanted = codec.to_pixels(pictures)
    assert (by_network - inverse).abs().max() < 0.03
    assert psnr(by_network, wanted).mean() > psnr(inverse, wanted).mean() - 0.1


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
    pretrain("--run", tmp_path / "whole", "--samples", 16, *common)
    pretrain("--run", tmp_path / "parts", "--samples", 8, *common)
    pretrain("--run", tmp_path / "parts", "--samples", 16, *common)
    whole, parts = (load_file(tmp_path / name / "state" / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert list((tmp_path / "whole" / "sheets").glob("*.png"))

    out = tmp_path / "pipeline"
    learn_to_decode("--run", tmp_path / "decoder", "--data", shards, "--samples", 2, "--batch", 2)
    decoder = tmp_path / "decoder" / "decoder.safetensors"
    asked = ["--run", tmp_path / "whole", "--data", shards, "--decoder", decoder, "--out", out]
    assemble.main([str(each) for each in asked])
    assert isinstance(DiffusionPipeline.from_pretrained(out), ZImagePipeline)


@pytest.mark.slow
def test_decoder_training_goes_on_with_the_same_numbers(shards: Path, tmp_path: Path) -> None:
    common = ["--data", shards, "--batch", 2, "--decay", 1e-9, "--ema", 0.5, "--warmup", 1]
    learn_to_decode("--run", tmp_path / "whole", "--samples", 10, *common)
    learn_to_decode("--run", tmp_path / "parts", "--samples", 6, *common)
    learn_to_decode("--run", tmp_path / "parts", "--samples", 10, *common)
    whole, parts = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert list((tmp_path / "whole" / "sheets").glob("*.png"))
    vae = codec.build(*codec.components(shards))
    before = {name: weight.clone() for name, weight in vae.decoder.state_dict().items()}
    vae.decoder.load_state_dict(load_file(tmp_path / "whole" / "decoder.safetensors"))
    moved = [not torch.equal(before[name], weight) for name, weight in vae.decoder.named_parameters()]
    assert all(moved)


def test_what_ships_redraws_characters_it_never_saw_up_to_the_border() -> None:
    drawn = judge.held_out(["toon-head"], 8, steady=False)
    wanted = torch.stack([picture for picture, _ in drawn])
    vae = DiffusionPipeline.from_pretrained(WEIGHTS, torch_dtype=torch.float32).vae
    with torch.no_grad():
        again = vae.decode(vae.encode(wanted).latent).sample.clamp(-1, 1)
    assert psnr(again, wanted).mean() > 28
    error = (again - wanted).abs().mean(1)
    inside = error[:, 2:-2, 2:-2].mean()
    border = torch.cat([error[:, :2].flatten(), error[:, :, :2].flatten(), error[:, :, -2:].flatten()]).mean()
    assert border < 2 * inside, "a frame at the border"


def test_a_complete_caption_says_all_that_is_judged() -> None:
    woman = Attributes(
        style="toon-head", kind="woman", hair="a bun", hair_colour="pink", skin="dark skin", expression="angry",
        place="dots:red:white",
    )  # fmt: skip
    for seed in range(40):
        text = caption(woman, Random(seed), complete=True)
        for word in ("pink", "dark skin", "angry", "red", "white"):
            assert word in text
        assert any(text.startswith(title) for title in STYLES["toon-head"].titles)


def test_the_judge_calls_right_what_is_right() -> None:
    woman = Attributes(
        style="toon-head", kind="woman", hair_colour="pink", skin="dark skin", expression="sad",
        place="stripes:red:white",
    )  # fmt: skip
    words = {"style": "toon-head", "hair colour": "pink", "skin": "dark skin", "expression": "sad",
             "ground": "stripes", "body colour": "red"}  # fmt: skip
    read = {
        head: torch.tensor([float(word == words[head]) for word in classes])
        for head, classes in judge.HEADS.items()
    }
    read["ground colours"] = torch.tensor([float(c in ("white", "red")) for c in judge.GROUND_COLOURS])
    assert judge.right_of(read, woman) == dict.fromkeys(judge.FIGURES, True)
    read["ground colours"] = torch.tensor([float(c in ("white", "blue")) for c in judge.GROUND_COLOURS])
    read["skin"] = read["skin"].roll(1)
    wrong = judge.right_of(read, woman)
    assert [name for name, is_right in wrong.items() if not is_right] == ["background", "skin or body colour"]
    assert judge.shares([wrong, {"expression": False}])["expression"] == 50.0


@pytest.mark.slow
def test_the_evaluation_measures_each_part_once(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(tmp_path / "base")
    asked = [
        "--data", shards, "--run", tmp_path / "run", "--weights", tmp_path / "base", "--pictures", 2,
        "--renders", 3, "--judge-samples", 64, "--characters", 2, "--each", 1, "--lora-steps", 2, "--steps", 2,
    ]  # fmt: skip
    evaluate.main([str(each) for each in asked])
    first = capsys.readouterr().out
    (results,) = (tmp_path / "run").glob("*/results.json")
    figures = json.loads(results.read_text())
    assert set(figures) == set(evaluate.PARTS)
    assert set(figures["adherence"]["right"]) == set(judge.FIGURES)
    assert figures["speed"]["seconds"] > 0
    assert figures["personalisation"]["seconds_at_most"] > 0
    assert figures["personalisation"]["matched_of_true_renders"] in (0, 50, 100)
    assert len(list(results.parent.glob("pictures/*.png"))) == 2
    written = {file: file.stat().st_mtime_ns for file in results.parent.rglob("*.png")}
    evaluate.main([str(each) for each in asked])
    assert capsys.readouterr().out == first
    assert written == {file: file.stat().st_mtime_ns for file in results.parent.rglob("*.png")}
    assert "| skin or body colour right, 2 held-out prompts |" in first


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
