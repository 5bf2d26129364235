from __future__ import annotations

import json
import struct
from pathlib import Path

import commands


def test_list_has_the_starter_and_those_that_were_added(home: Path) -> None:
    found = commands.run(home, "bases", "list", "--json").json["bases"]
    assert [(base["id"], base["family"], base["built_in"]) for base in found] == [
        ("starter", "starter", True),
        ("toy", "starter", False),
    ]
    assert "toy" in commands.run(home, "bases", "list").out


def test_add_tells_the_family_and_refuses_a_second_of_that_id(home: Path, toy_base: Path) -> None:
    added = commands.run(home, "bases", "add", "again", toy_base, "--json").json
    assert added["family"] == "starter"
    result = commands.run(home, "bases", "add", "again", toy_base)
    assert result.code == 3
    assert "again" in result.error


def test_add_refuses_what_is_no_base(home: Path, tmp_path: Path) -> None:
    assert commands.run(home, "bases", "add", "x", tmp_path).code == 3
    assert commands.run(home, "bases", "add", "x", tmp_path / "nowhere").code == 3
    assert commands.run(home, "bases", "add", "../x", tmp_path).code == 3


def test_remove_forgets_it_and_leaves_the_folder(home: Path, toy_base: Path) -> None:
    assert commands.run(home, "bases", "remove", "toy").code == 0
    assert toy_base.is_dir()
    result = commands.run(home, "bases", "remove", "toy")
    assert result.code == 3
    assert commands.run(home, "bases", "remove", "starter").code == 3


def test_add_says_what_a_single_file_is_and_what_it_lacks(home: Path, tmp_path: Path) -> None:
    lora = weights(tmp_path / "kia.safetensors", "lora_unet_a.lora_down.weight")
    result = commands.run(home, "bases", "add", "kia", lora)
    assert result.code == 3
    assert "it is a LoRA" in result.error
    flux = weights(
        tmp_path / "flux.safetensors", "double_blocks.0.img_attn.qkv.weight", "vector_in.in_layer.weight"
    )
    result = commands.run(home, "bases", "add", "flux", flux)
    assert result.code == 3
    assert "--rest" in result.error
    assert "text_encoder_2" in result.error


def weights(file: Path, *names: str) -> Path:
    """A safetensors file with one number under each name."""
    table = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * index, 4 * index + 4]}
        for index, name in enumerate(names)
    }
    header = json.dumps(table).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * len(names)))
    return file
