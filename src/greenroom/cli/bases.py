"""`greenroom bases`: the base models that actors are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import terminal

if TYPE_CHECKING:
    from greenroom.studio.bases import BaseInfo

app = typer.Typer(
    help="See, add and remove base models.\n\n\b\ngreenroom bases list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(json: terminal.Json = False) -> None:
    """List the base models.

    \b
    greenroom bases list --json
    """
    from greenroom.cli import edge
    from greenroom.studio import bases

    with edge.studio() as studio:
        found = [_facts(base) for base in bases.list_(studio.session)]
    if json:
        terminal.answer({"bases": found})
    else:
        keys = ("id", "family", "native_px", "title", "licence", "source")
        terminal.table(keys, [[fact[key] for key in keys] for fact in found])


@app.command()
def add(
    base_id: Annotated[str, typer.Argument(metavar="ID", help="What you will call it, such as dreamy.")],
    folder: Annotated[Path, typer.Argument(help="A diffusers folder (model_index.json and safetensors).")],
    family: Annotated[str, typer.Option(help="Its family; without it, told from model_index.json.")] = "",
    native_px: Annotated[int | None, typer.Option(min=32, help="The picture size it was made for.")] = None,
    json: terminal.Json = False,
) -> None:
    """Add a base model from a folder on this machine. The folder stays where it is.

    \b
    greenroom bases add dreamy ~/models/dreamy-sd15
    """
    from greenroom.cli import edge
    from greenroom.studio import bases

    with edge.studio() as studio:
        base = bases.add(studio.session, base_id, folder, family=family or None, native_px=native_px)
    if json:
        terminal.answer(_facts(base))
    else:
        terminal.show(
            f"{base.id} is a base of the family {base.family}. Use it: greenroom train … --base {base.id}"
        )


@app.command()
def remove(
    base_id: Annotated[
        str, typer.Argument(metavar="ID", help="The base to forget; its folder is left alone.")
    ],
    json: terminal.Json = False,
) -> None:
    """Forget a base model that was added.

    \b
    greenroom bases remove dreamy
    """
    from greenroom.cli import edge
    from greenroom.studio import bases

    with edge.studio() as studio:
        bases.remove(studio.session, base_id)
    if json:
        terminal.answer({"id": base_id, "removed": True})
    else:
        terminal.show(f"{base_id} is forgotten; its folder is left alone.")


def _facts(base: BaseInfo) -> dict[str, Any]:
    return {
        "id": base.id,
        "family": base.family,
        "title": base.title,
        "native_px": base.native_px,
        "licence": base.licence,
        "source": str(base.source),
        "built_in": base.built_in,
    }
