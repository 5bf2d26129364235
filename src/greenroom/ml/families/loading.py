"""Checks a local diffusers folder before anything in it is opened. Knows no family."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from greenroom.errors import BadBase, BaseMissing, UnsafeFile
from greenroom.ml.families.card import Card

SAMPLE_BYTES = 1 << 20
SAMPLES = 64
HASH_WHOLE_BELOW = 256 << 20

_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")


def check_folder(source: Path, card: Card) -> None:
    """Raise unless `source` is a diffusers folder of the card's pipeline, with safetensors for each network.

    BaseMissing: it is not there, or incomplete. BadBase: it is something else. UnsafeFile: it has pickles.
    """
    index = source / "model_index.json"
    if not index.is_file():
        raise BaseMissing(
            f"The base model is not at {source} (no model_index.json there). "
            "Put the folder back, or choose another base."
        )
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadBase(f"{index} is not a diffusers index: {error}. Fetch the base again.") from error
    if found != card.pipeline:
        raise BadBase(
            f"{source} holds a {found}, but {card.title} is a {card.pipeline}. Choose the matching family."
        )
    for name in card.networks:
        folder = source / name
        if weight_files(folder):
            if lacking := missing_shards(weight_files(folder)):
                raise BaseMissing(f"{folder} lacks {', '.join(lacking)}. Fetch the base again, completely.")
            continue
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.ckpt")):
            raise UnsafeFile(
                f"{folder} has its weights as pickle files, which can run code when opened. "
                "Get the safetensors version of this base."
            )
        raise BaseMissing(f"{folder} has no .safetensors file. Fetch the base again, completely.")


def weight_files(network: Path) -> list[Path]:
    """The safetensors that diffusers reads of a network's folder: the plain ones, else the fp16 variant."""
    files = sorted(network.glob("*.safetensors"))
    plain = [file for file in files if "." not in file.stem]
    return plain or [file for file in files if file.stem.endswith(".fp16") or ".fp16-" in file.stem]


def missing_shards(files: list[Path]) -> list[str]:
    """The names that files such as model-00001-of-00003.safetensors say exist beside them, and do not."""
    missing = set()
    for file in files:
        if match := _SHARD.fullmatch(file.name):
            start, count = match[1], int(match[2])
            missing |= {f"{start}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)}
    return sorted(missing - {file.name for file in files})


def identity(source: Path) -> str:
    """One sha256 that tells this base from another, wherever its folder lies.

    Small files are hashed whole. Of a larger one: name, size and 64 evenly spread samples of a MiB, the first
    with the header, so a base of 20 GB takes a fraction of a second. A file that was changed only between the
    samples goes unnoticed; nothing but malice does that.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in source.rglob("*") if path.suffix in {".json", ".safetensors"}):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(source).as_posix()}\0{size}\0".encode())
        with open(file, "rb") as opened:
            if size <= HASH_WHOLE_BELOW:
                while chunk := opened.read(SAMPLE_BYTES):
                    digest.update(chunk)
            else:
                for index in range(SAMPLES):
                    opened.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
                    digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def variant(source: Path, card: Card) -> str | None:
    """ "fp16" when that is all the folder has, as many bases on the hub; None for plain file names."""
    files = weight_files(source / card.denoiser)
    return "fp16" if files and all("." in file.stem for file in files) else None
