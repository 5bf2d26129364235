"""`greenroom captions`: read and edit the captions of an actor's pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from greenroom.cli import terminal
from greenroom.errors import UnknownPicture

if TYPE_CHECKING:
    from greenroom.cli.edge import Studio
    from greenroom.db.models import Actor, Picture
    from greenroom.studio.captions import Change

app = typer.Typer(
    help="Read and edit captions; every edit is kept.\n\n\b\ngreenroom captions list KIA",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Ref = Annotated[str, typer.Argument(metavar="ACTOR", help="The actor's name, trigger or id.")]


@app.command("list")
def list_(actor: Ref, json: terminal.Json = False) -> None:
    """List the pictures of an actor with their captions.

    \b
    greenroom captions list KIA
    """
    from greenroom.cli import edge
    from greenroom.studio import actors, captions, images

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        texts = captions.all_(studio.session, found)
        rows = [
            {
                "number": number,
                "id": picture.id,
                "picture": picture.original_name,
                "caption": texts[picture.id].text if picture.id in texts else "",
                "source": texts[picture.id].source.value if picture.id in texts else None,
            }
            for number, picture in enumerate(images.list_(studio.session, found), start=1)
        ]
    if json:
        terminal.answer({"actor": found.name, "captions": rows})
    else:
        keys = ("number", "picture", "source", "caption")
        terminal.table(keys, [["" if row[key] is None else row[key] for key in keys] for row in rows])


@app.command("set")
def set_(
    actor: Ref,
    picture: Annotated[str, typer.Argument(help="Its number in `captions list`, its file name or its id.")],
    text: Annotated[
        str, typer.Argument(help="The new caption. The trigger is put in front if it is missing.")
    ],
    json: terminal.Json = False,
) -> None:
    """Write one caption.

    \b
    greenroom captions set KIA 3 "KIA_01, a woman in a red coat, in the snow"
    """
    from greenroom.cli import edge
    from greenroom.studio import actors, captions, triggers

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        target = _picture(studio, found, picture)
        text, is_changed = triggers.ensure_in_caption(found.trigger, text)
        captions.set_(studio.session, target, text)
    if is_changed:
        terminal.say(f"{found.trigger} was put in front.")
    if json:
        terminal.answer({"picture": target.id, "caption": text})
    else:
        terminal.show(text)


@app.command()
def replace(
    actor: Ref,
    find: Annotated[str, typer.Argument(help="Text to look for in every caption.")] = "",
    by: Annotated[str, typer.Argument(metavar="REPLACEMENT", help="Text to put in its place.")] = "",
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would change; change nothing.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last replacement back instead.")] = False,
    json: terminal.Json = False,
) -> None:
    """Replace a text in all captions of an actor.

    \b
    greenroom captions replace KIA "a lady" "a woman" --preview
    greenroom captions replace KIA --undo
    """
    from greenroom.cli import edge
    from greenroom.studio import actors, captions

    if not undo and not find:
        raise typer.BadParameter("say what to find, or give --undo", param_hint="FIND")
    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        changes: list[Change]
        if undo:
            changes = captions.undo(studio.session, found)
        elif preview:
            changes = captions.preview_replace(studio.session, found, find, by)
        else:
            changes = captions.replace(studio.session, found, find, by)
    if json:
        rows = [
            {"picture": change.picture.id, "before": change.before, "after": change.after}
            for change in changes
        ]
        terminal.answer({"actor": found.name, "is_preview": preview and not undo, "changes": rows})
        return
    for change in changes:
        terminal.show(f"{change.picture.original_name}", f"  - {change.before}", f"  + {change.after}")
    verb = "would change" if preview and not undo else "changed"
    terminal.show(f"{terminal.count(len(changes), 'caption')} {verb}.")


def _picture(studio: Studio, actor: Actor, ref: str) -> Picture:
    from greenroom.studio import images

    pictures = images.list_(studio.session, actor)
    if ref.isdigit() and 1 <= int(ref) <= len(pictures):
        return pictures[int(ref) - 1]
    for picture in pictures:
        if ref in (picture.id, picture.original_name):
            return picture
    raise UnknownPicture(
        f"{actor.name} has no picture {ref!r}. "
        f"See the numbers and names: greenroom captions list {actor.trigger}"
    )
