"""Writes a single .safetensors file as a diffusers folder: `python -m greenroom.ml.single_file FILE FOLDER [REST]`.

Everything that trains and draws then finds a base as any other. Nothing is fetched: the settings and tokenizers
of Stable Diffusion ship with Greenroom; for other families, and for networks that the file lacks, REST is a
diffusers folder of the same family.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTokenizer

from greenroom.errors import BadBase, GreenroomError, summarise
from greenroom.ml.families import CARDS, single_file
from greenroom.ml.families.single_file import Found
from greenroom.ml.safe import DTYPES

MERGES = Path(single_file.__file__).with_name("clip_merges.txt.gz")
"""The byte pairs of OpenAI's CLIP tokenizer (MIT licence), in the order in which they are joined."""

_WEIGHTS = shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt")


def convert(file: Path, folder: Path, rest: Path | None = None) -> None:
    """Write `file` as the diffusers folder `folder`, in the file's own number type.

    Raises what families.single_file.inspect raises, and BadBase when weights or settings are missing.
    """
    found = single_file.inspect(file)
    card = CARDS[found.layout.family]
    lacking = [name for name in card.networks if name != card.denoiser and not _brings(found, name)]
    folder.mkdir(parents=True)
    if rest is not None:
        shutil.copytree(rest, folder, ignore=_WEIGHTS, dirs_exist_ok=True)
    else:
        write_settings(found.layout.family, folder)
    if found.is_v_prediction:
        _predict_v(folder)
    number = DTYPES[found.dtype]
    # Half a byte a weight is for drawing only; trained and drawn on is bfloat16.
    dtype = number if number.itemsize > 1 else torch.bfloat16
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    networks: dict[str, Any]
    try:
        if lacking or not found.layout.parts:
            networks = {card.denoiser: _denoiser(index, card.denoiser, file, folder, dtype)}
        else:
            pipeline: Any = getattr(diffusers, card.pipeline)
            pipe = pipeline.from_single_file(
                str(file), config=str(folder), local_files_only=True, torch_dtype=dtype
            )
            networks = {name: getattr(pipe, name) for name in card.networks}
    except NotImplementedError as error:  # diffusers moves a network that has no weights in some place
        for name in card.networks:
            if name == card.denoiser or name not in lacking:
                _check_whole(file, index, name, folder)
        raise BadBase(f"{file.name} lacks weights of its networks. Fetch it again.") from error
    for name, network in networks.items():
        network.save_pretrained(folder / name)
    for name in lacking:
        assert rest is not None, "the caller asks for a folder when something is missing"
        shutil.copytree(rest / name, folder / name, dirs_exist_ok=True)


def write_settings(family: str, folder: Path) -> None:
    """The configs and tokenizers of Stable Diffusion 1.5 or XL, as they are on the hub."""
    texts = json.loads(MERGES.with_name(family).joinpath("settings.json").read_text(encoding="utf-8"))
    for name, content in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    index = texts["model_index.json"]
    clip_tokenizer("<|endoftext|>").save_pretrained(folder / "tokenizer")
    if "tokenizer_2" in index:
        # NOTE: OpenCLIP pads with the word of number 0; SDXL was trained so, and its second encoder sees it.
        clip_tokenizer("!").save_pretrained(folder / "tokenizer_2")


def clip_tokenizer(pad_token: str) -> CLIPTokenizer:
    """CLIP's tokenizer with its 49,408 words."""
    merges = [
        tuple(line.split()) for line in gzip.decompress(MERGES.read_bytes()).decode().splitlines() if line
    ]
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=merges,
        pad_token=pad_token,
        model_max_length=77,
    )


def main(arguments: Sequence[str]) -> int:
    """The process; says what went wrong as JSON on stdout: {"code", "message"}."""
    file, folder, *rest = map(Path, arguments)
    try:
        convert(file, folder, rest[0] if rest else None)
    except GreenroomError as error:
        print(json.dumps({"code": error.code, "message": str(error)}))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the process's edge: whatever a library met is told in a sentence
        message = (
            f"{file.name} could not be read as {summarise(error)}. It may be a variant that is not supported."
        )
        print(json.dumps({"code": "BadBase", "message": message}))
        return BadBase.exit_code
    return 0


def _brings(found: Found, network: str) -> bool:
    return network in found.layout.parts and network not in found.missing


def _denoiser(index: dict[str, Any], name: str, file: Path, settings: Path, dtype: torch.dtype) -> Any:
    kind: Any = getattr(diffusers, index[name][1])
    return kind.from_single_file(
        _bare(load_file(file)), config=str(settings), subfolder=name, local_files_only=True, torch_dtype=dtype
    )


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that the denoiser has beside other networks; some of diffusers' readers do not know it."""
    start = single_file.DENOISER
    named = {name.removeprefix(start): each for name, each in tensors.items() if name.startswith(start)}
    return named or tensors


def _check_whole(file: Path, index: dict[str, Any], name: str, settings: Path) -> None:
    """Raise BadBase, with their names, when the file has no weights for parts of a network of diffusers'."""
    library, class_name = index[name]
    if library != "diffusers":
        return
    kind: Any = getattr(diffusers, class_name)
    config = kind.load_config(settings / name)
    with torch.device("meta"):
        wanted = kind.from_config(config).state_dict().keys()
    convert_keys: Any = SINGLE_FILE_LOADABLE_CLASSES[class_name]["checkpoint_mapping_fn"]
    lacking = sorted(wanted - convert_keys(config=config, checkpoint=load_file(file)).keys())
    if lacking:
        raise BadBase(
            f"{file.name} is half a base: {len(lacking)} weights of its {name} are missing, such as {lacking[0]}. "
            "Fetch it again."
        )


def _predict_v(folder: Path) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings |= {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    file.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _byte_letters() -> list[str]:
    """A letter for each of the 256 bytes, in CLIP's order: printable ones stand for themselves."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = [byte for byte in range(256) if byte not in plain]
    return [chr(code) for code in plain] + [chr(256 + index) for index in range(len(moved))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
