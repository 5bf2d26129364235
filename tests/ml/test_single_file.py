"""Bases that come as one file: told by their header, read in the original layout, and the same base as a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import ldm_files
import pytest
import torch
from safetensors.torch import load_file
from tiny_actors import request

from greenroom.errors import BadBase, UnsafeFile
from greenroom.ml import families, safe, single_file
from greenroom.ml.families.loading import check_folder
from greenroom.ml.families.single_file import inspect
from greenroom.ml.generate import draw
from greenroom.studio import base_files

CPU = torch.device("cpu")


def some(file: Path, *names: str, shape: tuple[int, ...] = (4, 4, 1, 1)) -> Path:
    safe.save(file, {name: torch.zeros(shape) for name in names}, {})
    return file


class TestInspect:
    @pytest.mark.parametrize("family_id", ["sd15", "sdxl"])
    def test_a_whole_file_is_told_with_nothing_missing(
        self, family_id: str, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        found = inspect(ldm_files.write(tiny_bases[family_id], tmp_path / "a.safetensors"))
        assert (found.layout.family, found.missing, found.dtype) == (family_id, (), "F32")
        assert not found.is_v_prediction

    @pytest.mark.parametrize(
        ("family_id", "names"),
        [
            ("sd3", ["joint_blocks.0.x_block.attn.qkv.weight"]),
            ("flux1", ["double_blocks.0.img_attn.qkv.weight", "vector_in.in_layer.weight"]),
            (
                "flux2_klein",
                ["double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"],
            ),
            (
                "zimage",
                [
                    "layers.0.attention.qkv.weight",
                    "layers.0.adaLN_modulation.0.weight",
                    "cap_embedder.0.weight",
                ],
            ),
            ("qwen_image", ["transformer_blocks.0.img_mlp.net.0.proj.weight", "txt_norm.weight"]),
        ],
    )
    @pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
    def test_a_denoiser_alone_is_told_by_its_names(
        self, family_id: str, names: list[str], prefix: str, tmp_path: Path
    ) -> None:
        found = inspect(some(tmp_path / "a.safetensors", *(prefix + name for name in names)))
        assert found.layout.family == family_id
        assert set(found.missing) == set(found.layout.parts)

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (["lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight"], "it is a LoRA"),
            (["first_stage_model.encoder.conv_in.weight"], "lacks the denoiser.*half a base"),
            (["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"], "one network of a diffusers folder"),
            (["encoder.conv_in.weight"], "an autoencoder alone"),
            (["text_model.encoder.layers.0.mlp.fc1.weight"], "a text encoder alone"),
            (["something.else"], "no supported family has weights called 'something.else'"),
        ],
    )
    def test_what_is_no_base_is_called_by_its_name(self, names: list[str], said: str, tmp_path: Path) -> None:
        with pytest.raises(BadBase, match=said):
            inspect(some(tmp_path / "a.safetensors", *names))

    def test_relatives_that_a_family_cannot_stand_for_are_named(self, tmp_path: Path) -> None:
        unet = [
            f"model.diffusion_model.{name}" for name in ("input_blocks.0.0.weight", "time_embed.0.weight")
        ]
        with pytest.raises(BadBase, match="an inpainting model"):
            inspect(some(tmp_path / "a.safetensors", *unet, shape=(4, 9, 1, 1)))
        with pytest.raises(BadBase, match="Stable Diffusion 2"):
            inspect(some(tmp_path / "b.safetensors", *unet, "cond_stage_model.model.ln_final.weight"))
        extra = [
            "model.diffusion_model.label_emb.0.0.weight",
            "conditioner.embedders.0.model.ln_final.weight",
        ]
        refiner = some(tmp_path / "c.safetensors", *unet, *extra)
        with pytest.raises(BadBase, match="refiner"):
            inspect(refiner)

    def test_a_hole_in_the_blocks_is_named(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        tensors = load_file(ldm_files.write(tiny_bases["sd15"], tmp_path / "a.safetensors"))
        kept = {name: each for name, each in tensors.items() if ".input_blocks.1." not in name}
        safe.save(tmp_path / "b.safetensors", kept, {})
        with pytest.raises(BadBase, match=r"half a base: .*input_blocks\.3 but not .*input_blocks\.1"):
            inspect(tmp_path / "b.safetensors")

    def test_a_file_that_was_cut_off_is_unsafe(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        file = ldm_files.write(tiny_bases["sd15"], tmp_path / "a.safetensors")
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(UnsafeFile, match="cut off"):
            inspect(file)


class TestConvert:
    @pytest.mark.parametrize("family_id", ["sd15", "sdxl"])
    def test_the_folder_is_the_very_base(
        self, family_id: str, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        source, family = tiny_bases[family_id], families.get(family_id)
        file = ldm_files.write(source, tmp_path / "a.safetensors")
        single_file.convert(file, tmp_path / "made", bare(source, tmp_path / "rest"))
        check_folder(tmp_path / "made", family.card)
        wanted = request(family_id, source)
        one, other = (
            draw(family, family.load(folder, CPU, torch.float32), wanted, lambda *_: None)[0]
            for folder in (source, tmp_path / "made")
        )
        assert one.tobytes() == other.tobytes()

    def test_a_denoiser_alone_takes_the_rest_from_a_folder(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        source = tiny_bases["qwen_image"]
        (weights,) = (source / "transformer").glob("*.safetensors")
        changed = {name: each + 0.5 for name, each in load_file(weights).items()}
        file = tmp_path / "a.safetensors"
        safe.save(file, {f"model.diffusion_model.{name}": each for name, each in changed.items()}, {})
        single_file.convert(file, tmp_path / "made", source)
        family = families.get("qwen_image")
        pipe: Any = family.load(tmp_path / "made", CPU, torch.float32)
        held = pipe.transformer.state_dict()
        assert all(torch.equal(held[name], each) for name, each in changed.items())
        plain: Any = family.load(source, CPU, torch.float32)
        assert torch.equal(pipe.vae.encoder.conv_in.weight, plain.vae.encoder.conv_in.weight)

    def test_the_mark_of_a_v_prediction_file_reaches_the_scheduler(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        mark = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
        file = ldm_files.write(tiny_bases["sdxl"], tmp_path / "a.safetensors", extra=mark)
        single_file.convert(file, tmp_path / "made", bare(tiny_bases["sdxl"], tmp_path / "rest"))
        text = (tmp_path / "made" / "scheduler" / "scheduler_config.json").read_text()
        assert json.loads(text)["prediction_type"] == "v_prediction"

    def test_missing_weights_are_named(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        source = tiny_bases["sd15"]
        tensors = load_file(ldm_files.write(source, tmp_path / "a.safetensors"))
        del tensors["model.diffusion_model.middle_block.0.in_layers.2.weight"]
        safe.save(tmp_path / "b.safetensors", tensors, {})
        with pytest.raises(
            BadBase, match=r"half a base: 1 weights of its unet are missing, such as mid_block"
        ):
            single_file.convert(
                tmp_path / "b.safetensors", tmp_path / "made", bare(source, tmp_path / "rest")
            )

    @pytest.mark.slow  # a child that imports torch: 10 s and more on a busy core
    def test_the_studio_writes_it_whole_or_not_at_all(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        source = tiny_bases["sd15"]
        rest = bare(source, tmp_path / "rest")
        file = ldm_files.write(source, tmp_path / "a.safetensors")
        tensors = load_file(file)
        del tensors["first_stage_model.decoder.conv_in.weight"]
        safe.save(tmp_path / "b.safetensors", tensors, {})
        with pytest.raises(BadBase, match=r"its vae are missing, such as decoder\.conv_in\.weight"):
            base_files.write(tmp_path / "b.safetensors", tmp_path / "home" / "half", rest=rest)
        assert not any((tmp_path / "home").iterdir())
        # The same in this process, for a second child would take as long again.
        assert single_file.main([str(file), str(tmp_path / "home" / "whole"), str(rest)]) == 0
        check_folder(tmp_path / "home" / "whole", families.CARDS["sd15"])


class TestWhatMustBeThere:
    def test_a_denoiser_alone_asks_for_its_family(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        names = ("double_blocks.0.img_attn.qkv.weight", "vector_in.in_layer.weight")
        file = some(tmp_path / "flux.safetensors", *names)
        with pytest.raises(BadBase, match=r"family flux1.*--rest, for its settings.*FLUX\.1-dev"):
            base_files.write(file, tmp_path / "made")
        with pytest.raises(BadBase, match="holds a StableDiffusionPipeline"):
            base_files.write(file, tmp_path / "made", rest=tiny_bases["sd15"])
        rest = bare(tiny_bases["flux1"], tmp_path / "rest")
        with pytest.raises(BadBase, match="lacks vae, text_encoder and text_encoder_2, and so does"):
            base_files.write(file, tmp_path / "made", rest=rest)

    def test_a_pickle_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.ckpt").write_bytes(b"\x80\x04")
        with pytest.raises(UnsafeFile, match="pickle"):
            base_files.write(tmp_path / "a.ckpt", tmp_path / "made")


class TestSettings:
    """What ships with Greenroom for Stable Diffusion; the words are those of the published tokenizer."""

    def test_the_tokenizer_is_clips(self) -> None:
        tokenizer = single_file.clip_tokenizer("<|endoftext|>")
        assert len(tokenizer) == 49408
        assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
        assert tokenizer("Hello, world!").input_ids == [49406, 3306, 267, 1002, 256, 49407]
        assert tokenizer.pad_token_id == 49407
        assert single_file.clip_tokenizer("!").pad_token_id == 0

    @pytest.mark.parametrize(("family_id", "weights"), [("sd15", 859_520_964), ("sdxl", 2_567_463_684)])
    def test_the_networks_have_the_published_sizes(
        self, family_id: str, weights: int, tmp_path: Path
    ) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import AutoConfig, CLIPTextModel, CLIPTextModelWithProjection

        single_file.write_settings(family_id, tmp_path)
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(tmp_path / "unet"))
            vae = AutoencoderKL.from_config(AutoencoderKL.load_config(tmp_path / "vae"))
            first = CLIPTextModel(AutoConfig.from_pretrained(tmp_path / "text_encoder"))
            assert count(unet) == weights
            assert count(vae) == 83_653_863
            assert count(first) == 123_060_480
            if family_id == "sdxl":
                config = AutoConfig.from_pretrained(tmp_path / "text_encoder_2")
                assert count(CLIPTextModelWithProjection(config)) == 694_659_840
        index = json.loads((tmp_path / "model_index.json").read_text())
        assert index["_class_name"] == families.CARDS[family_id].pipeline
        for name, part in index.items():
            if not name.startswith("_") and isinstance(part, list) and part[0]:
                assert (tmp_path / name).is_dir(), name


def bare(source: Path, folder: Path) -> Path:
    """The folder without its weights: settings and tokenizers alone."""
    return shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))


def count(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())
