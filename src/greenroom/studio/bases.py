"""Base models: the built-in starter and the local diffusers folders that a person added. Loads no weights."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from greenroom.db.models import Actor, Base
from greenroom.errors import BadBase, BaseMissing, BaseTaken, Conflict, UnknownBase, UnsafeFile
from greenroom.ml.families import CARDS
from greenroom.ml.families.loading import identity, missing_shards
from greenroom.ml.header import read_header
from greenroom.studio import near

STARTER = "starter"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclass(frozen=True, kw_only=True)
class BaseInfo:
    """A base as the rest of the studio sees it."""

    id: str
    family: str
    source: str
    """Path of a local diffusers folder."""
    native_px: int
    title: str
    licence: str
    built_in: bool
    sha256: str = ""
    """Of the base as it was when it was added: see ml.families.loading.identity; empty for the built-in one."""
    origin: str = ""
    """The hub id or the file that it came from, with the file's own sha256; empty for a folder."""

    @property
    def is_present(self) -> bool:
        """True when its files are where they should be."""
        return (Path(self.source) / "model_index.json").is_file()

    @property
    def size_bytes(self) -> int:
        """What its files take on the disk; 0 when they are gone."""
        return sum(file.stat().st_size for file in Path(self.source).rglob("*") if file.is_file())


def list_(session: Session) -> list[BaseInfo]:
    """Every base, the built-in one first."""
    added = session.scalars(select(Base).order_by(Base.created_at, Base.id))
    return [starter(), *(_info(row) for row in added)]


def starter() -> BaseInfo:
    """The built-in base."""
    card = CARDS[STARTER]
    # Found without importing it: greenroom.ml.starter is torch's side.
    spec = importlib.util.find_spec("greenroom.ml")
    assert spec is not None
    assert spec.origin is not None
    weights = Path(spec.origin).parent / "starter" / "weights"
    return BaseInfo(
        id=STARTER,
        family=card.id,
        source=str(weights),
        native_px=card.native_px,
        title=card.title,
        licence=card.licence,
        built_in=True,
    )


def find(session: Session, base_id: str) -> BaseInfo:
    """The base of that id, its files in place.

    Raises UnknownBase with near ones, or BaseMissing when its folder is gone.
    """
    known = list_(session)
    found = next((base for base in known if base.id == base_id), None)
    if found is None:
        hint = near.sentence(base_id, [base.id for base in known], "")
        raise UnknownBase(
            f"There is no base {base_id!r}. {hint} Add a diffusers folder with `greenroom bases add`."
        )
    if not found.is_present:
        what = (
            "Install Greenroom again"
            if found.built_in
            else "Put the folder back, or remove the base and add it anew"
        )
        raise BaseMissing(f"The base {base_id} has no model_index.json in {found.source}. {what}.")
    return found


def add(
    session: Session,
    base_id: str,
    folder: Path,
    *,
    family: str | None = None,
    native_px: int | None = None,
    origin: str = "",
) -> BaseInfo:
    """Make a local diffusers folder known under an id; nothing is copied.

    family: guessed from the folder's model_index.json when None. origin: where the folder's content came from.
    Raises BadBase, UnsafeFile (weights that are not safetensors) or BaseTaken.
    """
    check_id(session, base_id)
    folder = folder.expanduser().absolute()
    if folder.suffix in {".safetensors", *_PICKLES} and folder.is_file():
        raise BadBase(
            f"{folder.name} is a single file, which is written as a folder first. Add it with: "
            f"greenroom bases add {base_id} {folder}"
        )
    index = _index(folder)
    chosen = family or _guess_family(index)
    if chosen is None or chosen not in CARDS:
        raise BadBase(
            f"{folder} holds a {index.get('_class_name', 'pipeline')}, whose family is not supported. "
            f"Families are {near.listed(sorted(CARDS))}; name one if it is of that layout."
        )
    _check_weights(folder)
    row = Base(
        id=base_id,
        family=chosen,
        source=str(folder),
        native_px=native_px or _native_px(folder, chosen),
        sha256=identity(folder),
        origin=origin,
    )
    session.add(row)
    session.flush()
    return _info(row)


def check_id(session: Session, base_id: str) -> None:
    """Raise BadBase or BaseTaken unless a new base may be called so."""
    if not _ID.fullmatch(base_id):
        raise BadBase(
            f"The base id {base_id[:80]!r} cannot be used: up to 64 of a to z, 0 to 9, '.', '_' and '-'."
        )
    if base_id == STARTER or session.get(Base, base_id) is not None:
        raise BaseTaken(f"There is a base {base_id} already. Choose another id, or remove that one first.")


def remove(session: Session, base_id: str) -> None:
    """Forget an added base; its folder stays. Raises Conflict while a live actor stands on it."""
    if base_id == STARTER:
        raise Conflict("The starter is built in and cannot be removed.")
    row = session.get(Base, base_id)
    if row is None:
        hint = near.sentence(
            base_id, [base.id for base in list_(session) if not base.built_in], "None was added."
        )
        raise UnknownBase(f"There is no base {base_id!r} to remove. {hint}")
    users = session.scalars(select(Actor.name).where(Actor.base == base_id, Actor.deleted_at.is_(None))).all()
    if users:
        raise Conflict(f"The base {base_id} is used by {near.listed(users[:5])}. Delete those actors first.")
    session.delete(row)
    session.flush()


def _info(row: Base) -> BaseInfo:
    card = CARDS.get(row.family)
    return BaseInfo(
        id=row.id,
        family=row.family,
        source=row.source,
        native_px=row.native_px,
        title=card.title if card else row.family,
        licence=card.licence if card else "unknown",
        built_in=False,
        sha256=row.sha256,
        origin=row.origin,
    )


def _index(folder: Path) -> dict[str, Any]:
    file = folder / "model_index.json"
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadBase(
            f"{folder} is not a diffusers folder: it has no model_index.json. "
            "Name the folder that `save_pretrained` wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise BadBase(f"{file} cannot be read ({str(error)[:120]}). Copy the folder again.") from error
    if not isinstance(index, dict):
        raise BadBase(f"{file} is not a JSON object. Copy the folder again.")
    return index


def _guess_family(index: dict[str, Any]) -> str | None:
    pipeline, vae = index.get("_class_name"), index.get("vae")
    # The starter has the layout of Z-Image, but for its small autoencoder.
    is_starter = isinstance(vae, list) and vae[-1:] == ["AutoencoderDC"]
    fitting = [card.id for card in CARDS.values() if card.pipeline == pipeline]
    if STARTER in fitting:
        fitting = [family for family in fitting if (family == STARTER) == is_starter]
    return fitting[0] if fitting else None


def _check_weights(folder: Path) -> None:
    safe = {file.parent for file in folder.glob("*/*.safetensors")}
    if not safe:
        pickled = any(file.suffix in _PICKLES for file in folder.glob("*/*"))
        if pickled:
            raise UnsafeFile(
                f"{folder} has weights as pickles, which can run code. Convert them to safetensors first."
            )
        raise BadBase(f"{folder} holds no weights (*.safetensors). Copy the whole folder.")
    files = sorted(folder.glob("*/*.safetensors"))
    for network in sorted(safe):
        if lacking := missing_shards(sorted(network.glob("*.safetensors"))):
            raise BadBase(f"{network} lacks {near.listed(lacking[:5])}. Fetch the base again, completely.")
    for file in files:
        _check_whole(file)
    for file in folder.glob("*/*"):
        if file.suffix in _PICKLES and file.parent not in safe and "optimizer" not in file.name:
            raise UnsafeFile(
                f"{file.parent.name}/ in {folder} has its weights only as {file.suffix}, which can run code. "
                "Convert it to safetensors first."
            )


def _check_whole(file: Path) -> None:
    """Raise BadBase when a safetensors file is cut off, or its header lies.

    A download that broke off is found so in a millisecond, without reading the weights.
    """
    try:
        read_header(file)
    except UnsafeFile as error:
        raise BadBase(f"{file.parent.name}/{error} Fetch the base again.") from error


def _native_px(folder: Path, family: str) -> int:
    """What the denoiser's config says, where it does: 64 latent cells × 8 = 512 for SD 1.5."""
    card = CARDS[family]
    try:
        cells = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))["sample_size"]
        blocks = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))[
            "block_out_channels"
        ]
        size = int(cells) * 2 ** (len(blocks) - 1)
    except (OSError, ValueError, KeyError, TypeError):
        return card.native_px
    return size if size >= card.size_multiple_px else card.native_px
