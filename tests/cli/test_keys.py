"""API keys on the command line."""

from __future__ import annotations

from pathlib import Path

import commands


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    assert "no key yet" in commands.run(tmp_path, "keys", "list").out
    made = commands.run(tmp_path, "keys", "create", "render farm", "--scope", "write", "--json").json
    assert made["secret"].startswith(made["key"]["hint"])
    assert (made["key"]["scope"], made["key"]["last_used_at"]) == ("write", None)
    listed = commands.run(tmp_path, "keys", "list", "--json")
    assert [key["id"] for key in listed.json["keys"]] == [made["key"]["id"]]
    assert made["secret"] not in listed.out
    assert commands.run(tmp_path, "keys", "revoke", made["key"]["id"]).code == 0
    assert commands.run(tmp_path, "keys", "list", "--json").json["keys"] == []
    assert commands.run(tmp_path, "keys", "revoke", made["key"]["id"]).code == 3


def test_a_key_without_a_name_or_of_nobody_is_refused(tmp_path: Path) -> None:
    assert commands.run(tmp_path, "keys", "create", " ").code == 3
    assert commands.run(tmp_path, "keys", "create", "x", "--account", "Ann").code == 3
