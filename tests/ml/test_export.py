"""The exported files draw our very picture in stock diffusers, and tell other tools what they are."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from tiny_actors import CPU, attach_trained, base, exported, request, same, train_config, write_export

from greenroom.ml import export, families, native_names, safe
from greenroom.ml.config import GenerateConfig
from greenroom.ml.generate import draw
from greenroom.ml.warm import WarmBase

FAMILIES = sorted(families.CARDS)
KOHYA = {"sd15", "sdxl", "sd3", "flux1"}


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, base(tmp_path_factory.mktemp(request.param), request.param)


def nothing(step: int, total: int) -> None:
    """Nobody watches."""


def stock(source: Path, dtype: torch.dtype) -> Any:
    pipe = DiffusionPipeline.from_pretrained(source, torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call(pipe: Any, wanted: GenerateConfig) -> Image.Image:
    """What a person types who knows diffusers and not us."""
    # Z-Image's pipeline makes its sigmas a list, which UniPC cannot multiply: the same ones as an array.
    extra = (
        {"sigmas": np.linspace(1, 1 / wanted.steps, wanted.steps)} if wanted.base_family == "starter" else {}
    )
    extra[families.CARDS[wanted.base_family].guidance_argument] = wanted.guidance
    if wanted.base_family == "qwen_image":
        extra["negative_prompt"] = " "  # or this pipeline would not guide at all
    return pipe(
        **extra,
        prompt=wanted.prompt,
        height=wanted.height_px,
        width=wanted.width_px,
        num_inference_steps=wanted.steps,
        generator=torch.Generator().manual_seed(wanted.seed),
    ).images[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_stock_diffusers_draws_our_picture(
    tiny: tuple[str, Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    family_id, source = tiny
    family = families.get(family_id)
    config = train_config(family_id, source)
    wanted = request(family_id, source)

    pipe = family.load(source, CPU, dtype)
    (plain,) = draw(family, pipe, wanted, nothing)
    weights = attach_trained(family_id, pipe, config)
    (ours,) = draw(family, pipe, wanted, nothing)
    assert not same(ours, plain)

    written = write_export(tmp_path, config, weights)
    # Stock diffusers reads FLUX.1's kohya names at its true width only, and SD 3's not at all: test_native_names.py.
    is_read = family_id not in native_names.TABLES
    for name in filter(None, (written.lora, written.kohya if is_read else None)):
        fresh = stock(source, dtype)
        assert same(call(fresh, wanted), plain)
        fresh.load_lora_weights(tmp_path / name)
        assert same(call(fresh, wanted), ours), name
        fresh.unload_lora_weights()
        assert same(call(fresh, wanted), plain)

        warm = WarmBase(family_id, source, device=CPU, dtype=dtype)
        warm.cast([use(tmp_path / name)])
        assert same(draw(family, warm.pipe, wanted, nothing)[0], ours), name


def use(file: Path, weight: float = 1.0) -> Any:
    from greenroom.ml.config import LoraUse

    return LoraUse(file=str(file), weight=weight, trigger="KIA_01")


def test_a_lost_alpha_would_draw_another_picture(tiny: tuple[str, Path], tmp_path: Path) -> None:
    """Without its metadata the file means alpha = rank: the test above can fail."""
    family_id, source = tiny
    folder = exported(tmp_path, family_id, source)
    tensors, _ = safe.load(folder / "lora.safetensors")
    safe.save(tmp_path / "lost.safetensors", tensors, {})
    wanted = request(family_id, source)
    pictures = []
    for file in (folder / "lora.safetensors", tmp_path / "lost.safetensors"):
        pipe = stock(source, torch.float32)
        pipe.load_lora_weights(file)
        pictures.append(call(pipe, wanted))
    assert not same(*pictures)


def test_only_bases_that_have_it_get_the_kohya_file(tiny: tuple[str, Path], tmp_path: Path) -> None:
    family_id, source = tiny
    folder = exported(tmp_path, family_id, source)
    names = {path.name for path in folder.iterdir()}
    common = {"lora.safetensors", "losses.json", "model-card.json"}
    assert names == common | ({"lora-kohya.safetensors"} if family_id in KOHYA else set())


def test_the_kohya_file_has_the_runs_alpha(tmp_path: Path) -> None:
    source = base(tmp_path / "base", "sd15")
    folder = exported(tmp_path / "run", "sd15", source, alpha=3.0)
    tensors, metadata = safe.load(folder / "lora-kohya.safetensors")
    alphas = {name: tensor for name, tensor in tensors.items() if name.endswith(".alpha")}
    downs = [name for name in tensors if name.endswith(".lora_down.weight")]
    assert len(alphas) == len(downs) == len(tensors) // 3
    assert {tensor.item() for tensor in alphas.values()} == {3.0}
    assert metadata["ss_network_alpha"] == "3.0"
    assert "lora_adapter_metadata" not in metadata


def test_metadata_tell_other_tools_what_it_is(tiny: tuple[str, Path], tmp_path: Path) -> None:
    family_id, source = tiny
    sample = tmp_path / "sample.png"
    Image.radial_gradient("L").convert("RGB").resize((640, 320)).save(sample)
    folder = exported(
        tmp_path / "run", family_id, source, thumbnail=sample, created_at="2026-11-24T12:00:00+00:00"
    )
    for file in folder.glob("*.safetensors"):
        with safetensors.safe_open(file, framework="pt") as opened:
            facts = opened.metadata()
        card = families.CARDS[family_id]
        expected = {
            "format": "pt",
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{card.architecture}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.title": "Kia",
            "modelspec.resolution": "64x64",
            "modelspec.trigger_phrase": "KIA_01",
            "modelspec.date": "2026-11-24T12:00:00+00:00",
            "ss_output_name": "Kia",
            "ss_base_model_version": export.KOHYA_VERSIONS.get(card.architecture, card.architecture),
            "ss_network_module": {"flux1": "networks.lora_flux", "sd3": "networks.lora_sd3"}.get(
                family_id, "networks.lora"
            ),
            "ss_network_dim": "4",
            "ss_network_alpha": "3.0",
            "ss_tag_frequency": '{"Kia": {"KIA_01": 5}}',
            "ss_num_train_images": "5",
            "ss_steps": "30",
            "ss_new_sd_model_hash": "ba5e" * 16,
        }
        assert facts.items() >= expected.items()
        kind, _, data = facts["modelspec.thumbnail"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
            assert thumbnail.size == (256, 128)
        raw = file.read_bytes()
        own = hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()
        assert facts["sshs_model_hash"] == own
        assert facts["modelspec.hash_sha256"] == f"0x{own}"
        assert facts["sshs_legacy_hash"] == hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8]


def test_the_legacy_hash_holds_for_files_beyond_a_megabyte(tmp_path: Path) -> None:
    tensors = {"transformer.a.lora_A.weight": torch.randn(4, 100_000)}
    export._write_lora(tmp_path / "big.safetensors", tensors, {"modelspec.title": "Kia"})
    raw = (tmp_path / "big.safetensors").read_bytes()
    _, facts = safe.load(tmp_path / "big.safetensors")
    assert len(raw) > 0x110000
    assert facts["sshs_legacy_hash"] == hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8]


def test_the_same_run_gives_the_same_bytes_and_no_file_tells_captions_or_paths(
    tiny: tuple[str, Path], tmp_path: Path
) -> None:
    family_id, source = tiny
    one, other = (exported(tmp_path / name, family_id, source) for name in ("one", "two"))
    for file in one.iterdir():
        data = file.read_bytes()
        assert data == (other / file.name).read_bytes()
        assert b"secret" not in data
        assert str(source).encode() not in data


def test_the_model_card_has_the_hashes_of_all_that_made_it(tiny: tuple[str, Path], tmp_path: Path) -> None:
    family_id, source = tiny
    folder = exported(tmp_path, family_id, source)
    story = json.loads((folder / "model-card.json").read_text())
    assert story["name"] == "Kia"
    assert story["trigger"] == "KIA_01"
    assert story["hashes"] == {
        "manifest": hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest(),
        "config": train_config(family_id, source).identity(),
        "base": "ba5e" * 16,
        "code": export.code_sha256(),
    }
    for name, facts in story["files"].items():
        data = (folder / name).read_bytes()
        assert facts["sha256"] == hashlib.sha256(data).hexdigest()
        assert facts["bytes"] == len(data)
    assert story["training"]["loss_mean_of_last_50_steps"] == 0.375
    assert json.loads((folder / "losses.json").read_text()) == [0.5, 0.25]
    assert ("comfyui_a1111_forge" in story["how_to_use"]) == (family_id in KOHYA)
    assert ("note" in story["how_to_use"]) == (family_id not in KOHYA)  # alpha differs from rank here


def test_weights_of_a_half_precision_training_are_exported_in_full(tmp_path: Path) -> None:
    source = base(tmp_path / "base", "starter")
    config = train_config("starter", source)
    pipe = families.get("starter").load(source, CPU, torch.float32)
    weights = {name: tensor.bfloat16() for name, tensor in attach_trained("starter", pipe, config).items()}
    write_export(tmp_path / "run", config, weights)
    tensors, _ = safe.load(tmp_path / "run/export/lora.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
