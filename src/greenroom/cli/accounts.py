"""`greenroom accounts`: who can sign in, and a new password for somebody who forgot theirs."""

from __future__ import annotations

from typing import Annotated

import typer

from greenroom.cli import terminal

app = typer.Typer(
    help="Who can sign in, and new passwords.\n\n\b\ngreenroom accounts list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(json: terminal.Json = False) -> None:
    """List the accounts and the workspaces that each is a member of.

    \b
    greenroom accounts list --json
    """
    from greenroom.cli import edge
    from greenroom.studio import accounts, members

    with edge.studio() as studio:
        found = [
            (account, members.workspaces_of(studio.session, account.id))
            for account in accounts.list_(studio.session)
        ]
    if json:
        facts = [
            {
                "id": account.id,
                "name": account.name,
                "workspaces": [
                    {"id": workspace.id, "name": workspace.name, "role": role.value}
                    for workspace, role in where
                ],
            }
            for account, where in found
        ]
        terminal.answer({"accounts": facts})
    elif not found:
        terminal.show("There are no accounts: nobody signs in on this machine. See: greenroom serve --help")
    else:
        rows = [
            [account.name, ", ".join(f"{workspace.name} ({role})" for workspace, role in where), account.id]
            for account, where in found
        ]
        terminal.table(("name", "workspaces", "id"), rows)


@app.command()
def reset(
    name: Annotated[str, typer.Argument(help="The account's name.")], json: terminal.Json = False
) -> None:
    """Give an account a new password, shown this once, and sign it out everywhere.

    \b
    greenroom accounts reset Ann
    """
    from greenroom.cli import edge
    from greenroom.studio import accounts, sign_ins, tokens

    with edge.studio() as studio:
        account = accounts.find(studio.session, name)
        password = tokens.new()[:20]
        accounts.set_password(studio.session, account, password)
        sign_ins.end_others(studio.session, account)
    if json:
        terminal.answer({"account": account.id, "password": password})
        return
    terminal.show(password)
    terminal.say(f"{account.name} signs in with it, and changes it under Settings. It is not shown again.")
