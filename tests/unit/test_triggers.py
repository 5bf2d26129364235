from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.errors import BadTrigger
from greenroom.studio import triggers

SHAPED = st.from_regex(r"[A-Za-z0-9_-]{2,32}", fullmatch=True)
CAPTIONS = st.text(max_size=60)


@pytest.mark.parametrize("trigger", ["KIA_01", "kia-01", "Zx", "a1", "x" * 32, "K1-_2"])
def test_check_accepts_invented_words(trigger: str) -> None:
    assert triggers.check(trigger) == trigger


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("", "0 characters"),
        ("K", "1 characters"),
        ("x" * 33, "33 characters"),
        ("KIA 01", "' '"),
        ("../KIA", "'.'"),
        ("KIA\0", "'\\x00'"),
        ("🦊01", "'🦊'"),
        ("KÍA_01", "'Í'"),
        ("KIA@1", "'@'"),
        ("2024_01", "no letter"),
        ("woman", "ordinary word"),
        ("Woman", "ordinary word"),
        ("CAT", "ordinary word"),
        ("penguins", "ordinary word"),
        ("x" * 300, "300 characters"),
    ],
)
def test_check_refuses_with_reason_and_remedy(trigger: str, said: str) -> None:
    with pytest.raises(BadTrigger) as caught:
        triggers.check(trigger)
    assert said in str(caught.value)
    assert "Use something" in str(caught.value)
    assert "\0" not in str(caught.value)


@given(st.text(max_size=50))
def test_what_check_accepts_keeps_every_rule_and_the_suggestion_always_does(text: str) -> None:
    assert triggers.check(triggers.suggest(text))
    try:
        accepted = triggers.check(text)
    except BadTrigger:
        return
    assert 2 <= len(accepted) <= 32
    assert any(char.isalpha() for char in accepted)
    assert all(char.isascii() and (char.isalnum() or char in "_-") for char in accepted)


@given(SHAPED, CAPTIONS)
def test_after_ensure_the_trigger_is_in_and_doing_it_again_changes_nothing(
    trigger: str, caption: str
) -> None:
    text, changed = triggers.ensure_in_caption(trigger, caption)
    assert triggers.is_in(trigger, text)
    assert changed == (text != caption)
    assert triggers.ensure_in_caption(trigger, text) == (text, False)
    assert text.endswith(caption.strip()) or not changed


@pytest.mark.parametrize(
    "caption", ["KIA_012 runs", "xKIA_01", "KIA_01-like", "kia_01, a woman", "éKIA_01", "KIA_01_"]
)
def test_a_trigger_inside_another_word_or_in_other_letters_does_not_count(caption: str) -> None:
    assert triggers.ensure_in_caption("KIA_01", caption) == (f"KIA_01, {caption}", True)


@pytest.mark.parametrize(
    "caption", ["KIA_01", "a photo of KIA_01.", "(KIA_01) laughs", "KIA_01's hat", "Hi,KIA_01,hi"]
)
def test_a_trigger_as_a_whole_word_counts_anywhere(caption: str) -> None:
    assert triggers.ensure_in_caption("KIA_01", caption) == (caption, False)


def test_an_empty_caption_becomes_the_trigger_alone() -> None:
    assert triggers.ensure_in_caption("KIA_01", "  ") == ("KIA_01", True)
