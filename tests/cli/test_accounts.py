"""Accounts on the command line."""

from __future__ import annotations

from pathlib import Path

import commands

from greenroom.db import session as db
from greenroom.db.models import Role
from greenroom.settings import Settings
from greenroom.studio import accounts, members, workspaces


def test_accounts_are_listed_and_get_a_new_password(tmp_path: Path) -> None:
    assert "no accounts" in commands.run(tmp_path, "accounts", "list").out
    settings = Settings(home=tmp_path)
    with db.session(settings) as session:
        ann = accounts.create(session, "Ann", "four words in a row")
        members.add(session, workspaces.default(session), ann, Role.OWNER)
    listed = commands.run(tmp_path, "accounts", "list", "--json").json["accounts"]
    assert [(one["name"], one["workspaces"][0]["role"]) for one in listed] == [("Ann", "owner")]
    password = commands.run(tmp_path, "accounts", "reset", "ann", "--json").json["password"]
    with db.session(settings) as session:
        assert accounts.check_password(session, "Ann", password).id == ann.id
    assert commands.run(tmp_path, "accounts", "reset", "Bob").code == 3
