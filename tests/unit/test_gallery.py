"""The gallery: cards a page at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from greenroom.db.models import Actor, ActorState, Workspace
from greenroom.studio import actors, gallery, images
from greenroom.studio.bases import BaseInfo


@pytest.fixture
def cast(session: Session, workspace: Workspace, base: BaseInfo) -> list[Actor]:
    """Five drafts, oldest first."""
    return [
        actors.create(
            session, workspace, kind="character", name=f"Mio {number}", trigger=f"MIO_{number}", base=base.id
        )
        for number in range(5)
    ]


def test_pages_follow_one_another_newest_first(
    session: Session, workspace: Workspace, cast: list[Actor]
) -> None:
    names, after = [], None
    while True:
        page = gallery.page(session, workspace, after=after, limit=2)
        names += [card.actor.name for card in page.cards]
        after = page.next
        if after is None:
            break
    assert names == [actor.name for actor in reversed(cast)]


def test_search_takes_names_and_triggers_as_they_stand(
    session: Session, workspace: Workspace, cast: list[Actor]
) -> None:
    def found(search: str) -> list[str]:
        return [card.actor.name for card in gallery.page(session, workspace, search=search).cards]

    assert found("mio 3") == ["Mio 3"]
    assert found("@mio_2") == ["Mio 2"]
    assert found("%") == []
    assert found("MIO-1") == []


def test_states_and_the_trash_are_apart(session: Session, workspace: Workspace, cast: list[Actor]) -> None:
    cast[0].state = ActorState.FAILED
    actors.delete(session, cast[1])
    assert [card.actor.id for card in gallery.page(session, workspace, state="failed").cards] == [cast[0].id]
    assert [card.actor.id for card in gallery.page(session, workspace, deleted=True).cards] == [cast[1].id]
    assert len(gallery.page(session, workspace).cards) == 4


def test_a_place_in_another_workspace_is_no_place(
    session: Session, workspace: Workspace, cast: list[Actor]
) -> None:
    other = Workspace(name="Other")
    session.add(other)
    session.flush()
    assert gallery.page(session, other, after=cast[2].id).cards == []
    theirs = actors.create(session, other, kind="style", name="Ink", trigger="INK_1", base="tiny")
    assert len(gallery.page(session, workspace, after=theirs.id).cards) == 5


def test_a_card_shows_pictures_and_a_face(session: Session, actor: Actor) -> None:
    card = gallery.cards(session, [actor])[0]
    assert (card.pictures, card.newest, card.active) == (6, None, None)
    assert card.face == images.list_(session, actor)[0].id
    images.remove(session, images.list_(session, actor)[0])
    card = gallery.cards(session, [actor])[0]
    assert (card.pictures, card.face) == (5, images.list_(session, actor)[0].id)


def test_the_number_of_questions_does_not_grow_with_the_page(
    session: Session, workspace: Workspace, cast: list[Actor], folder: Path
) -> None:
    def asked(limit: int) -> int:
        told: list[str] = []

        def note(*args: object) -> None:
            told.append(str(args[2]))

        bind = session.get_bind()
        event.listen(bind, "before_cursor_execute", note)
        gallery.page(session, workspace, limit=limit)
        event.remove(bind, "before_cursor_execute", note)
        return len(told)

    assert asked(1) == asked(5)
