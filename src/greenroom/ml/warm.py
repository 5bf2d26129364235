"""Keeps one base loaded and changes the cast on it: LoRAs come and go, the base stays. Knows no pictures.

With nobody cast, the base computes the very numbers that it did before any LoRA was loaded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from greenroom.errors import BadInput, UnsafeFile
from greenroom.ml import families, key_formats, preflight, safe
from greenroom.ml.config import LoraUse
from greenroom.ml.families import Family, loading
from greenroom.ml.key_formats import DOWN, UP, Lora

KEPT_LORAS = 8  # loaded LoRAs beyond those in use; one of the starter has 2 MB, one of SD 1.5 25 MB


class WarmBase:
    """A loaded base and the LoRAs used with it last."""

    def __init__(
        self,
        family_id: str,
        source: Path,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Load it, by default on the best device and in the number format that training takes there.

        Raises UnknownBase, BaseMissing, BadBase or UnsafeFile.
        """
        self.device = device = preflight.device() if device is None else device
        self.dtype = preflight.dtype("auto", device) if dtype is None else dtype
        self.family: Family = families.get(family_id)
        self.source = source
        self.pipe: Any = self.family.load(source, device, self.dtype)
        self.identity = loading.identity(source)
        self._denoiser: Any = self.family.denoiser(self.pipe)
        # Taken before any LoRA is attached, which would add layers of its own.
        self._shapes = {
            name: tuple(module.weight.shape)
            for name, module in self._denoiser.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        }
        self._loaded: OrderedDict[str, None] = OrderedDict()  # adapter names, the least recently used first

    def cast(self, loras: Sequence[LoraUse]) -> list[str]:
        """Let exactly these LoRAs act, in this order, at their weights; returns the sha256 of each file.

        Raises UnsafeFile or BadInput, and then the cast is what it was.
        """
        hashes = [_sha256(Path(use.file)) for use in loras]
        weights: dict[str, float] = {}
        for use, sha256 in zip(loras, hashes, strict=True):
            # One actor named twice counts twice, as two LoRAs with the same weights would.
            name = _adapter_name(sha256)
            weights[name] = weights.get(name, 0.0) + use.weight
            if name not in self._loaded:
                self._load(Path(use.file), name)
            self._loaded.move_to_end(name)
        if weights:
            self._denoiser.enable_lora()
            self._denoiser.set_adapters(list(weights), list(weights.values()))
        elif self._loaded:
            self._denoiser.disable_lora()
        while len(self._loaded) > max(KEPT_LORAS, len(weights)):
            self._denoiser.delete_adapters(self._loaded.popitem(last=False)[0])
        return hashes

    def forget(self) -> None:
        """Take every LoRA out of memory and leave the base as it was loaded."""
        if self._loaded:
            self._denoiser.unload_lora()
            self._loaded.clear()

    def _load(self, path: Path, name: str) -> None:
        tensors, metadata = safe.load(path)
        component = self.family.card.denoiser
        lora = key_formats.read(tensors, metadata, component, self._shapes, self.family.card.id)
        self._check_fits(lora, path.name)
        facts = {f"{component}.{key}": value for key, value in key_formats.adapter_metadata(lora).items()}
        tensors, _ = key_formats.to_diffusers(lora, component)
        # NOTE: stock code with its stock options, so that the picture is the one that other programs draw.
        self._denoiser.load_lora_adapter(
            tensors, prefix=component, metadata=facts, adapter_name=name, low_cpu_mem_usage=True
        )
        self._loaded[name] = None

    def _check_fits(self, lora: Lora, file_name: str) -> None:
        for layer in lora.layers:
            shape = self._shapes[layer]
            down, up = lora.tensors[layer + DOWN], lora.tensors[layer + UP]
            if down.ndim != len(shape) or down.shape[1] != shape[1] or up.shape[0] != shape[0]:
                raise BadInput(
                    f"{file_name} was trained for another base of this family: its layer {layer!r} is "
                    f"{down.shape[1]} wide and this base's is {shape[1]}. Choose the base it was trained on."
                )


def _adapter_name(sha256: str) -> str:
    # By content: a file that was trained anew at the same path is another LoRA.
    return f"lora_{sha256[:24]}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnsafeFile(
            f"The LoRA {path.name} cannot be read: {error.strerror}. Train or export the actor again."
        ) from error
