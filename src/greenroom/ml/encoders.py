"""Lets go of the VAE and the text encoder while the denoiser trains, and brings them back to draw samples."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

KEPT_BELOW_BYTES = 256_000_000
"""Encoders smaller than this stay where they are: loading them again would cost more than they do."""


class Encoders:
    """The networks of a pipeline beside its denoiser."""

    def __init__(self, pipe: Any, denoiser: nn.Module, source: Path, variant: str | None = None) -> None:
        self._pipe = pipe
        self._variant = variant
        self._source = source
        self._device = next(denoiser.parameters()).device
        self._networks: dict[str, nn.Module | type[Any]] = {
            name: part
            for name, part in pipe.components.items()
            if isinstance(part, nn.Module) and part is not denoiser
        }
        self._dtype = pipe.dtype
        size = sum(_bytes(part) for part in self._networks.values() if isinstance(part, nn.Module))
        self._is_small = size < KEPT_BELOW_BYTES

    def release(self) -> None:
        """Free the memory that the denoiser needs: a GPU's encoders wait on the CPU, a CPU's go for good."""
        if self._is_small:
            return
        for name, part in self._networks.items():
            if not isinstance(part, nn.Module):
                continue
            if self._device.type == "cpu":
                self._networks[name] = type(part)
                self._pipe.register_modules(**{name: None})
            else:
                part.to("cpu")
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """The pipeline is whole for the length of the block."""
        if not self._is_small:
            for name, part in self._networks.items():
                if isinstance(part, nn.Module):
                    part.to(self._device)
                else:
                    self._networks[name] = again = self._load(name, part)
                    self._pipe.register_modules(**{name: again})
        try:
            yield
        finally:
            self.release()

    def _load(self, name: str, kind: type[Any]) -> nn.Module:
        network: nn.Module = kind.from_pretrained(
            self._source / name,
            dtype=self._dtype,
            variant=self._variant,
            local_files_only=True,
            use_safetensors=True,
        )
        return network.eval().requires_grad_(False).to(self._device)


def _bytes(network: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())
