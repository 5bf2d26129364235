"""`greenroom actors`: see, export, delete and restore actors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import terminal
from greenroom.errors import StorageError, WrongState

if TYPE_CHECKING:
    from greenroom.cli.edge import Studio
    from greenroom.db.models import Actor

app = typer.Typer(
    help="See, export, delete and restore actors.\n\n\b\ngreenroom actors list\ngreenroom actors show KIA",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Ref = Annotated[str, typer.Argument(metavar="ACTOR", help="The actor's name, trigger or id.")]


@app.command("list")
def list_(
    deleted: Annotated[bool, typer.Option("--deleted", help="Those in the trash instead.")] = False,
    json: terminal.Json = False,
) -> None:
    """List the actors with their states.

    \b
    greenroom actors list --json
    """
    from greenroom.cli import edge
    from greenroom.studio import actors

    with edge.studio() as studio:
        found = [
            _facts(studio, actor) for actor in actors.list_(studio.session, studio.workspace, deleted=deleted)
        ]
    if json:
        terminal.answer({"actors": found})
    elif not found:
        terminal.show("The trash is empty." if deleted else "No actors yet. Make one: greenroom train --help")
    else:
        keys = ("name", "trigger", "kind", "state", "version", "pictures", "base", "id")
        terminal.table(keys, [["" if fact[key] is None else fact[key] for key in keys] for fact in found])


@app.command()
def show(actor: Ref, json: terminal.Json = False) -> None:
    """Show one actor with its pictures and versions.

    \b
    greenroom actors show KIA_01
    """
    from greenroom.cli import edge
    from greenroom.studio import actors, captions, images, trainings

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        texts = captions.all_(studio.session, found)
        facts = _facts(studio, found) | {
            "created_at": found.created_at.isoformat(),
            "picture_list": [
                {
                    "number": number,
                    "id": picture.id,
                    "name": picture.original_name,
                    "width": picture.width_px,
                    "height": picture.height_px,
                    "caption": texts[picture.id].text if picture.id in texts else "",
                }
                for number, picture in enumerate(images.list_(studio.session, found), start=1)
            ],
            "versions": [
                {
                    "version": training.version,
                    "id": training.id,
                    "state": training.state.value,
                    "step": training.step,
                    "total_steps": training.total_steps,
                    "loss": training.loss,
                    "seconds": round(training.seconds, 1),
                    "error": training.error_text,
                }
                for training in trainings.list_(studio.session, found)
            ],
        }
    if json:
        terminal.answer({"actor": facts})
        return
    for key in ("name", "trigger", "kind", "state", "base", "id"):
        terminal.show(f"{key + ':':<9}{facts[key]}")
    terminal.show("", f"{terminal.count(facts['pictures'], 'picture')}:")
    for picture in facts["picture_list"]:
        terminal.show(f"  {picture['number']:>2}  {picture['name']}  {picture['caption']}")
    terminal.show("", f"{terminal.count(len(facts['versions']), 'version')}:")
    for version in facts["versions"]:
        loss = "" if version["loss"] is None else f", loss {version['loss']:.4f}"
        error = f": {version['error']}" if version["error"] else ""
        terminal.show(
            f"  {version['version']:>2}  {version['state']}, step {version['step']} of "
            f"{version['total_steps']}{loss}{error}"
        )


@app.command()
def export(
    actor: Ref,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("greenroom-out"),
    json: terminal.Json = False,
) -> None:
    """Copy the trained LoRA out, in every key format its base has, with its model card.

    \b
    greenroom actors export KIA --out ~/ComfyUI/models/loras
    """
    from greenroom import files
    from greenroom.cli import edge
    from greenroom.studio import actors, trainings

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        if found.active_training_id is None:
            raise WrongState(
                f"{found.name} has no trained version to export. "
                f"Train it: greenroom train --resume {found.trigger}"
            )
        training = trainings.find(studio.session, found.active_training_id)
        stem = f"{found.trigger}-v{training.version}"
        wanted = {
            "lora": ("lora.safetensors", f"{stem}.safetensors"),
            "kohya": ("lora-kohya.safetensors", f"{stem}-kohya.safetensors"),
            "card": ("model-card.json", f"{stem}.json"),
        }
        written: dict[str, str] = {}
        for what, (name, target) in wanted.items():
            # Beside the weights in use: the person may have chosen another checkpoint than the best one.
            key = files.beside(training.lora_key or files.export_key(found.id, training.id, name), name)
            if studio.store.exists(key):
                written[what] = str(_copy_out(studio, key, out / target))
    if json:
        facts = {"actor": found.name, "trigger": found.trigger, "version": training.version}
        terminal.answer(facts | {"lora": None, "kohya": None, "card": None} | written)
    else:
        terminal.show(*written.values())


@app.command()
def choose(
    actor: Ref,
    step: Annotated[int, typer.Argument(help="The step of a checkpoint that was kept.")],
    json: terminal.Json = False,
) -> None:
    """Use another checkpoint of the version in use than the one that the measures speak for.

    \b
    greenroom actors choose KIA 150
    """
    from greenroom.cli import edge
    from greenroom.studio import actors, scores, trainings

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        if found.active_training_id is None:
            raise WrongState(f"{found.name} has no trained version yet. Train it first.")
        training = trainings.find(studio.session, found.active_training_id)
        scores.choose(studio.session, training, step)
        best = scores.best(studio.session, training)
        word = scores.word(scores.used(studio.session, training))
    if json:
        terminal.answer(
            {"actor": found.name, "version": training.version, "step": step, "best": best, "word": word}
        )
    else:
        terminal.show(f"{found.name} uses step {step} of version {training.version} from now on: {word}.")


@app.command()
def delete(actor: Ref, json: terminal.Json = False) -> None:
    """Put an actor into the trash; its trigger is free again. `restore` brings it back.

    \b
    greenroom actors delete KIA
    """
    from greenroom.cli import edge
    from greenroom.studio import actors

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        actors.delete(studio.session, found)
    if json:
        terminal.answer({"actor": found.name, "id": found.id, "deleted": True})
    else:
        terminal.show(f"{found.name} is in the trash. Bring it back: greenroom actors restore {found.id}")


@app.command()
def restore(actor: Ref, json: terminal.Json = False) -> None:
    """Take an actor out of the trash, with everything it had.

    \b
    greenroom actors restore KIA
    """
    from greenroom.cli import edge
    from greenroom.studio import actors

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor, deleted=True)
        actors.restore(studio.session, found)
    if json:
        terminal.answer({"actor": found.name, "id": found.id, "deleted": False})
    else:
        terminal.show(f"{found.name} is back.")


def _facts(studio: Studio, actor: Actor) -> dict[str, Any]:
    from greenroom.studio import images, trainings

    latest = trainings.latest(studio.session, actor)
    return {
        "id": actor.id,
        "name": actor.name,
        "trigger": actor.trigger,
        "kind": actor.kind.value,
        "state": actor.state.value,
        "base": actor.base,
        "pictures": len(images.list_(studio.session, actor)),
        "version": latest.version if latest else None,
    }


def _copy_out(studio: Studio, key: str, target: Path) -> Path:
    from greenroom.cli import edge

    source = edge.path_of(studio.store, key, studio.settings.home_folder)
    staged = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, staged)
        staged.replace(target)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written ({error.strerror}). Free or unlock its folder, "
            "or choose another with --out."
        ) from error
    return target
