from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenroom.errors import BadRecipe, UnknownRecipe
from greenroom.ml.families import CARDS
from greenroom.studio import recipes
from greenroom.studio.bases import BaseInfo


def _base(family: str = "starter", native_px: int = 256) -> BaseInfo:
    return BaseInfo(
        id="b", family=family, source="/b", native_px=native_px, title="", licence="", built_in=False
    )


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_that_ships_makes_a_config(name: str) -> None:
    recipe = recipes.load(name)
    base = _base(recipe.family, CARDS[recipe.family].native_px)
    config = recipes.config(recipe, name="KIA", trigger="KIA_01", kind=recipe.kind, base=base)
    # A recipe for another size of memory than the usual one says so at its end: sdxl-character-12gb.
    assert re.fullmatch(rf"{recipe.family}-{recipe.kind}(-\d+gb)?", name)
    assert config.resolution_px == CARDS[recipe.family].native_px
    assert config.base_source == "/b"
    assert config.alpha > 0
    assert not config.flip_augment
    assert config.sample_prompts
    assert all("KIA_01" in prompt and "{" not in prompt for prompt in config.sample_prompts)


@pytest.mark.parametrize("family", CARDS)
@pytest.mark.parametrize("kind", ["character", "style"])
def test_every_family_has_a_default_for_each_kind(family: str, kind: str) -> None:
    assert recipes.default_for(family, kind).kind == kind


def test_overrides_win_and_none_is_no_override() -> None:
    recipe = recipes.load("starter-character")
    config = recipes.config(
        recipe, name="K", trigger="K1", kind="character", base=_base(), steps=12, rank=4, seed=None
    )
    assert (config.steps, config.rank, config.seed) == (12, 4, 0)
    assert config.warmup_steps == 1  # shrunk with the run


def test_steps_follow_the_number_of_pictures_within_bounds() -> None:
    recipe = recipes.load("sdxl-character")
    assert recipe.rule is not None

    def steps(pictures: int | None, **overrides: int) -> int:
        return recipes.config(
            recipe,
            name="K",
            trigger="K1",
            kind="character",
            base=_base("sdxl", 1024),
            pictures=pictures,
            **overrides,
        ).steps

    assert [steps(pictures) for pictures in (5, 20, 50)] == [600, 800, 2000]
    assert steps(None) == recipe.values["steps"]
    assert steps(20, steps=7) == 7
    assert "800 for 20 pictures" in recipe.rule.sentence(20)


@pytest.mark.parametrize("name", [name for name in recipes.names() if not name.startswith("starter")])
def test_every_recipe_of_a_big_family_has_a_rule_that_holds_its_own_number(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.rule is not None
    assert recipe.rule.least <= recipe.values["steps"] <= recipe.rule.most
    assert recipe.rule.least < recipe.rule.steps(25) or recipe.rule.per_picture * 25 <= recipe.rule.least


def test_a_base_that_draws_smaller_is_not_trained_larger() -> None:
    recipe = recipes.load("sd15-character")
    config = recipes.config(recipe, name="K", trigger="K1", kind="character", base=_base("sd15", 64))
    assert config.resolution_px == 64


def test_own_captions_become_sample_prompts() -> None:
    recipe = recipes.load("starter-character")
    config = recipes.config(
        recipe,
        name="K",
        trigger="K1",
        kind="character",
        base=_base(),
        captions=["K1, laughing", "K1", "K1, laughing", "K1, sad", "K1, asleep"],
    )
    assert config.sample_prompts[:2] == ("K1, laughing", "K1, sad")
    assert len(config.sample_prompts) == recipes.MOST_SAMPLES


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"stepz": 3}, "Did you mean steps"),
        ({"steps": 0}, "steps = 0"),
        ({"learning_rate": "fast"}, "learning_rate = fast"),
        ({"rank": 4.5}, "rank = 4.5"),
        ({"dtype": "float8"}, "dtype = float8"),
        ({"steps": 5, "warmup_steps": 9}, "warmup_steps"),
    ],
)
def test_a_bad_override_is_named(override: dict[str, object], said: str) -> None:
    recipe = recipes.load("starter-character")
    with pytest.raises(BadRecipe, match=said):
        recipes.config(recipe, name="K", trigger="K1", kind="character", base=_base(), **override)


def test_a_recipe_of_another_family_is_refused() -> None:
    recipe = recipes.load("sd15-style")
    with pytest.raises(BadRecipe, match="Use starter-style"):
        recipes.config(recipe, name="K", trigger="K1", kind="style", base=_base())


def test_an_unknown_recipe_lists_near_ones() -> None:
    with pytest.raises(UnknownRecipe, match="Did you mean starter-character"):
        recipes.load("starter-charakter")
    with pytest.raises(UnknownRecipe):
        recipes.load("../pyproject")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("family = 'starter'", "lacks kind and train"),
        ("family = 'starter'\nkind = 'dog'\n[train]\n", "kind ="),
        ("family = 'starter'\nkind = 'style'\nsteps = 3\n[train]\n", "per_picture, least and most"),
        (
            "family = 'starter'\nkind = 'style'\n[train]\nresolution_px = 256\nsteps = 3\ntrigger = 'x'",
            "trigger",
        ),
        ("family = 'starter'\nkind = 'style'\n[train]\nsteps = 3\n", "resolution_px"),
        ("family = ", "cannot be read"),
        (
            "family = 'starter'\nkind = 'style'\n[steps]\nleast = 3\n[train]\nresolution_px = 256\nsteps = 3\n",
            "needs per_picture, least and most",
        ),
        (
            "family = 'starter'\nkind = 'style'\n[steps]\nper_picture = 1\nleast = 9\nmost = 3\n[train]\n"
            "resolution_px = 256\nsteps = 3\n",
            "least = 9 above most = 3",
        ),
    ],
)
def test_a_broken_recipe_of_ones_own_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(BadRecipe, match=said):
        recipes.load(str(file))


def test_a_recipe_of_ones_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("family = 'starter'\nkind = 'style'\n[train]\nresolution_px = 256\nsteps = 3\n")
    recipe = recipes.load(str(file))
    assert (recipe.name, recipe.values["steps"]) == ("mine", 3)
