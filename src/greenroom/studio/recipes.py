"""Recipes: named presets of TrainConfig, one TOML file each. Knows no database and no actor."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

from pydantic import ValidationError

import greenroom
from greenroom.errors import BadRecipe, UnknownRecipe
from greenroom.ml.config import TrainConfig
from greenroom.studio import near
from greenroom.studio.bases import BaseInfo

Kind = Literal["character", "style"]
MOST_SAMPLES = 4
# What an actor and a base bring; a recipe or an override cannot set them.
_GIVEN = {"name", "trigger", "kind", "base_family", "base_source", "created_at"}
_HEAD = {"title", "family", "kind", "steps", "train"}
_RULE = {"per_picture", "least", "most"}


@dataclass(frozen=True, kw_only=True)
class StepsRule:
    """How many steps a training has by the number of its pictures."""

    per_picture: int
    least: int
    most: int

    def steps(self, pictures: int) -> int:
        """So many for each picture, within the bounds."""
        return min(max(self.per_picture * pictures, self.least), self.most)

    def sentence(self, pictures: int) -> str:
        """The rule and what it makes of these pictures, for a person."""
        return (
            f"{self.per_picture} steps for each picture, at least {self.least} and at most {self.most}: "
            f"{self.steps(pictures)} for {pictures} pictures."
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hyper-parameters for one family and kind. `values` are fields of TrainConfig."""

    name: str
    title: str
    family: str
    kind: Kind
    values: Mapping[str, Any]
    rule: StepsRule | None = None
    """Takes the place of `values["steps"]` where the number of pictures is known."""


def names() -> list[str]:
    """Every recipe that ships with Greenroom."""
    return sorted(file.stem for file in _folder().glob("*.toml"))


def load(name: str) -> Recipe:
    """A recipe by name, or a person's own by the path of its .toml file.

    Raises UnknownRecipe with near ones, or BadRecipe for an unknown key or a value out of range.
    """
    if name in names():
        file = _folder() / f"{name}.toml"
    elif name.endswith(".toml") and Path(name).is_file():
        file = Path(name)
    else:
        raise UnknownRecipe(
            f"There is no recipe {name!r}. {near.sentence(name, names(), 'None is installed.')}"
        )
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecipe(f"The recipe {file.name} cannot be read: {error}. Correct the file.") from error
    recipe = _parsed(file.stem, content)
    _config(
        recipe, {**recipe.values}, name="x", trigger="x", source="x"
    )  # its values are judged now, not at a start
    return recipe


def default_for(family: str, kind: str) -> Recipe:
    """The recipe for a family and a kind ("character" or "style")."""
    return load(f"{family}-{kind}")


def config(
    recipe: Recipe,
    *,
    name: str,
    trigger: str,
    kind: str,
    base: BaseInfo,
    captions: Sequence[str] = (),
    pictures: int | None = None,
    **overrides: Any,
) -> TrainConfig:
    """The full configuration of one training.

    captions: the actor's own; the first two become sample prompts beside the recipe's.
    pictures: how many there are, for a recipe whose steps depend on it; None takes the recipe's own number.
    overrides: fields of TrainConfig that the person chose; None means "as the recipe says".
    Raises BadRecipe for an unknown field or a value out of range.
    """
    if recipe.family != base.family:
        raise BadRecipe(
            f"The recipe {recipe.name} is for {recipe.family}, but the base {base.id} is {base.family}. "
            f"Use {base.family}-{kind}, or leave the recipe out."
        )
    chosen = {key: value for key, value in overrides.items() if value is not None}
    values = {**recipe.values, **chosen}
    if recipe.rule is not None and pictures is not None and "steps" not in chosen:
        values["steps"] = recipe.rule.steps(pictures)
    # A shorter run than the recipe's warm-up is meant as a short run, not as a mistake.
    if "warmup_steps" not in chosen and isinstance(values.get("steps"), int):
        values["warmup_steps"] = min(values.get("warmup_steps", 0), values["steps"] // 10)
    if "resolution_px" not in chosen:
        values["resolution_px"] = min(values["resolution_px"], base.native_px)
    if "sample_prompts" not in chosen:
        values["sample_prompts"] = _samples(recipe.values.get("sample_prompts", ()), trigger, captions)
    return _config(recipe, values, name=name, trigger=trigger, source=base.source, kind=kind)


def _samples(templates: Sequence[str], trigger: str, captions: Sequence[str]) -> tuple[str, ...]:
    own = [text for text in dict.fromkeys(captions) if text.strip() and text != trigger][:2]
    filled = [template.replace("{trigger}", trigger) for template in templates]
    return tuple(dict.fromkeys([*own, *filled]))[:MOST_SAMPLES]


def _config(
    recipe: Recipe, values: dict[str, Any], *, name: str, trigger: str, source: str, kind: str | None = None
) -> TrainConfig:
    unknown = sorted(set(values) - (set(TrainConfig.model_fields) - _GIVEN))
    if unknown:
        hint = near.sentence(unknown[0], set(TrainConfig.model_fields) - _GIVEN, "")
        raise BadRecipe(f"The recipe {recipe.name} has no setting {unknown[0]!r}. {hint}")
    given = {"name": name, "trigger": trigger, "kind": kind or recipe.kind}
    try:
        return TrainConfig.model_validate(
            {**values, **given, "base_family": recipe.family, "base_source": source}, strict=False
        )
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        value = "" if problem["type"] == "missing" else f" = {str(problem['input'])[:60]}"
        said = problem["msg"].removeprefix("Value error, ")
        raise BadRecipe(
            f"{where or 'The recipe'}{value if where else ''} cannot be used: {said}. Correct it."
        ) from error


def _parsed(name: str, content: dict[str, Any]) -> Recipe:
    for key in content:
        if key not in _HEAD:
            raise BadRecipe(
                f"The recipe {name} has an unknown key {key!r}. Known are {near.listed(sorted(_HEAD))}."
            )
    missing = [key for key in ("family", "kind", "train") if key not in content]
    if missing or content["kind"] not in {"character", "style"} or not isinstance(content["train"], dict):
        what = (
            f"lacks {near.listed(missing)}"
            if missing
            else 'needs kind = "character" or "style" and a table [train]'
        )
        raise BadRecipe(f"The recipe {name} {what}. Take a recipe that ships with Greenroom as a pattern.")
    return Recipe(
        name=name,
        title=str(content.get("title", name)),
        family=str(content["family"]),
        kind=cast(Kind, content["kind"]),
        values=MappingProxyType(content["train"]),
        rule=_rule(name, content.get("steps")),
    )


def _rule(name: str, table: Any) -> StepsRule | None:
    if table is None:
        return None
    is_whole = isinstance(table, dict) and set(table) == _RULE
    if not is_whole or not all(type(value) is int and value > 0 for value in table.values()):
        raise BadRecipe(
            f"The recipe {name}: [steps] needs per_picture, least and most, each a whole number above 0."
        )
    if table["least"] > table["most"]:
        raise BadRecipe(
            f"The recipe {name}: [steps] has least = {table['least']} above most = {table['most']}."
        )
    return StepsRule(**table)


def _folder() -> Path:
    """recipes/ inside the installed package; in a checkout, the one at the top."""
    package = Path(greenroom.__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent.parent / "recipes"
