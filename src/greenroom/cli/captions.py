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


@app.command()
def generate(
    actor: Ref,
    picture: Annotated[
        str, typer.Option(help="Only this one: its number in `captions list`, its file name or its id.")
    ] = "",
    all_: Annotated[
        bool, typer.Option("--all", help="Every picture, not only those without a caption.")
    ] = False,
    length: Annotated[str, typer.Option(help="short or full.")] = "full",
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would change; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Also write over captions that a person wrote.")] = False,
    json: terminal.Json = False,
) -> None:
    """Write captions from what the pictures show: those that have none, one, or all.

    Says only what was measured for sure: framing, view, background. What must stay with the actor is left
    out. Captions that somebody wrote are written over with --yes only; `captions replace --undo` takes it back.

    \b
    greenroom captions generate KIA
    greenroom captions generate KIA --all --preview
    """
    from greenroom.cli import edge
    from greenroom.studio import actors, captions, images

    if picture and all_:
        raise typer.BadParameter("give one picture or --all, not both", param_hint="--picture")
    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        chosen = None
        if picture:
            chosen = [_picture(studio, found, picture)]
        elif all_:
            chosen = images.list_(studio.session, found)
        asked = len(chosen) if chosen is not None else None
        changes = captions.preview_generate(studio.session, studio.store, found, chosen, length=length)
        texts = captions.all_(studio.session, found)
        by_hand = [
            change for change in changes if change.before and texts[change.picture.id].source != "generated"
        ]
        is_held = bool(by_hand) and not yes
        is_done = not preview and not is_held
        if is_done and changes:
            wanted = [change.picture for change in changes]
            captions.generate(studio.session, studio.store, found, wanted, length=length)
    if json:
        rows = [
            {"picture": change.picture.id, "before": change.before, "after": change.after}
            for change in changes
        ]
        facts = {"is_preview": not is_done, "written_by_hand": len(by_hand), "changes": rows}
        terminal.answer({"actor": found.name, **facts})
        return
    for change in changes:
        terminal.show(f"{change.picture.original_name}", f"  - {change.before}", f"  + {change.after}")
    verb = "changed" if is_done else "would change"
    terminal.show(f"{terminal.count(len(changes), 'caption')} {verb}.")
    if is_held and not preview:
        terminal.say(
            f"Nothing was changed: {terminal.count(len(by_hand), 'caption')} would be lost that a person wrote. "
            "Do it with --yes."
        )
    elif asked is not None and len(changes) < asked:
        terminal.say("The other pictures have that caption already, or nothing is sure about them.")


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
