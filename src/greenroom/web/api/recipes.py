"""Recipes: the presets that ship, with every value that a training may change."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field

from greenroom.errors import UnknownRecipe
from greenroom.studio import recipes
from greenroom.web.api.common import Page, Told
from greenroom.web.edge import settings_of, studio

router = APIRouter(tags=["recipes"])


class Recipe(Told):
    """One preset for a family of bases and a kind of actor."""

    name: str = Field(examples=["starter-character"])
    title: str
    family: str
    kind: recipes.Kind
    settings: dict[str, Any]


@router.get("/recipes")
def list_recipes(request: Request) -> Page[Recipe]:
    """Every recipe."""
    with studio(settings_of(request)):
        return Page[Recipe](items=[_told(name) for name in recipes.names()])


@router.get("/recipes/{name}")
def get_recipe(
    request: Request,
    name: Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,64}$", examples=["starter-character"])],
) -> Recipe:
    """One recipe."""
    with studio(settings_of(request)):
        if name not in recipes.names():
            raise UnknownRecipe(f"There is no recipe {name!r}. Look at the list.")
        return _told(name)


def _told(name: str) -> Recipe:
    recipe = recipes.load(name)
    return Recipe(
        name=recipe.name,
        title=recipe.title,
        family=recipe.family,
        kind=recipe.kind,
        settings=dict(recipe.values),
    )
