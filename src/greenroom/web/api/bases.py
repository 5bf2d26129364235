"""Base models, as they are known on this machine. They are added on the command line only, as they are folders."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import Field

from greenroom.errors import UnknownBase
from greenroom.studio import bases
from greenroom.studio.bases import BaseInfo
from greenroom.web.api.common import Page, Told
from greenroom.web.edge import settings_of, studio

router = APIRouter(tags=["bases"])


class Base(Told):
    """A base model."""

    id: str = Field(examples=["starter"])
    family: str = Field(examples=["starter"])
    title: str
    licence: str
    native_px: int
    is_built_in: bool
    is_present: bool = Field(description="Whether its files are where they should be.")


@router.get("/bases")
def list_bases(request: Request) -> Page[Base]:
    """Every base, the built-in one first."""
    with studio(settings_of(request)) as open_:
        return Page[Base](items=[_told(base) for base in bases.list_(open_.session)])


@router.get("/bases/{base_id}")
def get_base(
    request: Request,
    base_id: Annotated[str, Path(pattern=r"^[a-z0-9._-]{1,64}$", examples=["starter"])],
) -> Base:
    """One base."""
    with studio(settings_of(request)) as open_:
        for base in bases.list_(open_.session):
            if base.id == base_id:
                return _told(base)
    raise UnknownBase(f"There is no base {base_id!r}. Look at the list.")


def _told(base: BaseInfo) -> Base:
    return Base(
        id=base.id,
        family=base.family,
        title=base.title,
        licence=base.licence,
        native_px=base.native_px,
        is_built_in=base.built_in,
        is_present=base.is_present,
    )
