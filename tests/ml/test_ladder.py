"""The memory ladder: which rungs are taken, that each computes what it should, and what follows a full memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel, UNet2DConditionModel
from run_folders import configure, exported, make
from run_folders import train_here as run
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from greenroom.errors import BadInput, Cancelled, OutOfMemory
from greenroom.ml import families, lora, optimizer, place, preflight, quantise, safe
from greenroom.ml.config import GenerateConfig, TrainConfig, read_train
from greenroom.ml.encoders import OneAtATime
from greenroom.ml.events import Note
from greenroom.ml.families import estimate
from greenroom.ml.families.estimate import Sizes
from greenroom.ml.generate import draw

CPU = torch.device("cpu")
FAMILIES = sorted(families.CARDS)
LARGE = Sizes(
    denoiser=12_000_000_000,
    in_blocks=11_500_000_000,
    others=(80_000_000, 4_700_000_000, 120_000_000),
    lora_per_rank=2_000_000,
)
"""About FLUX.1."""


@pytest.fixture(autouse=True)
def _restore_torch() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def config_of(family_id: str, **changes: Any) -> TrainConfig:
    given = {"name": "Kia", "trigger": "KIA_01", "base_family": family_id, "base_source": "x"}
    return TrainConfig(
        **{**given, "resolution_px": families.CARDS[family_id].native_px, "steps": 9, **changes}
    )


def names(found: estimate.Fit) -> list[str]:
    return [rung.name for rung in found.rungs]


class TestChoice:
    """What is taken for FLUX.1 on cards of several sizes; none of these figures was seen on a device."""

    def fit(
        self, gigabytes: float, item_bytes: int = 2, device: str = "cuda", **changes: Any
    ) -> estimate.Fit:
        config = config_of("flux1", batch_size=1, rank=16, **changes)
        card = families.CARDS["flux1"]
        return estimate.fit(LARGE, card, config, item_bytes, limit_bytes=gigabytes * 1e9, device=device)

    def test_what_fits_takes_nothing(self) -> None:
        found = self.fit(80)
        assert found.fits
        assert names(found) == []
        assert found.config == config_of("flux1", batch_size=1, rank=16)

    def test_each_rung_is_taken_before_the_one_that_costs_more(self) -> None:
        taken = [names(self.fit(size)) for size in (80, 37, 24, 12)]
        assert taken[1] == ["gradient_checkpointing"]
        order = [rung.name for rung in estimate.LADDER]
        for shorter, longer in itertools.pairwise(taken):
            assert set(shorter) <= set(longer)
        for each in taken:
            assert sorted(each, key=order.index) == each or "offload_encoders" in each

    def test_float32_is_halved_first(self) -> None:
        assert names(self.fit(60, item_bytes=4))[0] == "bfloat16"
        assert "bfloat16" not in names(self.fit(60, item_bytes=4, dtype="float32"))

    def test_a_rung_that_would_not_help_is_passed_over(self) -> None:
        # The encoders beside the denoiser are what is too much: fewer activations would not help.
        config = config_of("flux1", batch_size=1, resolution_px=256)
        card = families.CARDS["flux1"]
        found = estimate.fit(LARGE, card, config, 2, limit_bytes=28e9)
        assert found.fits
        assert "gradient_checkpointing" not in names(found)

    def test_offloading_leaves_room_for_the_largest_network_alone(self) -> None:
        config = config_of("flux1", gradient_checkpointing=True, base_precision="nf4", batch_size=1)
        card = families.CARDS["flux1"]
        need = {
            is_offloaded: estimate.memory(
                LARGE, card, config.model_copy(update={"offload_encoders": is_offloaded}), 2
            ).total
            for is_offloaded in (False, True)
        }
        assert need[True] < need[False]
        assert need[True] - estimate.RUNTIME_BYTES > 2 * max(LARGE.others)

    def test_the_ladder_can_be_forbidden_and_has_an_end(self) -> None:
        assert not self.fit(24, memory_ladder=False).fits
        assert names(self.fit(24, memory_ladder=False)) == []
        assert not self.fit(2).fits

    def test_what_an_earlier_try_had_to_take_is_taken_again(self) -> None:
        config, card = config_of("flux1", batch_size=1), families.CARDS["flux1"]
        found = estimate.fit(LARGE, card, config, 2, limit_bytes=1e12, first=["gradient_checkpointing"])
        assert found.config.gradient_checkpointing
        assert names(found) == ["gradient_checkpointing"]

    def test_each_rung_is_a_fact_of_the_config(self) -> None:
        everything = estimate.applied(config_of("flux1"), estimate.LADDER)
        assert everything.dtype == "bfloat16"
        assert everything.gradient_checkpointing
        assert everything.optimizer == "adamw8bit"
        assert everything.base_precision == "nf4"
        assert everything.offload_encoders
        assert TrainConfig.model_validate(everything.model_dump()) == everything

    def test_time_grows_with_steps_area_and_recomputing(self) -> None:
        card, config = families.CARDS["flux1"], config_of("flux1", batch_size=1)
        once = estimate.flops(LARGE, card, config)
        assert estimate.flops(LARGE, card, config.model_copy(update={"steps": 18})) == 2 * once
        assert estimate.flops(LARGE, card, config.model_copy(update={"resolution_px": 512})) == once / 4
        slower = config.model_copy(update={"gradient_checkpointing": True})
        assert estimate.flops(LARGE, card, slower) == 1.5 * once


def test_the_optional_package_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "QUANT_PACKAGE", "no_such_package")
    with pytest.raises(BadInput, match=r"base_precision = 'nf4' needs .*greenroom\[quant\]"):
        preflight.check_package(config_of("flux1", base_precision="nf4"))
    preflight.check_package(config_of("flux1"))
    card = families.CARDS["flux1"]
    found = estimate.fit(LARGE, card, config_of("flux1"), 2, limit_bytes=2e9)
    assert not {"adamw8bit", "nf4"} & set(names(found))


class TestEachRung:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("bitsandbytes")

    @pytest.mark.parametrize("family_id", FAMILIES)
    def test_a_base_in_four_bits_computes_nearly_the_same_and_its_lora_learns(
        self, family_id: str, tiny_bases: dict[str, Path]
    ) -> None:
        family, source = families.get(family_id), tiny_bases[family_id]
        config = config_of(family_id, rank=16, alpha=16, resolution_px=64)
        pipe: Any = family.load(source, CPU, torch.float32)
        latents = family.encode_pictures(pipe, torch.rand(2, 3, 64, 64, generator=rng(0)) * 2 - 1)
        prompts = family.encode_prompts(pipe, ["", "KIA_01 laughing"])
        exact = float(family.loss(pipe, latents, prompts, config, rng(1)))
        before = held(family.denoiser(pipe))
        assert quantise.to_nf4(family.denoiser(pipe)) > 0
        assert held(family.denoiser(pipe)) < 0.9 * before  # a UNet has many weights in convolutions
        assert float(family.loss(pipe, latents, prompts, config, rng(1))) == pytest.approx(exact, rel=0.1)

        weights = lora.attach(family.denoiser(pipe), family.card, config)
        family.denoiser(pipe).train()
        tuned = torch.optim.AdamW(weights.values(), lr=2e-2)
        losses = []
        for _ in range(12):
            loss = family.loss(pipe, latents, prompts, config, rng(1))
            loss.backward()
            tuned.step()
            tuned.zero_grad()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.97 * losses[0]

    def test_eight_bit_moments_move_the_weights_nearly_as_exact_ones(self) -> None:
        ends = []
        for kind in ("adamw", "adamw8bit"):
            weights = {"a": nn.Parameter(torch.randn(64, 128, generator=rng(0)))}
            target = torch.randn(64, 128, generator=rng(1))
            tuned = optimizer.make(weights, config_of("sd15", optimizer=kind, learning_rate=1e-2))
            for _ in range(30):
                (weights["a"] - target).square().sum().backward()
                tuned.step()
                tuned.zero_grad()
            ends.append(weights["a"].detach())
        started = torch.randn(64, 128, generator=rng(0))
        assert (ends[0] - ends[1]).norm() < 0.1 * (ends[0] - started).norm()

    def test_a_run_climbs_from_exact_to_eight_bit_moments(self) -> None:
        weights = {
            "a": nn.Parameter(torch.randn(64, 128, generator=rng(0))),
            "b": nn.Parameter(torch.ones(3)),
        }
        tuned = optimizer.make(weights, config_of("sd15"))
        for _ in range(5):
            (weights["a"].square().sum() + weights["b"].sum()).backward()
            tuned.step()
            tuned.zero_grad()
        saved = {name: tensor.clone() for name, tensor in optimizer.moments(tuned, weights).items()}
        eight: Any = optimizer.make(weights, config_of("sd15", optimizer="adamw8bit"))
        optimizer.restore(eight, weights, saved, 5)
        from bitsandbytes.functional import QuantState, dequantize_blockwise

        state = eight.state[weights["a"]]
        facts = QuantState(absmax=state["absmax1"], code=state["qmap1"], blocksize=256, dtype=torch.float32)
        mean = dequantize_blockwise(state["state1"], facts)
        assert state["step"] == 5
        torch.testing.assert_close(mean, saved["a.exp_avg"], atol=0.02 * float(mean.abs().max()), rtol=0.1)
        assert torch.equal(eight.state[weights["b"]]["state1"], saved["b.exp_avg"])

    @pytest.mark.slow  # two whole runs and one that is broken off: 6 s
    def test_a_run_with_every_rung_resumes_to_the_very_bytes(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        every = {
            "dtype": "bfloat16", "gradient_checkpointing": True, "optimizer": "adamw8bit",
            "base_precision": "nf4", "offload_encoders": True, "sample_prompts": ("KIA_01",),
            "rank": 256, "steps": 6, "checkpoint_every": 3, "batch_size": 1,
        }  # fmt: skip
        whole = make(tmp_path / "whole", "flux1", tiny_bases["flux1"], **every)
        run(whole)
        broken = make(tmp_path / "broken", "flux1", tiny_bases["flux1"], **every)
        with pytest.raises(Cancelled):
            run(broken, stop_at='"event":"saved","step":3')
        saved, _ = safe.load(broken / "checkpoints" / "step-000003" / "optimizer.safetensors")
        assert torch.uint8 in {tensor.dtype for tensor in saved.values()}
        run(broken)
        assert exported(broken) == exported(whole)
        story = json.loads((whole / "export" / "model-card.json").read_text())
        assert story["training"]["memory"]["base_precision"] == "nf4"


@pytest.mark.parametrize("family_id", FAMILIES)
def test_networks_that_take_turns_compute_what_they_do_together(
    family_id: str, tiny_bases: dict[str, Path]
) -> None:
    """On one device, where fetching moves nothing: that each is fetched when it is called, in every pipeline."""
    family, source = families.get(family_id), tiny_bases[family_id]
    wanted = GenerateConfig(
        base_family=family_id, base_source=str(source), prompt="KIA_01", width_px=64, height_px=64, steps=2
    )
    pixels = torch.rand(1, 3, 64, 64, generator=rng(0)) * 2 - 1
    answers = []
    for is_offloaded in (False, True):
        pipe: Any = family.load(source, CPU, torch.float32)
        turns = OneAtATime(pipe, family.denoiser(pipe), CPU) if is_offloaded else None
        seen = [turns.at_work] if turns else []
        latents = family.encode_pictures(pipe, pixels)
        prompt = family.encode_prompts(pipe, ["KIA_01"])[0]
        seen += [turns.at_work] if turns else []
        loss = family.loss(pipe, latents, [prompt], config_of(family_id, resolution_px=64), rng(1))
        seen += [turns.at_work] if turns else []
        picture = draw(family, pipe, wanted, lambda *_: None)[0].tobytes()
        seen += [turns.at_work] if turns else []
        if turns:
            with turns.present():
                pass
            assert turns.at_work == family.card.denoiser
        config = config_of(family_id, resolution_px=64)
        weights = lora.attach(family.denoiser(pipe), family.card, config)
        family.denoiser(pipe).train()
        family.loss(pipe, latents, [prompt], config, rng(1)).backward()
        # B is zero at first, so A has a gradient of zero, and B one that says whether all came through.
        grads = {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}
        answers.append((latents, prompt, loss, picture, grads))
    assert seen[0] == seen[3] == "vae"
    assert str(seen[1]).startswith("text_encoder")
    assert seen[2] == family.card.denoiser
    (latents, prompt, loss, picture, grads), (latents2, prompt2, loss2, picture2, grads2) = answers
    assert torch.equal(latents, latents2)
    assert all(torch.equal(prompt[name], prompt2[name]) for name in prompt)
    assert torch.equal(loss, loss2)
    assert picture == picture2
    assert grads.keys() == grads2.keys()
    assert all(torch.equal(grads[name], grads2[name]) for name in grads)


class TestFullMemory:
    """A device that holds no activations of a whole step: stands for the GPU that the tests do not have."""

    @pytest.fixture
    def small_device(self) -> Iterator[list[int]]:
        met: list[int] = []

        def refuse(module: nn.Module, _args: Any) -> None:
            if isinstance(module, UNet2DConditionModel) and module.training:
                met.append(1)
                if len(met) > 5 and not module.is_gradient_checkpointing:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        handle = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
        yield met
        handle.remove()

    def test_the_run_goes_on_from_its_checkpoint_with_the_next_rung(
        self, tmp_path: Path, tiny_bases: dict[str, Path], small_device: list[int]
    ) -> None:
        plain = {"dtype": "float32", "steps": 8, "checkpoint_every": 4}
        folder = make(tmp_path / "run", "sd15", tiny_bases["sd15"], **plain)
        _, told = run(folder)
        notes = [event.text for event in told if isinstance(event, Note)]
        assert any("Memory ran out" in note and "gradient checkpointing" in note for note in notes)
        assert any("Going on after step 4" in note for note in notes)
        assert json.loads((folder / "run.json").read_text())["rungs"] == ["gradient_checkpointing"]
        roomy = make(tmp_path / "roomy", "sd15", tiny_bases["sd15"], gradient_checkpointing=True, **plain)
        run(roomy)
        assert same_weights(folder, roomy)  # recomputing gives the very numbers

    def test_it_ends_when_no_rung_is_left(
        self, tmp_path: Path, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(estimate, "QUANT_PACKAGE", "no_such_package")
        folder = make(tmp_path / "run", "sd15", tiny_bases["sd15"], dtype="float32")
        tries = []

        def refuse(module: nn.Module, _args: Any) -> None:
            if isinstance(module, UNet2DConditionModel):
                tries.append(1)
                raise torch.OutOfMemoryError("CUDA out of memory")

        handle = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
        try:
            with pytest.raises(OutOfMemory, match="Every measure that could help here is taken"):
                run(folder)
            configure(folder, "sd15", tiny_bases["sd15"], dtype="float32", memory_ladder=False)
            (folder / "run.json").unlink()
            with pytest.raises(
                OutOfMemory, match=r"Take gradient checkpointing.*gradient_checkpointing = true"
            ):
                run(folder)
        finally:
            handle.remove()
        assert len(tries) == 3  # as it was, with gradient checkpointing, and where that is forbidden


class TestFirstStart:
    def test_the_rungs_are_chosen_told_and_kept(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        source, card = tiny_bases["sd15"], families.CARDS["sd15"]
        folder = make(tmp_path / "run", "sd15", source, dtype="float32", steps=4)
        config = read_train(folder)
        base = estimate.sizes(source, card)
        needs = [
            estimate.memory(
                base, card, config.model_copy(update={"gradient_checkpointing": is_on}), 4, device="cpu"
            ).total
            for is_on in (False, True)
        ]
        limit = sum(needs) / 2e9
        configure(folder, "sd15", source, dtype="float32", steps=4, max_memory_gb=limit)
        _, told = run(folder)
        assert any("so that it fits" in event.text for event in told if isinstance(event, Note))
        assert json.loads((folder / "run.json").read_text())["rungs"] == ["gradient_checkpointing"]
        configure(folder, "sd15", source, dtype="float32", steps=4)
        pipe, _ = place.load(families.get("sd15"), source, read_train(folder), CPU, torch.float32)
        assert pipe.unet.dtype == torch.float32
        on, _ = preflight.settle(folder, read_train(folder))
        again, _ = preflight.settle_memory(folder, source, card, read_train(folder), on)
        assert again.config.gradient_checkpointing  # although there is room now: the bytes must stay the same

    def test_what_cannot_fit_is_refused_with_what_would_help(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        folder = make(tmp_path / "run", "sd15", tiny_bases["sd15"], max_memory_gb=0.1)
        with pytest.raises(OutOfMemory, match=r"0\.1 GB can be used\. Choose a smaller batch"):
            run(folder)
        configure(folder, "sd15", tiny_bases["sd15"], max_memory_gb=0.1, memory_ladder=False)
        with pytest.raises(OutOfMemory, match="memory_ladder = true"):
            run(folder)


def test_a_run_that_began_before_the_ladder_was_there_can_go_on() -> None:
    config = config_of("sd15")
    facts = config.model_dump(mode="json")
    assert {"optimizer", "base_precision", "offload_encoders"} <= facts.keys()
    assert config.identity() == config.model_copy(update={"device": "cpu", "memory_ladder": False}).identity()
    assert config.identity() != config.model_copy(update={"optimizer": "adamw8bit"}).identity()


@pytest.mark.slow  # builds two networks of the true size, without weights: 5 s
def test_the_cards_arithmetic_was_counted() -> None:
    """One UNet and one transformer again, without weights; the others were counted in the same way."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        seen = {
            "sd15": arithmetic(
                unet,
                sample=torch.empty(1, 4, 64, 64),
                timestep=torch.zeros(1),
                encoder_hidden_states=torch.empty(1, 77, 768),
            ),
            "qwen_image": arithmetic(
                QwenImageTransformer2DModel(),
                hidden_states=torch.empty(1, 4096, 64),
                timestep=torch.empty(1),
                encoder_hidden_states=torch.empty(1, 512, 3584),
                encoder_hidden_states_mask=None,
                img_shapes=[[(1, 64, 64)]],
            ),
        }
    for family_id, counted in seen.items():
        assert families.CARDS[family_id].forward_flops == pytest.approx(counted, rel=0.03), family_id


def arithmetic(network: nn.Module, **given: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(**given)
    return int(counter.get_total_flops())


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def held(network: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())


def same_weights(one: Path, other: Path) -> bool:
    a, b = (safe.load(folder / "export" / "lora.safetensors")[0] for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
