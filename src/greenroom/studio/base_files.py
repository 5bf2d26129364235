"""Makes a base of a single .safetensors file: says what it is, and has it written as a diffusers folder.

The reading is torch's work and done by a child process. Knows no database.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import BadBase, RunFailed, StorageError, UnsafeFile, WrongUse
from greenroom.ml.families import CARDS, single_file
from greenroom.ml.families.loading import weight_files
from greenroom.studio import near

SUFFIX = ".safetensors"
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_CHUNK = 16 << 20
_PATIENCE_S = 3600


@dataclass(frozen=True, kw_only=True)
class Written:
    """The folder that was written, the family it is of, and the sha256 of the file that it was made from."""

    folder: Path
    family: str
    sha256: str


def is_file(source: str) -> bool:
    """True for the path of one weights file that is there, whatever it holds."""
    path = Path(source).expanduser()
    return path.suffix in {SUFFIX, *_PICKLES} and path.is_file()


def write(file: Path, folder: Path, *, rest: Path | None = None) -> Written:
    """Write the file as a diffusers folder, all of it or nothing; takes as much disk as the file.

    rest: a diffusers folder of the same family, for the settings that Greenroom does not bring, and for the
    networks that the file lacks.
    Raises UnsafeFile (pickles, or no sound file), BadBase (no base, half of one, or something that `rest` has to
    bring is not there) or StorageError.
    """
    file = file.expanduser().absolute()
    if file.suffix in _PICKLES:
        raise UnsafeFile(
            f"{file.name} is a pickle, which can run code when opened. Get the .safetensors version of this base."
        )
    found = single_file.inspect(file)
    _check_rest(file, found, rest)
    if folder.exists():
        raise StorageError(f"{folder} is in the way: remove it, or choose another id.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    size = file.stat().st_size
    if shutil.disk_usage(folder.parent).free < size * 1.1:
        raise StorageError(
            f"The base takes {size / 1e9:.1f} GB beside its file, and less is free at {folder.parent}. Make room."
        )
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        _child(file, staged, rest)
        os.replace(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Written(folder=folder, family=found.layout.family, sha256=sha256(file))


def sha256(file: Path) -> str:
    """Of all of its bytes; what A1111 and the sites that share such files show, cut to ten letters."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_rest(file: Path, found: single_file.Found, rest: Path | None) -> None:
    layout = found.layout
    card = CARDS[layout.family]
    wanted = [name for name in card.networks if name != card.denoiser]
    lacking = [name for name in wanted if name not in layout.parts or name in found.missing]
    if rest is None:
        if layout.has_settings and not lacking:
            return
        what = "its settings and tokenizers"
        if lacking:
            what += f", and the networks {near.listed(lacking)}, which the file does not have"
        raise BadBase(
            f"{file.name} is a base of the family {layout.family} ({card.title}). Name a diffusers folder of that "
            f"family with --rest, for {what}: {near.listed(list(card.hub_ids[:2]))} on the hub, for example."
        )
    try:
        pipeline = json.loads((rest / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadBase(f"{rest} is no diffusers folder: its model_index.json cannot be read.") from error
    if pipeline != card.pipeline:
        raise BadBase(
            f"{rest} holds a {pipeline}, but {file.name} is of a {card.pipeline}. Name one of its family."
        )
    if without := [name for name in lacking if not weight_files(rest / name)]:
        raise BadBase(
            f"{file.name} lacks {near.listed(without)}, and so does {rest}. Fetch that folder whole."
        )


def _child(file: Path, folder: Path, rest: Path | None) -> None:
    command = [sys.executable, "-m", "greenroom.ml.single_file", str(file), str(folder)]
    command += [] if rest is None else [str(rest)]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            env={**os.environ, **offline},
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"{file.name} was not read within an hour. Put it on a faster disk.") from error
    if ended.returncode == 0:
        return
    said = ended.stdout.strip().splitlines()[-1:]
    if "No module named" in ended.stderr and not said:
        raise WrongUse("A single file is read with torch and diffusers. Install greenroom[ml].")
    try:
        message = json.loads(said[0])["message"]
    except (IndexError, ValueError, KeyError, TypeError):
        words = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        raise RunFailed(f"{file.name} could not be read: {words[0][:200]}") from None
    raise BadBase(message)
