from __future__ import annotations

from greenroom.studio import near


def test_near_ignores_case_and_puts_the_best_first() -> None:
    assert near.near("kia_1", ["ZED", "KIA_01", "KIM_01"])[0] == "KIA_01"
    assert near.near("x", ["KIA_01"]) == []


def test_sentence_offers_near_ones_then_what_there_is_then_nothing() -> None:
    assert near.sentence("KIA_1", ["KIA_01", "ZED"], "None.") == "Did you mean KIA_01?"
    assert near.sentence("qqqq", ["b", "A"], "None.") == "There is A, b."
    assert near.sentence("qqqq", [f"n{i}" for i in range(8)], "None.").endswith("and 3 more.")
    assert near.sentence("qqqq", [], "None.") == "None."


def test_listed_reads_like_a_sentence() -> None:
    assert near.listed(["a"]) == "a"
    assert near.listed(["a", "b", "c"], "or") == "a, b or c"
