"""`greenroom report`: an actor on one page to send on, with its scores, contact sheets and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import terminal
from greenroom.errors import StorageError


def report(
    actor: Annotated[str, typer.Argument(metavar="ACTOR", help="The actor's name, trigger or id.")],
    version: Annotated[int, typer.Option(help="Another version than the one in use.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The file; TRIGGER-vN-report.html without it.")] = None,
    json: terminal.Json = False,
) -> None:
    """Write a report: likeness, prompt adherence and copying over the steps, contact sheets, settings.

    It is one HTML file that loads nothing else. Captions and file names are left out; the set's pictures are in.

    \b
    greenroom report KIA --out KIA.html
    """
    from greenroom.cli import edge
    from greenroom.errors import UnknownTraining
    from greenroom.studio import actors, reports, scores, trainings

    with edge.studio() as studio:
        found = actors.find(studio.session, studio.workspace, actor)
        wanted = None
        if version:
            known = trainings.list_(studio.session, found)
            wanted = next((row for row in known if row.version == version), None)
            if wanted is None:
                raise UnknownTraining(
                    f"{found.name} has no version {version}. See them: greenroom actors show {found.trigger}"
                )
        page = reports.html(studio.session, studio.store, found, wanted)
        row = wanted or trainings.find(studio.session, found.active_training_id or "")
        used = scores.used(studio.session, row)
        word = scores.word(used)
        file = out or Path(f"{found.trigger}-v{row.version}-report.html")
        facts = {"actor": found.name, "version": row.version, "step": row.chosen_step, "word": word}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{file} cannot be written ({error.strerror}). Choose another with --out."
        ) from error
    if json:
        terminal.answer(
            {**facts, "report": str(file), "scores": used.model_dump(mode="json") if used else None}
        )
    else:
        terminal.show(str(file))
