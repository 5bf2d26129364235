"""Lets go of the VAE and the text encoder while the denoiser trains, and brings them back to draw samples.

Or, for a device that is too small for all of them at once, keeps only the network at work there.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module  # type: ignore[import-untyped]
from accelerate.utils import send_to_device  # type: ignore[import-untyped]
from torch import nn

from greenroom.ml.families.estimate import SMALL_ENCODERS_BYTES

KEPT_BELOW_BYTES = SMALL_ENCODERS_BYTES


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


class OneAtATime:
    """Of a pipeline's networks, only the one at work is on the device; the others wait on the CPU.

    Each network fetches itself when it is called, and sends away the one before it. The pipeline has to be on
    the CPU to begin with; its autoencoder comes to the device at once, since pictures are read first.
    """

    def __init__(self, pipe: Any, denoiser: nn.Module, device: torch.device) -> None:
        self._device = device
        self._networks = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
        self._denoiser = next(name for name, part in self._networks.items() if part is denoiser)
        for name, part in self._networks.items():
            add_hook_to_module(part, _Fetch(self, name, device))
        self.at_work: str | None = None
        """Name of the network that is on the device."""
        self.fetch("vae")

    def release(self) -> None:
        """Bring the denoiser: what is made of its weights next, such as an optimizer's state, is to lie beside them."""
        self.fetch(self._denoiser)

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """The pipeline works as a whole at any time; after the block the denoiser is back on the device."""
        try:
            yield
        finally:
            self.release()

    def fetch(self, name: str) -> None:
        """Bring that network to the device, and the one that is there back to the CPU."""
        if name == self.at_work:
            return
        if self.at_work is not None:
            self._networks[self.at_work].to("cpu")
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        self._networks[name].to(self._device)
        self.at_work = name


class _Fetch(ModelHook):  # type: ignore[misc]
    """Runs before a network's forward, and before an autoencoder's encode and decode."""

    no_grad = False

    def __init__(self, owner: OneAtATime, name: str, device: torch.device) -> None:
        self._owner, self._name = owner, name
        # Where diffusers looks for the device of a pipeline that is spread out.
        self.execution_device = device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        self._owner.fetch(self._name)
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)


def _bytes(network: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())
