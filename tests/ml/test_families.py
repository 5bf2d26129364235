"""What every base family promises, run over all of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from run_folders import make
from torch import Tensor

from greenroom.errors import BadBase, BaseMissing, UnknownBase, UnsafeFile
from greenroom.ml import data, export, families, lora, safe
from greenroom.ml.config import GenerateConfig, TrainConfig
from greenroom.ml.families import Family, Prompt
from greenroom.ml.families.loading import check_folder, variant
from greenroom.ml.families.sd15 import model as sd15
from greenroom.ml.generate import draw

CPU = torch.device("cpu")
PROMPTS = ["", "KIA_01", "KIA_01, a long caption with more words than any of the others in this list"]


def train_config(family: Family, source: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(
        **{
            "name": "Kia",
            "trigger": "KIA_01",
            "base_family": family.card.id,
            "base_source": str(source),
            "resolution_px": 128,
            "steps": 60,
            "rank": 4,
            "alpha": 3.0,
            **changes,
        }
    )


def request(family: Family, source: Path, **changes: Any) -> GenerateConfig:
    return GenerateConfig(
        **{
            "base_family": family.card.id,
            "base_source": str(source),
            "prompt": "KIA_01 laughing",
            "seed": 7,
            "width_px": 64,
            "height_px": 128,
            "steps": 3,
            "guidance": 3.0,
            **changes,
        }
    )


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def decoded(family_id: str, pipe: Any, latents: Tensor) -> Tensor:
    """What the end of the stock pipeline makes of latents."""
    vae = pipe.vae
    if family_id == "flux2_klein":
        spread = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
        patches = latents * spread.view(1, -1, 1, 1) + vae.bn.running_mean.view(1, -1, 1, 1)
        return vae.decode(pipe._unpatchify_latents(patches)).sample
    if family_id == "qwen_image":
        mean, spread = (
            torch.tensor(vae.config[f"latents_{name}"]).view(1, -1, 1, 1) for name in ("mean", "std")
        )
        return vae.decode((latents * spread + mean).unsqueeze(2)).sample[:, :, 0]
    raw = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)
    return vae.decode(raw).sample


@pytest.mark.parametrize("family_id", sorted(families.CARDS))
class TestEveryFamily:
    @pytest.fixture(autouse=True)
    def _load(self, family_id: str, tiny_bases: dict[str, Path]) -> None:
        self.family = families.get(family_id)
        self.source = tiny_bases[family_id]
        self.pipe: Any = self.family.load(self.source, CPU, torch.float32)

    def batch(self, width_px: int = 64, height_px: int = 64) -> tuple[Tensor, list[Prompt]]:
        pixels = torch.rand(3, 3, height_px, width_px, generator=rng()) * 2 - 1
        return self.family.encode_pictures(self.pipe, pixels), self.family.encode_prompts(self.pipe, PROMPTS)

    def test_card_and_code_agree(self, family_id: str) -> None:
        assert self.family.card is families.CARDS[family_id]
        assert self.family.card.id == family_id
        assert self.family.denoiser(self.pipe) is getattr(self.pipe, self.family.card.denoiser)

    def test_nothing_is_trained_before_a_lora_is_attached(self, family_id: str) -> None:
        networks = [part for part in self.pipe.components.values() if isinstance(part, torch.nn.Module)]
        assert len(networks) == len(self.family.card.networks)
        for network in networks:
            assert not network.training
            assert not any(weight.requires_grad for weight in network.parameters())

    def test_latents_have_the_cards_cell_size_and_come_back_as_pictures(self, family_id: str) -> None:
        latents, _ = self.batch(width_px=128)
        cells = self.family.card.size_multiple_px
        assert latents.dtype == torch.float32
        assert latents.shape[-1] == 2 * latents.shape[-2]
        assert 128 % cells == 0
        assert decoded(family_id, self.pipe, latents).shape == (3, 3, 64, 128)

    def test_the_same_pixels_give_the_same_latents(self, family_id: str) -> None:
        assert torch.equal(self.batch()[0], self.batch()[0])

    def test_prompts_of_unequal_length_batch_and_stay_apart(self, family_id: str) -> None:
        together = self.family.encode_prompts(self.pipe, PROMPTS)
        given = list(PROMPTS)
        alone = [self.family.encode_prompts(self.pipe, [prompt])[0] for prompt in given]
        assert given == PROMPTS
        for one, other in zip(together, alone, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                torch.testing.assert_close(one[name], other[name])
        assert not torch.equal(together[0]["embeds"][-1], together[2]["embeds"][-1])

    def test_the_loss_works_in_every_bucket(self, family_id: str) -> None:
        config = train_config(self.family, self.source, resolution_px=256)
        choice = data.buckets(config.resolution_px, self.family.card.size_multiple_px)
        assert len(choice) >= 3
        for bucket in choice:
            latents, prompts = self.batch(bucket.width_px, bucket.height_px)
            loss = self.family.loss(self.pipe, latents, prompts, config, rng())
            assert loss.dtype == torch.float32
            assert loss.shape == ()
            assert torch.isfinite(loss)

    def test_the_loss_depends_on_its_generator_alone(self, family_id: str) -> None:
        config = train_config(self.family, self.source)
        latents, prompts = self.batch()
        torch.manual_seed(1)
        first = self.family.loss(self.pipe, latents, prompts, config, rng(3))
        torch.manual_seed(2)
        assert torch.equal(first, self.family.loss(self.pipe, latents, prompts, config, rng(3)))
        assert not torch.equal(first, self.family.loss(self.pipe, latents, prompts, config, rng(4)))

    def test_the_loss_of_a_batch_is_the_mean_over_its_samples(self, family_id: str) -> None:
        # Twice the same sample costs what its two noise draws cost on average.
        config = train_config(self.family, self.source)
        latents, prompts = self.batch()
        one = self.family.loss(self.pipe, latents[:1], prompts[:1], config, rng())
        many = self.family.loss(
            self.pipe, latents[:1].expand(64, -1, -1, -1), prompts[:1] * 64, config, rng()
        )
        assert 0.1 < float(many / one) < 10

    def test_the_loss_uses_only_denoiser_and_scheduler(self, family_id: str) -> None:
        latents, prompts = self.batch()
        self.pipe.register_modules(vae=None, text_encoder=None)
        self.family.loss(self.pipe, latents, prompts, train_config(self.family, self.source), rng())

    def test_loss_falls_on_one_batch(self, family_id: str) -> None:
        config = train_config(self.family, self.source, rank=16, alpha=16)
        latents, prompts = self.batch()
        weights = lora.attach(self.family.denoiser(self.pipe), self.family.card, config)
        optimizer = torch.optim.AdamW(weights.values(), lr=2e-2)
        losses = []
        for _ in range(40):
            loss = self.family.loss(self.pipe, latents, prompts, config, rng())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.8 * losses[0]

    def test_every_lora_weight_learns(self, family_id: str) -> None:
        config = train_config(self.family, self.source)
        weights = lora.attach(self.family.denoiser(self.pipe), self.family.card, config)
        for target in self.family.card.lora_targets:
            assert any(f"{target}.lora_A" in name for name in weights), target
        optimizer = torch.optim.AdamW(weights.values(), lr=1e-2)
        before = lora.snapshot(weights)
        latents, prompts = self.batch()
        for seed in range(3):  # A moves only once B is no longer zero
            self.family.loss(self.pipe, latents, prompts, config, rng(seed)).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert [name for name in weights if torch.equal(weights[name], before[name])] == []

    def test_a_fresh_lora_changes_nothing_and_depends_on_the_seed_alone(self, family_id: str) -> None:
        config = train_config(self.family, self.source)
        plain = draw(self.family, self.pipe, request(self.family, self.source), lambda *_: None)[0]
        torch.manual_seed(11)
        first = lora.snapshot(lora.attach(self.family.denoiser(self.pipe), self.family.card, config))
        fresh = draw(self.family, self.pipe, request(self.family, self.source), lambda *_: None)[0]
        assert fresh.tobytes() == plain.tobytes()
        other = self.family.load(self.source, CPU, torch.float32)
        torch.manual_seed(12)
        second = lora.attach(self.family.denoiser(other), self.family.card, config)
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_gradient_checkpointing_changes_no_gradient(self, family_id: str) -> None:
        config = train_config(self.family, self.source)
        latents, prompts = self.batch()
        denoiser: Any = self.family.denoiser(self.pipe)
        weights = lora.attach(denoiser, self.family.card, config)
        grads = []
        for wanted in (False, True):
            if wanted:
                denoiser.enable_gradient_checkpointing()
                denoiser.train()
            self.family.loss(self.pipe, latents, prompts, config, rng()).backward()
            grads.append(
                {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}
            )
            for weight in weights.values():
                weight.grad = None
        assert grads[0].keys() == grads[1].keys() == weights.keys()
        for name, grad in grads[0].items():
            torch.testing.assert_close(grads[1][name], grad)

    def test_bfloat16_trains_float32_weights(self, family_id: str) -> None:
        config = train_config(self.family, self.source)
        latents, prompts = self.batch()
        exact = self.family.loss(self.pipe, latents, prompts, config, rng())
        pipe = self.family.load(self.source, CPU, torch.bfloat16)
        weights = lora.attach(self.family.denoiser(pipe), self.family.card, config)
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
        loss = self.family.loss(pipe, latents, prompts, config, rng())
        loss.backward()
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(float(exact), rel=0.05)
        assert all(
            weight.grad is not None and torch.isfinite(weight.grad).all() for weight in weights.values()
        )

    def test_a_seed_gives_the_same_picture_alone_and_among_others(self, family_id: str) -> None:
        three = draw(self.family, self.pipe, request(self.family, self.source, count=3), lambda *_: None)
        alone = draw(self.family, self.pipe, request(self.family, self.source, seed=9), lambda *_: None)[0]
        assert three[2].tobytes() == alone.tobytes()
        assert three[0].tobytes() != three[1].tobytes()
        assert three[0].size == (64, 128)
        assert np.asarray(three[0]).std() > 1  # or every picture would equal every other

    def test_steps_are_told_over_the_whole_request_and_can_stop_it(self, family_id: str) -> None:
        told: list[tuple[int, int]] = []
        wanted = request(self.family, self.source, count=2)
        draw(self.family, self.pipe, wanted, lambda done, of: told.append((done, of)))
        assert told == [(done, 6) for done in range(1, 7)]

        def stop(done: int, _of: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            draw(self.family, self.pipe, wanted, stop)

    def test_the_cards_own_steps_and_guidance_are_used_when_none_are_asked(self, family_id: str) -> None:
        card = self.family.card
        told: list[int] = []

        def look_and_stop(_done: int, of: int) -> None:
            told.append(of)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            draw(self.family, self.pipe, request(self.family, self.source, steps=None), look_and_stop)
        assert told == [card.default_steps]
        own = request(self.family, self.source, guidance=None)
        named = request(self.family, self.source, guidance=card.default_guidance)
        one, other = (draw(self.family, self.pipe, each, lambda *_: None)[0] for each in (own, named))
        assert one.tobytes() == other.tobytes()

    def test_a_stock_pipeline_with_the_exported_lora_draws_our_picture(
        self, family_id: str, tmp_path: Path
    ) -> None:
        config = train_config(self.family, self.source)
        run = make(tmp_path / "run", family_id, self.source)
        weights = lora.attach(self.family.denoiser(self.pipe), self.family.card, config)
        with torch.no_grad():
            for weight in weights.values():
                weight.add_(torch.randn(weight.shape, generator=rng(1)) * 0.3)
        ours = draw(self.family, self.pipe, request(self.family, self.source), lambda *_: None)[0]
        written = export.write(
            run, config, self.family.card, weights, base_sha256="0" * 64, steps=1, losses=[1.0]
        )

        stock = DiffusionPipeline.from_pretrained(self.source, local_files_only=True)
        options: dict[str, Any] = {
            "prompt": "KIA_01 laughing",
            "width": 64,
            "height": 128,
            "num_inference_steps": 3,
            self.family.card.guidance_argument: 3.0,
        }
        if family_id == "qwen_image":
            options["negative_prompt"] = " "  # without one this pipeline does not guide at all
        without = stock(**options, generator=rng(7)).images[0]
        stock.load_lora_weights(run / written.lora)
        theirs = stock(**options, generator=rng(7)).images[0]
        assert theirs.tobytes() == ours.tobytes()
        assert theirs.tobytes() != without.tobytes()

    def test_a_missing_folder_or_file_is_named(self, family_id: str, tmp_path: Path) -> None:
        with pytest.raises(BaseMissing, match="nowhere"):
            self.family.load(tmp_path / "nowhere", CPU, torch.float32)
        copy = shutil.copytree(self.source, tmp_path / "copy")
        weights = next((copy / "vae").glob("*.safetensors"))
        weights.unlink()
        with pytest.raises(BaseMissing, match="vae"):
            self.family.load(copy, CPU, torch.float32)

    def test_pickled_weights_are_refused(self, family_id: str, tmp_path: Path) -> None:
        copy = shutil.copytree(self.source, tmp_path / "copy")
        folder = copy / self.family.card.denoiser
        for file in folder.glob("*.safetensors"):
            file.rename(file.with_suffix(".bin"))
        with pytest.raises(UnsafeFile, match="pickle"):
            self.family.load(copy, CPU, torch.float32)

    def test_the_folder_of_another_pipeline_is_refused(
        self, family_id: str, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        other = next(source for name, source in tiny_bases.items() if name != family_id)
        with pytest.raises(BadBase, match=self.family.card.pipeline):
            self.family.load(other, CPU, torch.float32)
        (tmp_path / "model_index.json").write_text("[]")
        with pytest.raises(BadBase):
            check_folder(tmp_path, self.family.card)

    def test_half_precision_files_are_read_as_float32(self, family_id: str, tmp_path: Path) -> None:
        copy = shutil.copytree(self.source, tmp_path / "copy")
        for file in list(copy.rglob("*.safetensors")):
            tensors, metadata = safe.load(file)
            safe.save(file, {name: tensor.half() for name, tensor in tensors.items()}, metadata)
            file.rename(file.with_suffix(".fp16.safetensors"))
        assert variant(self.source, self.family.card) is None
        assert variant(copy, self.family.card) == "fp16"
        pipe = self.family.load(copy, CPU, torch.float32)
        assert next(self.family.denoiser(pipe).parameters()).dtype == torch.float32
        assert pipe.text_encoder.dtype == pipe.vae.dtype == torch.float32


def test_an_unknown_family_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownBase, match="sd15, sd3, sdxl, starter"):
        families.get("sd99")


class TestSD15Loss:
    """Facts of epsilon, v and min-SNR that the shared tests cannot see."""

    def loss(self, source: Path, *, gamma: float | None, scale: float = 1.0) -> float:
        family = sd15.FAMILY
        pipe: Any = family.load(source, CPU, torch.float32)
        with torch.no_grad():  # a network that always answers zero: the loss is then the target's own square
            pipe.unet.conv_out.weight.zero_()
            pipe.unet.conv_out.bias.zero_()
        latents = torch.randn(1500, 4, 8, 8, generator=rng(5)) * scale
        prompt = family.encode_prompts(pipe, [""])[0]
        config = train_config(family, source, min_snr_gamma=gamma)
        with torch.no_grad():
            return float(family.loss(pipe, latents, [prompt] * 1500, config, rng(6)))

    def test_epsilon_is_the_noise(self, tiny_bases: dict[str, Path]) -> None:
        # whatever the latents are
        assert self.loss(tiny_bases["sd15"], gamma=None, scale=1.0) == pytest.approx(1.0, abs=0.02)
        assert self.loss(tiny_bases["sd15"], gamma=None, scale=5.0) == pytest.approx(1.0, abs=0.02)

    def test_v_mixes_noise_and_latents(self, tmp_path: Path) -> None:
        sd15.tiny(tmp_path, prediction_type="v_prediction")
        assert self.loss(tmp_path, gamma=None, scale=1.0) == pytest.approx(1.0, abs=0.02)
        assert self.loss(tmp_path, gamma=None, scale=3.0) > 3

    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    def test_min_snr_weights_are_those_of_the_paper(self, tmp_path: Path, prediction: str) -> None:
        sd15.tiny(tmp_path, prediction_type=prediction)
        pipe: Any = sd15.FAMILY.load(tmp_path, CPU, torch.float32)
        kept = pipe.scheduler.alphas_cumprod
        snr = kept / (1 - kept)
        weight = snr.clamp(max=5) / (snr if prediction == "epsilon" else snr + 1)
        # Unit latents and a zero network make each timestep's unweighted error 1, so the loss is the mean weight.
        assert self.loss(tmp_path, gamma=5.0) == pytest.approx(float(weight.mean()), rel=0.1)

    def test_another_prediction_type_is_refused(self, tmp_path: Path) -> None:
        sd15.tiny(tmp_path)
        file = tmp_path / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "sample"}))
        with pytest.raises(BadBase, match="sample"):
            self.loss(tmp_path, gamma=None)


class TestStarterLoss:
    def test_it_is_the_velocity_loss_of_a_prediction_of_the_clean_latents(
        self, tiny_bases: dict[str, Path]
    ) -> None:
        # A network whose raw output is minus the latents has the pipeline see the clean ones: no error at all.
        family = families.get("starter")
        pipe: Any = family.load(tiny_bases["starter"], CPU, torch.float32)
        final = pipe.transformer.all_final_layer["2-1"]
        with torch.no_grad():
            final.linear.weight.zero_()
            final.linear.bias.fill_(-0.75)
        latents = torch.full((4, 32, 4, 4), 0.75)
        prompts = family.encode_prompts(pipe, ["a"]) * 4
        config = train_config(family, tiny_bases["starter"])
        assert float(family.loss(pipe, latents, prompts, config, rng())) == pytest.approx(0.0, abs=1e-9)
        assert float(family.loss(pipe, -latents, prompts, config, rng())) > 1
