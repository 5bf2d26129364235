"""The encoders go while the denoiser trains, and the pipeline is whole again when it draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from greenroom.ml import encoders, families
from greenroom.ml.config import GenerateConfig
from greenroom.ml.encoders import Encoders
from greenroom.ml.generate import draw

CPU = torch.device("cpu")


@pytest.mark.parametrize("family_id", sorted(families.CARDS))
class TestEncoders:
    def test_large_ones_go_and_come_back_the_same(
        self, family_id: str, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(encoders, "KEPT_BELOW_BYTES", 0)
        family = families.get(family_id)
        source = tiny_bases[family_id]
        pipe: Any = family.load(source, CPU, torch.float32)
        wanted = GenerateConfig(
            base_family=family_id, base_source=str(source), prompt="a", width_px=64, height_px=64, steps=2
        )
        before = draw(family, pipe, wanted, lambda *_: None)[0]
        held = Encoders(pipe, family.denoiser(pipe), source)
        for _ in range(2):
            held.release()
            assert pipe.vae is None
            assert pipe.text_encoder is None
            with held.present():
                assert not any(weight.requires_grad for weight in pipe.vae.parameters())
                assert draw(family, pipe, wanted, lambda *_: None)[0].tobytes() == before.tobytes()
            assert pipe.vae is None

    def test_small_ones_stay(self, family_id: str, tiny_bases: dict[str, Path]) -> None:
        family = families.get(family_id)
        pipe: Any = family.load(tiny_bases[family_id], CPU, torch.float32)
        vae = pipe.vae
        held = Encoders(pipe, family.denoiser(pipe), tiny_bases[family_id])
        held.release()
        assert pipe.vae is vae
