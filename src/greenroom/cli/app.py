"""The `greenroom` command: gathers the nouns, turns errors into one sentence and an exit code.

Imports no torch and no database: commands import what they need when they run, so `--help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from greenroom import __version__
from greenroom.cli import (
    accounts,
    actors,
    bases,
    captions,
    check,
    demo,
    generate,
    keys,
    models,
    report,
    serve,
    terminal,
    train,
    worker,
)
from greenroom.errors import Cancelled, GreenroomError, NotReady, WrongUse, summarise

HELP = """A self-hosted studio for AI actors.

Bring 5 to 50 pictures of a character or of a style; a few minutes later you have a trained actor
that you can name in any prompt.

\b
  greenroom demo                                            see it work
  greenroom serve --open                                    the studio in the browser
  greenroom train my_pictures/ --name KIA --trigger KIA_01  train an actor
  greenroom generate "@KIA_01 laughing, in space"           draw with it

Everything is kept in GREENROOM_HOME (default: your user data folder).
Exit codes: 0 done, 2 wrong use, 3 bad input, 4 failed run, 130 cancelled.
"""

app = typer.Typer(
    name="greenroom",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        terminal.show(f"greenroom {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options of the command itself."""


app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("train")(train.train)
app.command("generate")(generate.generate)
app.command("check")(check.check)
app.command("report")(report.report)
app.command("worker")(worker.worker)
app.add_typer(actors.app, name="actors")
app.add_typer(captions.app, name="captions")
app.add_typer(bases.app, name="bases")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(accounts.app, name="accounts")


def main() -> NoReturn:
    """Run the command and end the process with the right exit code. The one place with a broad `except`."""
    # A polite `kill` ends a command as Ctrl-C does; one that trains takes both over while it does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
        if code == Cancelled.exit_code:  # what typer makes of Ctrl-C
            _tell("Cancelled", "Stopped.", None)
        sys.stdout.flush()
    except GreenroomError as error:
        _tell(error.code, str(error), error)
        code = error.exit_code
    except typer.TyperException as error:
        code = _tell_wrong_use(error)
    except typer.Abort:
        code = Cancelled.exit_code
    except BrokenPipeError:
        # The reader of our output has gone (such as `head`); nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - the edge of the process
        log = _log(error)
        _tell(
            type(error).__name__,
            f"Something unexpected went wrong: {summarise(error)} (details: {log})",
            None,
        )
        code = 4
    sys.exit(code if isinstance(code, int) else 0)


def _tell(code: str, message: str, error: GreenroomError | None) -> None:
    is_cancelled = code == "Cancelled"
    terminal.say(message if is_cancelled else f"Error: {message}")
    more = {}
    if isinstance(error, NotReady):
        more["findings"] = [finding.as_json() for finding in error.findings]
    terminal.answer_error("cancelled" if is_cancelled else "failed", code, message, **more)


def _tell_wrong_use(error: typer.TyperException) -> int:
    """Say what is wrong with the command line; a group that was named alone shows its help."""
    message = error.format_message().strip()
    if "\n" in message:
        terminal.say(message)
        return WrongUse.exit_code
    command = getattr(getattr(error, "ctx", None), "command_path", "greenroom")
    _tell("WrongUse", f"{message.rstrip('.')}. See: {command} --help", None)
    return WrongUse.exit_code


def _log(error: Exception) -> Path:
    """Write the traceback where it can be found: the home folder, or the temporary one when that fails."""
    from greenroom import settings

    trace = "".join(traceback.format_exception(error))
    text = f"{datetime.now(UTC).isoformat()} {' '.join(sys.argv)}\n{trace}\n"
    for folder in (settings.current().home_folder, Path(tempfile.gettempdir())):
        file = folder / "greenroom.log"
        try:
            with file.open("a", encoding="utf-8") as log:
                log.write(text)
        except OSError:
            continue
        return file
    return Path("nowhere: no folder could be written")
