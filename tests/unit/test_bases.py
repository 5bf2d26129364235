from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from tests_unit_pictures import write_base

from greenroom.db.models import Workspace
from greenroom.errors import BadBase, BaseMissing, BaseTaken, Conflict, UnknownBase, UnsafeFile
from greenroom.ml.families import CARDS
from greenroom.studio import actors, bases
from greenroom.studio.bases import BaseInfo


def test_the_starter_is_always_there_and_first(session: Session, base: BaseInfo) -> None:
    assert [each.id for each in bases.list_(session)] == ["starter", "tiny"]
    starter = bases.starter()
    assert starter.built_in
    assert starter.source.endswith("starter/weights")
    assert starter.native_px == CARDS["starter"].native_px


def test_the_family_is_read_off_the_folder(session: Session, tmp_path: Path) -> None:
    sd15 = write_base(tmp_path / "sd", "StableDiffusionPipeline")
    (sd15 / "unet" / "config.json").write_text(json.dumps({"sample_size": 64}))
    (sd15 / "vae").mkdir()
    (sd15 / "vae" / "config.json").write_text(json.dumps({"block_out_channels": [1, 2, 3, 4]}))
    added = bases.add(session, "my-sd", sd15)
    assert (added.family, added.native_px, added.built_in) == ("sd15", 512, False)
    assert bases.add(session, "z", write_base(tmp_path / "z")).family == "starter"


@pytest.mark.parametrize("family", sorted(CARDS))
def test_every_family_is_told_by_its_pipeline(session: Session, tmp_path: Path, family: str) -> None:
    folder = write_base(tmp_path / "b", CARDS[family].pipeline)
    if family != "starter":
        index = {"_class_name": CARDS[family].pipeline, "vae": ["diffusers", "AutoencoderKL"]}
        (folder / "model_index.json").write_text(json.dumps(index))
    added = bases.add(session, "b", folder)
    assert (added.family, added.native_px) == (family, CARDS[family].native_px)
    assert added.size_bytes == sum(file.stat().st_size for file in folder.rglob("*.*"))


def test_a_half_copied_base_is_refused_with_the_file(session: Session, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "b")
    file = folder / "unet" / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    whole = struct.pack("<Q", len(header)) + header + bytes(16)
    for damaged in (whole[:-1], whole + b"x", whole[:20], whole[:5], b""):
        file.write_bytes(damaged)
        with pytest.raises(BadBase, match=r"unet/model\.safetensors"):
            bases.add(session, "b", folder)
    file.write_bytes(whole)
    (folder / "unet" / "big-00001-of-00002.safetensors").write_bytes(whole)
    with pytest.raises(BadBase, match=r"unet lacks big-00002-of-00002\.safetensors"):
        bases.add(session, "b", folder)
    (folder / "unet" / "big-00002-of-00002.safetensors").write_bytes(whole)
    bases.add(session, "b", folder)


def test_an_unknown_layout_can_be_named_by_the_person(session: Session, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "odd", "OddPipeline")
    with pytest.raises(BadBase, match="OddPipeline"):
        bases.add(session, "odd", folder)
    assert bases.add(session, "odd", folder, family="sd15", native_px=128).native_px == 128


@pytest.mark.parametrize("base_id", ["", "../x", "A B", "x" * 65, "-x", "ü"])
def test_an_id_that_cannot_stand_in_a_command_is_refused(
    session: Session, tmp_path: Path, base_id: str
) -> None:
    with pytest.raises(BadBase, match="base id"):
        bases.add(session, base_id, write_base(tmp_path / "b"))


def test_a_taken_id_is_refused(session: Session, base: BaseInfo, tmp_path: Path) -> None:
    for base_id in ("tiny", "starter"):
        with pytest.raises(BaseTaken):
            bases.add(session, base_id, write_base(tmp_path / base_id / "again"))


def test_a_folder_that_is_no_base_is_refused_with_the_reason(session: Session, tmp_path: Path) -> None:
    with pytest.raises(BadBase, match=r"no model_index\.json"):
        bases.add(session, "a", tmp_path / "none")
    folder = write_base(tmp_path / "b")
    (folder / "unet" / "model.safetensors").unlink()
    with pytest.raises(BadBase, match="no weights"):
        bases.add(session, "b", folder)
    (folder / "model_index.json").write_text("[")
    with pytest.raises(BadBase, match="cannot be read"):
        bases.add(session, "b", folder)


def test_pickled_weights_are_refused_as_unsafe(session: Session, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "b")
    (folder / "vae").mkdir()
    (folder / "vae" / "model.bin").write_bytes(b"pickle")
    with pytest.raises(UnsafeFile, match=r"vae/ .*\.bin"):
        bases.add(session, "b", folder)
    (folder / "unet" / "model.safetensors").rename(folder / "unet" / "model.ckpt")
    with pytest.raises(UnsafeFile, match="pickles"):
        bases.add(session, "b", folder)


def test_find_lists_near_ones_and_says_when_a_folder_is_gone(session: Session, base: BaseInfo) -> None:
    with pytest.raises(UnknownBase, match="Did you mean tiny"):
        bases.find(session, "tinny")
    assert bases.find(session, "tiny") == base
    (Path(base.source) / "model_index.json").unlink()
    with pytest.raises(BaseMissing, match="Put the folder back"):
        bases.find(session, "tiny")


def test_remove_forgets_but_keeps_the_folder(session: Session, base: BaseInfo) -> None:
    bases.remove(session, "tiny")
    assert Path(base.source).exists()
    assert len(bases.list_(session)) == 1
    with pytest.raises(UnknownBase, match="None was added"):
        bases.remove(session, "tiny")
    with pytest.raises(Conflict, match="built in"):
        bases.remove(session, "starter")


def test_a_base_in_use_is_not_removed(session: Session, base: BaseInfo, workspace: Workspace) -> None:
    made = actors.create(session, workspace, kind="style", name="Ink", trigger="INK_1", base="tiny")
    with pytest.raises(Conflict, match="used by Ink"):
        bases.remove(session, "tiny")
    actors.delete(session, made)
    bases.remove(session, "tiny")
