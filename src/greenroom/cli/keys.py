"""`greenroom keys`: keys with which programs use the studio's API."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import terminal

if TYPE_CHECKING:
    from greenroom.db.models import ApiKey

app = typer.Typer(
    help="Keys with which programs use the studio's API.\n\n\b\ngreenroom keys create 'render farm' --scope write",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"


Account = Annotated[
    str, typer.Option(metavar="NAME", help="Whose key it is; needed once the studio has accounts.")
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = Scope.READ,
    account: Account = "",
    json: terminal.Json = False,
) -> None:
    """Make a key. Its secret is shown this once.

    \b
    greenroom keys create "render farm" --scope write
    """
    from greenroom.cli import edge
    from greenroom.db.models import KeyScope
    from greenroom.errors import WrongUse
    from greenroom.studio import accounts, keys

    with edge.studio() as studio:
        if not account and accounts.is_any(studio.session):
            raise WrongUse("This studio has accounts. Say whose key it is: --account NAME")
        whose = accounts.find(studio.session, account) if account else None
        key, secret = keys.create(
            studio.session, studio.workspace, name=name, scope=KeyScope(scope.value), account=whose
        )
    if json:
        terminal.answer({"key": _facts(key), "secret": secret})
        return
    terminal.show(secret)
    terminal.say("Keep it now: it is not shown again. Send it as: Authorization: Bearer KEY")


@app.command("list")
def list_(json: terminal.Json = False) -> None:
    """List the keys that are in force.

    \b
    greenroom keys list --json
    """
    from greenroom.cli import edge
    from greenroom.studio import keys

    with edge.studio() as studio:
        found = [_facts(key) for key in keys.list_(studio.session, studio.workspace)]
    if json:
        terminal.answer({"keys": found})
    elif not found:
        terminal.show("There is no key yet. Make one: greenroom keys create --help")
    else:
        columns = ("name", "scope", "hint", "created_at", "last_used_at", "id")
        terminal.table(columns, [[fact[column] or "never" for column in columns] for fact in found])


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")], json: terminal.Json = False
) -> None:
    """End a key at once and for good.

    \b
    greenroom keys revoke key_t5w9xk2m7qvn
    """
    from greenroom.cli import edge
    from greenroom.studio import keys

    with edge.studio() as studio:
        found = keys.find(studio.session, studio.workspace, key)
        keys.revoke(studio.session, found)
    if json:
        terminal.answer({"revoked": found.id})
    else:
        terminal.show(f"The key {found.name} is revoked.")


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope.value,
        "hint": key.hint,
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "last_used_at": key.last_used_at.isoformat(timespec="seconds") if key.last_used_at else None,
    }
