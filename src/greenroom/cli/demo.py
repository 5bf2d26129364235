"""`greenroom demo`: trains the sample actor in front of you and shows what it learned."""

from __future__ import annotations

import json as jsonlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenroom.cli import terminal
from greenroom.errors import NotFound

if TYPE_CHECKING:
    from greenroom.cli.demo_page import Row
    from greenroom.cli.train import Trained

NAME, TRIGGER, NOUN = "Juno", "JUNO_01", "a woman"
SAMPLE = "character-juno"
SEED = 7
TAKES = 2
# None of these pairs is among the sample pictures; space, snow, water and the desert are in none of them, and
# neither are laughing, winking and anger.
SCENES = (
    "laughing, in space",
    "angry, in the snow",
    "winking, under water",
    "happy, in the desert",
    "laughing, at the beach",
)
HONEST = (
    "The starter is a small model of drawn people, heads and shoulders at 128 pixels, that fits into this "
    "repository; it shows how training works. The big base models draw anything, and far larger."
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the contact sheet and the page.")] = Path(
        "greenroom-out/demo"
    ),
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, instead of the recipe's.")] = None,
    json: terminal.Json = False,
) -> None:
    """Train a sample actor and show what it learned.

    It is drawn with faces and in places that its pictures never had, beside the base without it.
    Needs no GPU and no network. Writes a contact sheet (PNG) and a page (HTML) and says where they are.

    \b
    greenroom demo --out my-demo
    """
    from greenroom.cli import demo_page, edge
    from greenroom.cli import train as training
    from greenroom.cli.generate import make_folder

    began = time.monotonic()
    make_folder(out)
    folder = sample_folder(SAMPLE)
    terminal.say(f"{NAME} is a sample character with pictures in {folder}.", HONEST)
    with edge.studio() as studio:
        actor = training.take_in(
            studio, folder, training.Kind.CHARACTER, NAME, TRIGGER, base="starter", new_version=False
        )
    with edge.studio() as studio:
        started, job = training.start(studio, actor, "", {"steps": steps}, new_version=False)
    trained = training.run(started.id, job.id)
    rows = _draw(out)

    seconds = time.monotonic() - began
    facts = _facts(trained, seconds)
    losses = [float(loss) for loss in jsonlib.loads(trained.losses.read_text(encoding="utf-8"))]
    learned_from = sorted(folder.glob("*.png"))
    sheet, page = out / "contact-sheet.png", out / "index.html"
    demo_page.write_sheet(sheet, NAME, rows, learned_from)
    demo_page.write_page(
        page,
        name=NAME,
        facts=facts,
        honest=HONEST,
        rows=rows,
        learned_from=learned_from,
        losses=losses,
        samples=trained.samples,
    )
    if json:
        made = {"sheet": str(sheet.absolute()), "page": str(page.absolute())}
        terminal.answer(trained.as_json() | made | {"seconds_in_all": round(seconds, 1)})
    else:
        terminal.show(
            f"Done in {terminal.duration(seconds)}. Look at it:",
            f"  {page.absolute()}",
            f"  {sheet.absolute()}",
            f'Draw more: greenroom generate "@{TRIGGER} happy, in the rain"',
        )


def sample_folder(name: str) -> Path:
    """A folder of sample pictures: inside the installed package, or beside it in a checkout."""
    import greenroom

    package = Path(greenroom.__file__).parent
    for samples in (package / "samples", package.parents[1] / "samples"):
        if (samples / name).is_dir():
            return samples / name
    raise NotFound(
        f"The sample pictures {name} are not installed. Install Greenroom again, or run from a checkout."
    )


def _draw(out: Path) -> list[Row]:
    """Each scene with the actor, and by the base alone from the same seed; one warm child draws them all."""
    from greenroom import settings, worker
    from greenroom.cli import edge
    from greenroom.cli.demo_page import Row
    from greenroom.cli.generate import gather
    from greenroom.cli.progress import Bar
    from greenroom.ml import events
    from greenroom.studio import generations

    current = settings.current()
    began = time.monotonic()
    asked = [
        (scene, generations.request(prompt=f"{who}, {scene}", count=count, seed=SEED))
        for scene in SCENES
        for who, count in ((f"@{TRIGGER}, {NOUN}", TAKES), (NOUN, 1))
    ]
    total = len(SCENES) * (TAKES + 1)
    drawn: dict[str, list[Path]] = {scene: [] for scene in SCENES}
    painter = worker.Painter(current)
    with edge.stopping("the pictures drawn so far are kept.") as stop, Bar() as bar:
        try:
            for scene, request in asked:
                with edge.studio() as studio:
                    generation = generations.start(studio.session, studio.workspace, request)
                    job = generations.job(studio.session, generation)
                worker.finish(current, job.id, worker.Watch(stop=stop.stop, now=stop.now), painter=painter)
                with edge.studio() as studio:
                    images = gather(studio, generation.id, out / "pictures").images
                drawn[scene] += [path for path, _ in images]
                step = sum(map(len, drawn.values()))
                seconds = time.monotonic() - began
                bar.show(
                    events.Progress(
                        phase="draw",
                        step=step,
                        total_steps=total,
                        seconds=seconds,
                        seconds_left=seconds / step * (total - step),
                    )
                )
        finally:
            painter.close()
    return [
        Row(scene=scene, with_actor=pictures[:TAKES], base_alone=pictures[TAKES])
        for scene, pictures in drawn.items()
    ]


def _facts(trained: Trained, seconds: float) -> list[tuple[str, str]]:
    training = trained.training
    return [
        ("trigger", TRIGGER),
        ("base", training.base),
        ("steps", str(training.step)),
        ("training", terminal.duration(training.seconds)),
        ("everything", terminal.duration(seconds)),
        ("LoRA", f"{trained.lora.stat().st_size / 1e6:.1f} MB"),
    ]
