"""What a person or a program reads: progress and remarks on stderr, results on stdout.

Knows how to print; knows nothing about actors or trainings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

wants_json = False
"""Whether --json was given, so that an error can be told as JSON too; read at the process's edge."""


def _remember(value: bool) -> bool:
    global wants_json  # noqa: PLW0603 - one process runs one command
    wants_json = wants_json or value
    return value


Json = Annotated[
    bool,
    typer.Option("--json", callback=_remember, help="Print one JSON object as the last line of stdout."),
]


_facts: dict[str, Any] = {}


def remember(**facts: Any) -> None:
    """What is known of the run so far; it stands in the JSON also when the command ends with an error."""
    _facts.update(facts)


def answer_error(status: str, code: str, message: str, **more: Any) -> None:
    """The JSON object of a command that ended with an error, if --json was given."""
    if wants_json:
        answer({**_facts, "status": status, "error": {"code": code, "message": message}, **more})


def say(*lines: str) -> None:
    """Remarks for a person, on stderr."""
    for line in lines:
        typer.echo(line, err=True)


def answer(result: Mapping[str, Any]) -> None:
    """The one JSON object of a command that was asked for --json."""
    typer.echo(json.dumps(result, ensure_ascii=False, default=str))


def show(*lines: str) -> None:
    """The result for a person, on stdout."""
    for line in lines:
        typer.echo(line)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns on stdout, wide enough for their longest cell, so that nothing is cut off in a pipe."""
    cells = [[str(cell) for cell in row] for row in rows]
    lines = [list(headers), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.secho(text, bold=number == 0)


def is_watched() -> bool:
    """Whether a person sees stderr, so that a moving bar makes sense."""
    return sys.stderr.isatty()


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s or 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: int, one: str, many: str = "") -> str:
    """1 picture, 2 pictures."""
    return f"{number} {one if number == 1 else many or one + 's'}"
