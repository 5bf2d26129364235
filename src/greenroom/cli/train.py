"""`greenroom train`: from a folder of pictures to a trained actor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import terminal
from greenroom.errors import BadInput, Cancelled, WrongUse

if TYPE_CHECKING:
    from greenroom.cli.edge import Studio
    from greenroom.db.models import Actor, Job, Training
    from greenroom.studio.images import Verdict


class Kind(StrEnum):
    """What is trained."""

    CHARACTER = "character"
    STYLE = "style"


def train(
    images_dir: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with 5 to 50 JPG or PNG pictures; KIA.txt beside KIA.png is its caption."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What you call the actor.")] = "",
    trigger: Annotated[
        str, typer.Option(help="One invented word that will call it in prompts, such as KIA_01.")
    ] = "",
    kind: Annotated[
        Kind, typer.Option(help="A character (who) or a style (how it is drawn).")
    ] = Kind.CHARACTER,
    base: Annotated[str, typer.Option(help="The base model: see `greenroom bases list`.")] = "starter",
    recipe: Annotated[
        str, typer.Option(help="A preset by name. Without it, the one for the base and kind.")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same LoRA.")] = None,
    device: Annotated[str, typer.Option(help="cuda, mps or cpu. Without it, a GPU where there is one.")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Another value of the recipe, such as rank=8. Repeatable."
        ),
    ] = None,
    resume: Annotated[
        str,
        typer.Option(
            metavar="ACTOR", help="Go on with this actor's unfinished training, whatever its folder."
        ),
    ] = "",
    new_version: Annotated[
        bool, typer.Option("--new-version", help="Train again from the start, also from changed pictures.")
    ] = False,
    json: terminal.Json = False,
) -> None:
    """Train an actor from a folder of pictures.

    Each picture is checked and gets a verdict; the trigger is put in front of every caption that lacks it.
    Ctrl-C saves and stops. The same command again goes on where it was, also after a crash or a power cut.

    \b
    greenroom train my_pictures/ --name KIA --trigger KIA_01
    greenroom train paintings/ --name Gouache --trigger GOU_1 --kind style --steps 400
    greenroom train --resume KIA
    """
    from greenroom.cli import edge

    overrides = _overrides(set_ or [])
    plain = {"steps": steps, "seed": seed, "device": device or None}
    overrides |= {key: value for key, value in plain.items() if value is not None}
    with edge.studio() as studio:
        if resume:
            if images_dir is not None:
                raise WrongUse("--resume goes on with the pictures it has. Leave the folder out.")
            actor = _resumable(studio, resume)
        else:
            if images_dir is None or not name or not trigger:
                raise WrongUse(
                    "Say what to train: a folder with --name and --trigger, such as "
                    "`greenroom train my_pictures/ --name KIA --trigger KIA_01`."
                )
            actor = take_in(studio, images_dir, kind, name, trigger, base=base, new_version=new_version)
        terminal.remember(actor=actor.name, actor_id=actor.id, trigger=actor.trigger)

    # The pictures are safe from here on, whatever the start of the training says.
    with edge.studio() as studio:
        if resume:
            training, job = _resume(studio, actor)
        else:
            training, job = start(studio, actor, recipe, overrides, new_version=new_version)
        terminal.remember(training=training.id, version=training.version)
    result = run(training.id, job.id)
    if json:
        terminal.answer(result.as_json())
    else:
        terminal.show(*result.as_text())


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a finished training left."""

    actor: Actor
    training: Training
    lora: Path
    kohya: Path | None
    card: Path
    losses: Path
    samples: list[Path]

    def as_json(self) -> dict[str, Any]:
        """The object that --json prints."""
        return {
            "actor": self.actor.name,
            "actor_id": self.actor.id,
            "trigger": self.actor.trigger,
            "kind": self.actor.kind,
            "status": self.actor.state,
            "training": self.training.id,
            "version": self.training.version,
            "base": self.training.base,
            "steps": self.training.step,
            "seconds": round(self.training.seconds, 1),
            "chosen_step": self.training.chosen_step,
            "loss": self.training.loss,
            "lora": str(self.lora),
            "kohya": str(self.kohya) if self.kohya else None,
            "card": str(self.card),
            "losses": str(self.losses),
            "samples": [str(sample) for sample in self.samples],
        }

    def as_text(self) -> list[str]:
        """The lines for a person."""
        lines = [
            f"{self.actor.name} is trained (version {self.training.version}, {self.training.step} steps, "
            f"{terminal.duration(self.training.seconds)}).",
            f"LoRA: {self.lora}",
        ]
        if self.kohya is not None:
            lines.append(f"For ComfyUI, A1111 and Forge: {self.kohya}")
        if self.samples:
            lines.append(f"Sample pictures: {self.samples[0].parent}")
        return [*lines, f'Draw with it: greenroom generate "@{self.actor.trigger} laughing, in space"']


def run(training_id: str, job_id: str) -> Trained:
    """Do the queued training with a progress bar, and gather what it left. Raises what ended it otherwise."""
    from greenroom import settings, worker
    from greenroom.cli import edge
    from greenroom.cli.progress import Bar

    kept = "the training saves a checkpoint first, then ends."
    with edge.stopping(kept) as asked, Bar() as bar:
        watch = worker.Watch(on_event=bar.show, stop=asked.stop, now=asked.now)
        worker.finish(settings.current(), job_id, watch)
    return _gather(training_id)


def take_in(
    studio: Studio, folder: Path, kind: Kind, name: str, trigger: str, *, base: str, new_version: bool
) -> Actor:
    """Import the folder as the actor's pictures and tell the verdicts; the same folder changes nothing."""
    from greenroom.studio import actors

    intake = actors.find_or_create_for_folder(
        studio.session,
        studio.store,
        studio.workspace,
        folder,
        kind=kind.value,
        name=name,
        trigger=trigger,
        base=base,
        new_version=new_version,
    )
    if not intake.unchanged:
        tell_verdicts(intake.verdicts, intake.actor.trigger)
    return intake.actor


def tell_verdicts(verdicts: list[Verdict], trigger: str) -> None:
    """A line for each file that was refused or changed, and the sums."""
    for verdict in verdicts:
        remarks = [note for note in verdict.notes if not verdict.trigger_added or trigger not in note]
        if not verdict.accepted:
            terminal.say(f"  refused   {verdict.name}: {verdict.reason}")
        elif remarks:
            terminal.say(f"  accepted  {verdict.name}: {'; '.join(remarks)}")
    accepted = sum(verdict.accepted for verdict in verdicts)
    added = sum(verdict.trigger_added for verdict in verdicts)
    terminal.say(f"{terminal.count(accepted, 'picture')} accepted, {len(verdicts) - accepted} refused.")
    if added:
        terminal.say(f"{trigger} was put in front of {terminal.count(added, 'caption')} that lacked it.")


def start(
    studio: Studio, actor: Actor, recipe_name: str, overrides: dict[str, Any], *, new_version: bool
) -> tuple[Training, Job]:
    """Queue a training of the actor's pictures, or go on with the unfinished one."""
    from greenroom.studio import bases, captions, estimates, recipes, trainings

    base = bases.find(studio.session, actor.base)
    recipe = recipes.load(recipe_name) if recipe_name else recipes.default_for(base.family, actor.kind)
    texts = [caption.text for caption in captions.all_(studio.session, actor).values()]
    pictures = len(captions.actor_pictures(studio.session, actor))
    config = recipes.config(
        recipe,
        name=actor.name,
        trigger=actor.trigger,
        kind=actor.kind,
        base=base,
        captions=texts,
        pictures=pictures,
        **overrides,
    )
    started = trainings.resume_or_start(
        studio.session, actor, config, recipe=recipe.name, new_version=new_version
    )
    if started.resumed:
        terminal.say(f"Going on with version {started.training.version} of {actor.name}.")
    else:
        terminal.say(
            f"Training version {started.training.version} of {actor.name} on {base.id}: "
            f"{terminal.count(config.steps, 'step')} with the recipe {recipe.name}."
        )
        if recipe.rule is not None and overrides.get("steps") is None:
            terminal.say(f"The recipe's rule: {recipe.rule.sentence(pictures)}")
        if (expected := estimates.training(studio.session, base, config)) is not None:
            terminal.say(expected.sentence())
    return started.training, started.job


def _resumable(studio: Studio, ref: str) -> Actor:
    from greenroom.studio import actors

    return actors.find(studio.session, studio.workspace, ref)


def _resume(studio: Studio, actor: Actor) -> tuple[Training, Job]:
    from greenroom.studio import trainings

    started = trainings.resume(studio.session, studio.session.merge(actor))
    terminal.say(f"Going on with version {started.training.version} of {actor.name}.")
    return started.training, started.job


def _gather(training_id: str) -> Trained:
    from greenroom import files
    from greenroom.cli import edge
    from greenroom.db.models import Actor, RunState
    from greenroom.studio import trainings

    with edge.studio() as studio:
        training = trainings.find(studio.session, training_id)
        actor = studio.session.get_one(Actor, training.actor_id)
        terminal.remember(steps=training.step, seconds=round(training.seconds, 1))
        if training.state == RunState.CANCELLED:
            raise Cancelled(
                f"{actor.name} was stopped at step {training.step} of {training.total_steps}; "
                f"all of it is kept. Go on with: greenroom train --resume {actor.trigger}"
            )
        if training.state != RunState.DONE:
            raise edge.recorded_error(training.error_code, training.error_text)
        home = studio.settings.home_folder

        def file(name: str) -> Path:
            return edge.path_of(studio.store, files.export_key(actor.id, training.id, name), home)

        return Trained(
            actor=actor,
            training=training,
            lora=file("lora.safetensors"),
            kohya=file("lora-kohya.safetensors") if training.kohya_key else None,
            card=file("model-card.json"),
            losses=file("losses.json"),
            samples=[
                edge.path_of(studio.store, key, home)
                for checkpoint in trainings.checkpoints(studio.session, training)
                for key in checkpoint.sample_keys
            ],
        )


def _overrides(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE options as a mapping; values are read as JSON where they can be, else as text."""
    from json import loads

    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip().isidentifier():
            raise WrongUse(f"--set needs KEY=VALUE, such as --set rank=8; {pair!r} is not that.")
        if key in ("name", "trigger", "kind", "base_family", "base_source"):
            raise BadInput(f"{key} is not a value of the recipe. Use the option of that name.")
        try:
            found[key.strip()] = loads(value)
        except ValueError:
            found[key.strip()] = value
    return found
