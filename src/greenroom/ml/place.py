"""Loads a base for training and puts it where the config wants it: whole on the device, in 4 bits, or in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from greenroom.ml import quantise
from greenroom.ml.config import TrainConfig
from greenroom.ml.encoders import Encoders, OneAtATime
from greenroom.ml.families import Family
from greenroom.ml.families.loading import variant


def load(
    family: Family, source: Path, config: TrainConfig, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Encoders | OneAtATime]:
    """The pipeline, and who lets go of its encoders while the denoiser trains.

    What is to be made smaller or kept away is loaded on the CPU first, so the device never holds it whole.
    """
    is_offloaded = config.offload_encoders and device.type != "cpu"
    is_plain = config.base_precision == "full" and not is_offloaded
    pipe: Any = family.load(source, device if is_plain else torch.device("cpu"), dtype)
    denoiser = family.denoiser(pipe)
    if config.base_precision == "nf4":
        quantise.to_nf4(denoiser)
    if is_offloaded:
        return pipe, OneAtATime(pipe, denoiser, device)
    if not is_plain:
        pipe.to(device)
    return pipe, Encoders(pipe, denoiser, source, variant(source, family.card))
