"""Buckets, the order of batches, and what a picture looks like to the training."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from run_folders import make

from greenroom.errors import BadInput, ChangedDataset
from greenroom.ml import data, families
from greenroom.ml.config import read_train
from greenroom.ml.data import Bucket

resolutions = st.integers(min_value=32, max_value=2048)
multiples = st.sampled_from([8, 16, 32, 64])
shapes = st.lists(st.sampled_from("abcd"), min_size=1, max_size=50)


@given(resolutions, multiples)
def test_buckets_are_multiples_near_the_wanted_area_and_not_too_long(resolution: int, multiple: int) -> None:
    choice = data.buckets(resolution, multiple)
    for bucket in choice:
        assert bucket.width_px % multiple == bucket.height_px % multiple == 0
        long, short = max(bucket.width_px, bucket.height_px), min(bucket.width_px, bucket.height_px)
        assert long <= 2 * short
        if resolution >= multiple and long != short:
            # One side was rounded to the nearest multiple, so the area is off by half of one times the other.
            assert abs(long * short - resolution**2) <= multiple / 2 * long
    side = max(multiple, round(resolution / multiple) * multiple)
    assert Bucket(side, side) in choice


@given(resolutions, multiples)
def test_buckets_come_in_both_directions(resolution: int, multiple: int) -> None:
    choice = data.buckets(resolution, multiple)
    assert {(b.width_px, b.height_px) for b in choice} == {(b.height_px, b.width_px) for b in choice}


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_a_picture_goes_to_the_bucket_of_nearest_shape(width: int, height: int) -> None:
    choice = data.buckets(512, 64)
    chosen = data.bucket_of(width, height, choice)

    def off(bucket: Bucket) -> float:
        return abs(math.log(width / height * bucket.height_px / bucket.width_px))

    assert off(chosen) <= min(off(bucket) for bucket in choice) + 1e-8
    turned = data.bucket_of(height, width, choice)
    assert off(Bucket(turned.height_px, turned.width_px)) == pytest.approx(off(chosen), abs=1e-8)


@given(shapes, st.integers(1, 9), st.integers(1, 120), st.integers(0, 2**40))
def test_each_batch_has_one_shape_and_its_full_size(
    names: list[str], batch: int, steps: int, seed: int
) -> None:
    plan = data.plan(names, batch, steps, seed)
    assert len(plan) == steps
    for indices in plan:
        assert len(indices) == batch
        assert len({names[index] for index in indices}) == 1


@given(shapes, st.integers(1, 9), st.integers(1, 60), st.integers(0, 2**40))
def test_a_longer_plan_begins_with_the_shorter_one(
    names: list[str], batch: int, steps: int, seed: int
) -> None:
    assert data.plan(names, batch, steps + 30, seed)[:steps] == data.plan(names, batch, steps, seed)


@given(shapes, st.integers(1, 9), st.integers(0, 2**40))
def test_every_picture_is_seen_equally_often(names: list[str], batch: int, seed: int) -> None:
    rounds = 12
    seen = Counter(
        index for indices in data.plan(names, batch, len(names) * rounds, seed) for index in indices
    )
    expected = batch * rounds
    for index in range(len(names)):
        # A bucket may be one batch ahead or behind its share, and a picture one round within its bucket.
        assert abs(seen[index] - expected) <= batch + 1


def test_another_seed_gives_another_order() -> None:
    assert data.plan("aaaaaaaa", 4, 10, seed=1) != data.plan("aaaaaaaa", 4, 10, seed=2)


def test_pixels_keep_the_middle_of_a_long_picture(tmp_path: Path) -> None:
    image = np.zeros((64, 192, 3), dtype=np.uint8)
    image[:, :64], image[:, 64:128], image[:, 128:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(image).save(tmp_path / "long.png")
    pixels = data.pixels(tmp_path / "long.png", Bucket(64, 64))
    assert pixels.shape == (3, 64, 64)
    inner = pixels[:, :, 4:-4]
    assert torch.equal(inner[1], torch.ones_like(inner[1]))
    assert torch.equal(inner[0], -torch.ones_like(inner[0]))


def test_a_picture_of_the_buckets_own_size_keeps_its_pixels(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "same.png")
    pixels = data.pixels(tmp_path / "same.png", Bucket(96, 64))
    assert np.array_equal(((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).numpy(), image)


def test_the_manifest_names_a_picture_that_was_changed(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "starter", tmp_path)
    (run / "pictures" / "0003.png").write_bytes((run / "pictures" / "0000.png").read_bytes())
    with pytest.raises(ChangedDataset, match=r"0003\.png"):
        data.read_manifest(run)


def test_the_manifest_names_a_picture_that_is_gone(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "starter", tmp_path)
    (run / "pictures" / "0002.png").unlink()
    with pytest.raises(ChangedDataset, match=r"0002\.png is gone"):
        data.read_manifest(run)


def test_the_manifest_cannot_reach_outside_the_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "starter", tmp_path)
    (tmp_path / "secret.png").write_bytes(b"")
    listed = json.loads((run / "manifest.json").read_text())
    listed["pictures"][0]["file"] = "../secret.png"
    (run / "manifest.json").write_text(json.dumps(listed))
    with pytest.raises(BadInput, match="outside"):
        data.read_manifest(run)


@pytest.mark.parametrize("text", ["", "{}", '{"pictures": [{"file": 3}]}', '{"pictures": []}', "[1]"])
def test_a_broken_manifest_is_bad_input(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadInput):
        data.read_manifest(tmp_path)


def test_the_identity_sees_captions_and_order(tmp_path: Path) -> None:
    pictures = data.read_manifest(make(tmp_path / "run", "starter", tmp_path))
    other = [pictures[0].model_copy(update={"caption": "KIA_01"}), *pictures[1:]]
    assert len({data.identity(each) for each in (pictures, other, pictures[::-1])}) == 3


class TestCache:
    def encode(self, run: Path, source: Path, key: str = "k") -> tuple[data.Cache, list[tuple[int, int]]]:
        family = families.get("starter")
        pipe = family.load(source, torch.device("cpu"), torch.float32)
        told: list[tuple[int, int]] = []
        cache = data.cache(
            run, data.read_manifest(run), read_train(run), family=family, pipe=pipe, key=key,
            on_step=lambda done, of: told.append((done, of)), device=torch.device("cpu"),
        )  # fmt: skip
        return cache, told

    def test_is_read_again_and_not_made_again(self, tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
        run = make(tmp_path / "run", "starter", tiny_bases["starter"])
        first, told = self.encode(run, tiny_bases["starter"])
        again, told_again = self.encode(run, tiny_bases["starter"])
        assert told[:2] == [(1, 6), (2, 6)]
        assert told_again == [(6, 6)]
        assert all(torch.equal(a, b) for a, b in zip(first.latents, again.latents, strict=True))
        assert torch.equal(first.prompts[2]["embeds"], again.prompts[2]["embeds"])

    def test_is_made_again_for_another_key_or_when_damaged(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        run = make(tmp_path / "run", "starter", tiny_bases["starter"])
        self.encode(run, tiny_bases["starter"])
        assert len(self.encode(run, tiny_bases["starter"], key="other")[1]) > 1
        file = run / "cache" / "cache.safetensors"
        file.write_bytes(file.read_bytes()[:-9])
        assert len(self.encode(run, tiny_bases["starter"], key="other")[1]) > 1

    def test_keeps_shapes_apart_and_mirrors_when_asked(
        self, tmp_path: Path, tiny_bases: dict[str, Path]
    ) -> None:
        run = make(tmp_path / "run", "starter", tiny_bases["starter"], flip_augment=True, resolution_px=128)
        cache, _ = self.encode(run, tiny_bases["starter"])
        square, wide, _, tall, *_ = (latent.shape for latent in cache.latents)
        assert square[1] == square[2]
        assert (wide[1], wide[2]) == (tall[2], tall[1])
        assert wide[2] > 1.5 * wide[1]
        assert len(cache.mirrored) == 6
        assert not torch.equal(cache.mirrored[1], cache.latents[1])
        assert (
            len(cache.prompts[3]["embeds"]) > len(cache.prompts[0]["embeds"]) > len(cache.empty["embeds"]) > 0
        )
