"""A picture carries its whole request, in two languages, and nothing about the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from greenroom.errors import BadPicture
from greenroom.ml import pictures
from greenroom.ml.pictures import ActorUsed, BaseUsed, Made

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=80)


def made(prompt: str = "KIA_01 laughing, in space", negative: str = "blurry") -> Made:
    return Made(
        software="greenroom 0.1.0",
        base=BaseUsed(family="starter", name="Greenroom starter", sha256="ab" * 32),
        prompt=prompt,
        negative=negative,
        actors=(
            ActorUsed(trigger="KIA_01", weight=0.8, sha256="cd" * 32),
            ActorUsed(trigger="BEN", weight=1.0, sha256="ef" * 32),
        ),
        cast=({"id": "act_1", "name": "Kia", "trigger": "KIA_01", "version": "2"},),
        seed=7,
        width_px=256,
        height_px=320,
        steps=24,
        guidance=3.5,
        sampler="UniPC",
        dtype="float32",
    )


def image() -> Image.Image:
    return Image.linear_gradient("L").resize((64, 32)).convert("RGB")


def test_the_request_is_read_back_whole_and_the_pixels_are_untouched(tmp_path: Path) -> None:
    file = tmp_path / "out" / "a.png"
    pictures.write(file, image(), made())
    assert pictures.read_back(file) == made()
    with Image.open(file) as opened:
        assert opened.format == "PNG"
        assert opened.tobytes() == image().tobytes()
    assert [path.name for path in file.parent.iterdir()] == ["a.png"]


@settings(max_examples=60, deadline=None)
@given(prompt=TEXT, negative=TEXT)
def test_any_prompt_survives(tmp_path_factory: pytest.TempPathFactory, prompt: str, negative: str) -> None:
    file = tmp_path_factory.mktemp("p") / "a.png"
    pictures.write(file, image(), made(prompt, negative))
    assert pictures.read_back(file) == made(prompt, negative)


def test_the_same_request_gives_the_same_bytes() -> None:
    assert pictures.encode(image(), made()) == pictures.encode(image(), made())
    assert pictures.encode(image(), made()) != pictures.encode(image(), made("another prompt"))


def test_other_programs_read_the_parameters(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    pictures.write(file, image(), made())
    with Image.open(file) as opened:
        text = opened.info["parameters"]
    assert text == (
        "KIA_01 laughing, in space <lora:KIA_01:0.8> <lora:BEN:1>\n"
        "Negative prompt: blurry\n"
        "Steps: 24, Sampler: UniPC, CFG scale: 3.5, Seed: 7, Size: 256x320, Model hash: ababababab, "
        'Model: Greenroom starter, Lora hashes: "KIA_01: cdcdcdcdcdcd, BEN: efefefefefef", '
        "Version: greenroom 0.1.0"
    )
    assert pictures.parse_parameters(text) == {
        "Prompt": "KIA_01 laughing, in space <lora:KIA_01:0.8> <lora:BEN:1>",
        "Negative prompt": "blurry",
        "Steps": "24",
        "Sampler": "UniPC",
        "CFG scale": "3.5",
        "Seed": "7",
        "Size": "256x320",
        "Model hash": "ababababab",
        "Model": "Greenroom starter",
        "Lora hashes": "KIA_01: cdcdcdcdcdcd, BEN: efefefefefef",
        "Version": "greenroom 0.1.0",
    }


def test_emoji_in_the_prompt_reach_other_programs_too(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    pictures.write(file, image(), made("KIA_01 eats 🍕 in 東京"))
    with Image.open(file) as opened:
        assert str(opened.info["parameters"]).startswith("KIA_01 eats 🍕 in 東京 ")
        assert json.loads(opened.info["greenroom"])["prompt"] == "KIA_01 eats 🍕 in 東京"


def test_a_foreign_picture_has_no_request(tmp_path: Path) -> None:
    image().save(tmp_path / "foreign.png")
    assert pictures.read_back(tmp_path / "foreign.png") is None


def test_damaged_records_and_other_files_are_named(tmp_path: Path) -> None:
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("greenroom", '{"format": 99}')
    image().save(tmp_path / "newer.png", pnginfo=info)
    with pytest.raises(BadPicture, match="newer version"):
        pictures.read_back(tmp_path / "newer.png")
    image().save(tmp_path / "photo.jpg")
    with pytest.raises(BadPicture, match=r"photo\.jpg"):
        pictures.read_back(tmp_path / "photo.jpg")
    data = pictures.encode(image(), made())
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadPicture, match=r"half\.png"):
        pictures.read_back(tmp_path / "half.png")
