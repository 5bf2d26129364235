from __future__ import annotations

import json
from pathlib import Path

import pytest

from greenroom.ml.config import GenerateConfig
from greenroom.ml.families import CARDS, variants


def folder(path: Path, **settings: object) -> Path:
    for name, content in settings.items():
        file = path / f"{name.replace('__', '/')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    path.mkdir(exist_ok=True)
    return path


@pytest.mark.parametrize("family_id", sorted(CARDS))
def test_a_plain_base_draws_as_its_card_says(family_id: str, tmp_path: Path) -> None:
    card = CARDS[family_id]
    found = variants.of(card, folder(tmp_path / "base"))
    assert (found.steps, found.guidance, found.warning) == (card.default_steps, card.default_guidance, "")


def test_flux1_without_a_guidance_embedding_is_schnell(tmp_path: Path) -> None:
    settings = {"transformer__config": {"guidance_embeds": False}}
    found = variants.of(CARDS["flux1"], folder(tmp_path / "a", **settings))
    assert (found.name, found.steps, found.guidance) == ("FLUX.1 [schnell]", 4, 0.0)
    assert "Train on FLUX.1 [dev]" in found.warning
    settings = {"transformer__config": {"guidance_embeds": True}}
    assert not variants.of(CARDS["flux1"], folder(tmp_path / "b", **settings)).warning


def test_a_distilled_klein_says_so_in_its_index(tmp_path: Path) -> None:
    found = variants.of(CARDS["flux2_klein"], folder(tmp_path / "a", model_index={"is_distilled": True}))
    assert (found.steps, found.guidance) == (4, 1.0)
    found = variants.of(CARDS["flux2_klein"], folder(tmp_path / "b", model_index={"is_distilled": False}))
    assert found.steps == CARDS["flux2_klein"].default_steps


def test_turbo_is_told_by_the_folder_or_by_where_it_came_from(tmp_path: Path) -> None:
    card = CARDS["zimage"]
    assert variants.of(card, folder(tmp_path / "Z-Image-Turbo")).steps == 9
    fetched = folder(tmp_path / "z")
    assert variants.of(card, fetched).steps == card.default_steps
    variants.note_origin(fetched, "Tongyi-MAI/Z-Image-Turbo")
    assert (variants.of(card, fetched).steps, variants.of(card, fetched).guidance) == (9, 0.0)


def test_what_a_person_asks_for_wins(tmp_path: Path) -> None:
    source = folder(tmp_path / "turbo")
    asked = GenerateConfig(
        base_family="zimage", base_source=str(source), prompt="a", width_px=64, height_px=64, steps=20
    )
    settled = variants.settled(CARDS["zimage"], asked)
    assert (settled.steps, settled.guidance) == (20, 0.0)


def test_a_damaged_settings_file_changes_nothing(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", model_index=[1])
    (source / "greenroom.json").write_text("{")
    assert variants.of(CARDS["zimage"], source).name == CARDS["zimage"].title
