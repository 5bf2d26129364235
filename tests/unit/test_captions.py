from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, CaptionSource, Picture
from greenroom.errors import BadCaption, EditedMeanwhile, NotFound
from greenroom.studio import captions, images


@pytest.fixture
def picture(session: Session, actor: Actor) -> Picture:
    """The first picture; its caption came without the trigger."""
    return images.list_(session, actor)[0]


def _texts(session: Session, actor: Actor) -> list[str | None]:
    in_force = captions.all_(session, actor)
    return [in_force[p.id].text if p.id in in_force else None for p in images.list_(session, actor)]


AFTER_UPLOAD = [
    "KIA_01, a woman, picture 0",
    "KIA_01, a woman, picture 1",
    "KIA_01, a woman, picture 2",
    "KIA_01, laughing",
    None,
    None,
]


def test_the_newest_wording_is_in_force_and_every_one_is_kept(session: Session, picture: Picture) -> None:
    captions.set_(session, picture, "KIA_01, reading")
    newest = captions.latest(session, picture)
    assert newest is not None
    assert (newest.text, newest.source, newest.revision) == ("KIA_01, reading", CaptionSource.EDITED, 3)
    assert [caption.text for caption in captions.history(session, picture)] == [
        "KIA_01, reading",
        "KIA_01, a woman, picture 0",
        "a woman, picture 0",
    ]


def test_the_same_text_again_writes_nothing(session: Session, picture: Picture) -> None:
    first = captions.set_(session, picture, "KIA_01, reading")
    assert captions.set_(session, picture, "  KIA_01,\n reading ") is first


def test_a_text_too_long_is_refused_and_nothing_changes(session: Session, picture: Picture) -> None:
    with pytest.raises(BadCaption, match="2001 characters"):
        captions.set_(session, picture, "x" * 2001)
    assert len(captions.history(session, picture)) == 2


def test_two_tabs_that_edit_one_caption_are_told(session: Session, picture: Picture) -> None:
    seen = captions.latest(session, picture)
    assert seen is not None
    captions.set_(session, picture, "one tab", expected_revision=seen.revision)
    with pytest.raises(EditedMeanwhile, match="'one tab'"):
        captions.set_(session, picture, "other tab", expected_revision=seen.revision)
    assert captions.latest(session, picture).text == "one tab"  # type: ignore[union-attr]


def test_a_race_for_one_revision_is_told_by_the_database(session: Session, picture: Picture) -> None:
    stale = captions.latest(session, picture)
    captions.set_(session, picture, "first")
    with pytest.raises(EditedMeanwhile):
        captions._write(session, picture, "second", CaptionSource.EDITED, stale)
    assert captions.latest(session, picture).text == "first"  # type: ignore[union-attr]


def test_prepend_puts_the_trigger_where_it_lacks_and_leaves_empty_ones(
    session: Session, actor: Actor
) -> None:
    first, second, *_ = images.list_(session, actor)
    captions.set_(session, first, "a woman", source=CaptionSource.GENERATED)
    captions.set_(session, second, "KIA_012 runs")
    preview = captions.preview_prepend_trigger(session, actor)
    changed = captions.prepend_trigger(session, actor)
    assert preview == changed
    assert [(change.before, change.after) for change in changed] == [
        ("a woman", "KIA_01, a woman"),
        ("KIA_012 runs", "KIA_01, KIA_012 runs"),
    ]
    assert captions.latest(session, first).source == CaptionSource.GENERATED  # type: ignore[union-attr]
    assert _texts(session, actor)[4:] == [None, None]
    assert captions.prepend_trigger(session, actor) == []


def test_replace_previews_writes_and_is_undone_once(session: Session, actor: Actor) -> None:
    assert _texts(session, actor) == AFTER_UPLOAD
    preview = captions.preview_replace(session, actor, "a woman", "a man")
    assert [change.after for change in preview] == [f"KIA_01, a man, picture {n}" for n in range(3)]
    assert _texts(session, actor) == AFTER_UPLOAD
    assert captions.replace(session, actor, "a woman", "a man") == preview
    assert _texts(session, actor)[0] == "KIA_01, a man, picture 0"
    undone = captions.undo(session, actor)
    assert len(undone) == 3
    assert _texts(session, actor) == AFTER_UPLOAD
    with pytest.raises(NotFound, match="no bulk edit"):
        captions.undo(session, actor)


def test_undo_takes_back_bulk_edits_newest_first(session: Session, actor: Actor) -> None:
    captions.replace(session, actor, "picture", "shot")
    captions.replace(session, actor, "woman", "man")
    captions.undo(session, actor)
    assert _texts(session, actor)[0] == "KIA_01, a woman, shot 0"
    captions.undo(session, actor)
    assert _texts(session, actor) == AFTER_UPLOAD


def test_undo_leaves_what_was_edited_since(session: Session, actor: Actor, picture: Picture) -> None:
    captions.replace(session, actor, "woman", "man")
    captions.set_(session, picture, "KIA_01, my own words")
    assert len(captions.undo(session, actor)) == 2
    assert _texts(session, actor)[:2] == ["KIA_01, my own words", "KIA_01, a woman, picture 1"]


def test_undo_of_generated_captions_empties_those_that_had_none(session: Session, actor: Actor) -> None:
    last = images.list_(session, actor)[-1]
    captions.set_all(session, [(last, "KIA_01, drawn")], source=CaptionSource.GENERATED)
    captions.undo(session, actor)
    assert _texts(session, actor)[-1] == ""


def test_replace_needs_something_to_find(session: Session, actor: Actor) -> None:
    with pytest.raises(BadCaption, match="nothing to find"):
        captions.replace(session, actor, "", "x")


def test_a_replacement_that_makes_one_caption_too_long_changes_none(session: Session, actor: Actor) -> None:
    with pytest.raises(BadCaption):
        captions.replace(session, actor, "woman", "w" * 1990)
    assert _texts(session, actor) == AFTER_UPLOAD


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(find=st.sampled_from(["a", "woman", "KIA", "picture 1", "zzz", ", "]), by=st.text(max_size=12))
def test_undo_gives_back_the_very_captions_before_any_replacement(
    session: Session, actor: Actor, find: str, by: str
) -> None:
    before = _texts(session, actor)
    if captions.replace(session, actor, find, by):
        captions.undo(session, actor)
    assert _texts(session, actor) == before


def test_generated_captions_fill_the_empty_ones_trigger_in_front(
    session: Session, store: files.Store, actor: Actor
) -> None:
    empty = images.list_(session, actor)[4:]
    changes = captions.preview_generate(session, store, actor)
    assert {change.picture.id for change in changes} <= {picture.id for picture in empty}
    assert _texts(session, actor) == AFTER_UPLOAD
    assert captions.generate(session, store, actor) == changes
    for change in changes:
        newest = captions.latest(session, change.picture)
        assert newest is not None
        assert newest.text.startswith("KIA_01, ")
        assert newest.source == CaptionSource.GENERATED


def test_generating_for_all_writes_over_and_can_be_undone(
    session: Session, store: files.Store, actor: Actor
) -> None:
    pictures = images.list_(session, actor)
    changes = captions.generate(session, store, actor, pictures, length="short")
    assert changes
    first = captions.latest(session, changes[0].picture)
    assert first is not None
    captions.set_(session, changes[0].picture, "KIA_01, my own words")
    newest = captions.latest(session, changes[0].picture)
    assert newest is not None
    assert newest.source == CaptionSource.EDITED
    if len(changes) > 1:
        undone = captions.undo(session, actor)
        assert {change.picture.id for change in undone} == {change.picture.id for change in changes[1:]}


def test_an_unknown_captioner_or_length_is_refused(
    session: Session, store: files.Store, actor: Actor
) -> None:
    with pytest.raises(BadCaption, match="composed"):
        captions.preview_generate(session, store, actor, captioner="poet")
    with pytest.raises(BadCaption, match="short or full"):
        captions.preview_generate(session, store, actor, length="epic")


def test_words_are_put_in_front_but_the_trigger_stays_first(session: Session, actor: Actor) -> None:
    told = captions.preview_prepend(session, actor, " flat drawing, ")
    assert _texts(session, actor) == AFTER_UPLOAD
    done = captions.prepend(session, actor, " flat drawing, ")
    assert [change.after for change in done] == [change.after for change in told]
    assert _texts(session, actor)[0] == "KIA_01, flat drawing, a woman, picture 0"
    assert _texts(session, actor)[4:] == [None, None]
    captions.undo(session, actor)
    assert _texts(session, actor) == AFTER_UPLOAD


def test_words_go_before_a_caption_without_the_trigger(
    session: Session, actor: Actor, picture: Picture
) -> None:
    captions.set_(session, picture, "a woman, KIA_01 on her shirt")
    captions.prepend(session, actor, "ink")
    assert _texts(session, actor)[0] == "ink, a woman, KIA_01 on her shirt"
    captions.set_(session, picture, "KIA_01")
    captions.prepend(session, actor, "ink")
    assert _texts(session, actor)[0] == "KIA_01, ink"
    with pytest.raises(BadCaption, match="nothing to put in front"):
        captions.prepend(session, actor, " , ")


def test_the_trigger_is_given_to_every_caption_the_empty_ones_too(
    session: Session, actor: Actor, picture: Picture
) -> None:
    captions.set_(session, picture, "nobody")
    assert [change.after for change in captions.preview_trigger(session, actor)] == [
        "KIA_01, nobody", "KIA_01", "KIA_01",
    ]  # fmt: skip
    captions.give_trigger(session, actor)
    assert captions.preview_trigger(session, actor) == []
    captions.undo(session, actor)
    assert _texts(session, actor)[0] == "nobody"
