"""`greenroom generate`: pictures from a prompt that names trained actors."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import terminal
from greenroom.errors import Cancelled, StorageError, WrongUse

if TYPE_CHECKING:
    from greenroom.cli.edge import Studio
    from greenroom.studio.generations import Plan, Request

WORKER_PATIENCE_S = 2.0


def generate(
    prompt: Annotated[
        str, typer.Argument(help='What to draw; "@KIA_01" or the bare trigger calls an actor.')
    ],
    count: Annotated[int, typer.Option(min=1, max=64, help="How many pictures; each has the next seed.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed draws the same picture.")] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="In pixels, such as 512x768.")] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="How closely to keep to the prompt.")] = None,
    negative: Annotated[str, typer.Option(help="What should not be in the picture.")] = "",
    weight: Annotated[float, typer.Option(help="Strength of the actors' LoRAs.")] = 1.0,
    base: Annotated[
        str, typer.Option(help="Base model; without it, the one the actors were trained on.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("greenroom-out"),
    json: terminal.Json = False,
) -> None:
    """Draw pictures with your trained actors.

    Each PNG carries its whole request, so that it can be made again. A running `greenroom worker` keeps the
    base loaded and answers faster.

    \b
    greenroom generate "@KIA_01 laughing, in space" --count 4 --seed 7
    greenroom generate "KIA_01 and BOB_02 at the beach" --size 512x256 --weight 0.8
    """
    from greenroom.studio import generations

    width, height = _size(size)
    request = generations.request(
        prompt=prompt,
        negative=negative,
        count=count,
        seed=seed,
        width_px=width,
        height_px=height,
        steps=steps,
        guidance=guidance,
        weight=weight,
        base=base or None,
    )
    make_folder(out)
    drawn = draw(request, out)
    if json:
        terminal.answer(drawn.as_json())
    else:
        terminal.show(*(str(path) for path, _ in drawn.images))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The pictures of one request: path and seed of each."""

    generation_id: str
    plan: Plan
    images: list[tuple[Path, int]]

    def as_json(self) -> dict[str, Any]:
        """The object that --json prints."""
        return {
            "status": "done",
            "generation": self.generation_id,
            "base": self.plan.base,
            "actors": [
                {"actor": member.name, "trigger": member.trigger, "version": member.version}
                for member in self.plan.cast
            ],
            "images": [
                {
                    "path": str(path),
                    "seed": seed,
                    "prompt": self.plan.prompt,
                    "width": self.plan.width_px,
                    "height": self.plan.height_px,
                }
                for path, seed in self.images
            ],
        }


def draw(request: Request, out: Path) -> Drawn:
    """Draw one request with a progress bar and copy its pictures to `out`."""
    from greenroom import settings, worker
    from greenroom.cli import edge
    from greenroom.cli.progress import Bar
    from greenroom.studio import generations

    with edge.studio() as studio:
        generation = generations.start(studio.session, studio.workspace, request)
        job = generations.job(studio.session, generation)
        terminal.remember(generation=generation.id)
    with edge.stopping("the picture in work is dropped.") as asked, Bar() as bar:
        watch = worker.Watch(on_event=bar.show, stop=asked.stop, now=asked.now)
        worker.finish(settings.current(), job.id, watch, patience_s=WORKER_PATIENCE_S)
    with edge.studio() as studio:
        return gather(studio, generation.id, out)


def gather(studio: Studio, generation_id: str, out: Path) -> Drawn:
    """Copy the pictures of a finished generation to `out`, named after trigger and seed."""
    from greenroom.cli import edge
    from greenroom.db.models import RunState
    from greenroom.studio import generations

    generation = generations.find(studio.session, generation_id)
    if generation.state == RunState.CANCELLED:
        raise Cancelled("The drawing was stopped. Give the same command again to draw it.")
    if generation.state != RunState.DONE:
        raise edge.recorded_error(generation.error_code, generation.error_text)
    plan = generations.plan(generation)
    make_folder(out)
    stem = "+".join(member.trigger for member in plan.cast) or "picture"
    images = []
    for made in generations.pictures(studio.session, generation):
        source = edge.path_of(studio.store, made.key, studio.settings.home_folder)
        images.append((_copy(source, out, f"{stem}-{made.seed}"), made.seed))
    return Drawn(generation_id=generation.id, plan=plan, images=images)


def _copy(source: Path, out: Path, stem: str) -> Path:
    """A copy in `out`; the very picture again keeps its name, another one never replaces it."""
    content = source.read_bytes()
    number = 1
    while True:
        target = out / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        if not target.exists():
            staged = target.with_suffix(".part")
            try:
                shutil.copyfile(source, staged)
                staged.replace(target)
            except OSError as error:
                raise StorageError(
                    f"{target} cannot be written ({error.strerror}). Free or unlock its folder, or choose "
                    "another with --out."
                ) from error
            return target
        if target.read_bytes() == content:
            return target
        number += 1


def make_folder(out: Path) -> None:
    """Make the folder for results before any work is done. Raises StorageError when it cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder {out} cannot be made ({error.strerror}). Choose another with --out."
        ) from error


def _size(text: str) -> tuple[int | None, int | None]:
    if not text:
        return None, None
    match = re.fullmatch(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})", text.strip())
    if match is None:
        raise WrongUse(f"--size needs width x height in pixels, such as 512x768; {text!r} is not that.")
    return int(match[1]), int(match[2])
