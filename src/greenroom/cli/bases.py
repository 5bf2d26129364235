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
        keys = ("id", "family", "native_px", "size", "title", "licence", "source")
        shown = [{**fact, "size": f"{fact['size_bytes'] / 1e9:.1f} GB"} for fact in found]
        terminal.table(keys, [[fact[key] for key in keys] for fact in shown])


@app.command()
def add(
    base_id: Annotated[str, typer.Argument(metavar="ID", help="What you will call it, such as dreamy.")],
    source: Annotated[
        str,
        typer.Argument(
            help="A diffusers folder or a .safetensors file here, or a hub id such as Qwen/Qwen-Image to fetch."
        ),
    ],
    rest: Annotated[
        Path | None,
        typer.Option(
            help="For a single file: the diffusers folder of its family that has what the file lacks."
        ),
    ] = None,
    family: Annotated[str, typer.Option(help="Its family; without it, told from model_index.json.")] = "",
    native_px: Annotated[int | None, typer.Option(min=32, help="The picture size it was made for.")] = None,
    json: terminal.Json = False,
) -> None:
    """Add a base model: a folder on this machine, which stays where it is, a single file, or one from the hub.

    A single file is written as a folder in GREENROOM_HOME, of the same size; the file is not needed afterwards.
    Stable Diffusion 1.5 and XL need nothing else; other families need --rest. A gated base of the hub needs
    its licence accepted on its hub page, and HF_TOKEN.

    \b
    greenroom bases add dreamy ~/models/dreamy-sd15
    greenroom bases add juicy ~/Downloads/juicy-xl.safetensors
    greenroom bases add flux ~/Downloads/flux1-dev.safetensors --rest ~/models/FLUX.1-dev
    greenroom bases add z-image Tongyi-MAI/Z-Image
    """
    from greenroom import settings
    from greenroom.cli import edge
    from greenroom.ml.families import variants
    from greenroom.studio import base_files, bases, hub

    folder, origin = Path(source), ""
    is_hub, is_file = hub.is_repo_id(source), base_files.is_file(source)
    if is_hub or is_file:
        # The studio is opened twice: a download may take hours, and would lock out the others.
        with edge.studio() as studio:
            bases.check_id(studio.session, base_id)
        now = settings.current()
        if is_hub:
            token = now.hub_token.get_secret_value()
            folder = hub.fetch(source, now.bases / base_id, token=token, endpoint=now.hub_url or None)
            origin = source
        else:
            terminal.say(f"Writing {folder.name} as a folder …")
            written = base_files.write(folder, now.bases / base_id, rest=rest)
            folder, origin = written.folder, f"{folder.name} (sha256 {written.sha256})"
        variants.note_origin(folder, origin)
    with edge.studio() as studio:
        base = bases.add(
            studio.session, base_id, folder, family=family or None, native_px=native_px, origin=origin
        )
    if json:
        terminal.answer(_facts(base))
    else:
        terminal.show(
            f"{base.id} is a base of the family {base.family}, {base.size_bytes / 1e9:.1f} GB. "
            f"Use it: greenroom train … --base {base.id}"
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
        "size_bytes": base.size_bytes,
        "sha256": base.sha256,
        "origin": base.origin,
        "built_in": base.built_in,
    }
