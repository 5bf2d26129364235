"""`greenroom check`: what is good and bad about a folder of pictures, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import terminal
from greenroom.errors import BadInput

MARKS = {"blocks": "✗ blocks ", "warns": "! warns  ", "informs": "· informs"}


def check(
    images_dir: Annotated[Path, typer.Argument(help="Folder with the pictures and their .txt captions.")],
    trigger: Annotated[str, typer.Option(help="Also look for this trigger in the captions.")] = "",
    json: terminal.Json = False,
) -> None:
    """Look at a folder of pictures and say what to mend. Changes nothing.

    Ends with exit code 3 when something would block a training, with 0 otherwise.

    \b
    greenroom check my_pictures/ --trigger KIA_01
    """
    from greenroom.studio import checks

    findings = checks.review_folder(images_dir, trigger=trigger or None)
    blocks = [finding for finding in findings if finding.level == "blocks"]
    if json:
        terminal.answer({"findings": [finding.as_json() for finding in findings]})
    else:
        for finding in findings:
            where = f"{finding.picture}: " if finding.picture else ""
            remedy = f" {finding.remedy}" if finding.remedy else ""
            terminal.show(f"{MARKS[finding.level]}  {where}{finding.message}{remedy}")
        if not findings:
            terminal.show("Nothing to mend.")
        elif not blocks:
            terminal.show("Nothing blocks a training.")
    if blocks:
        raise typer.Exit(BadInput.exit_code)
