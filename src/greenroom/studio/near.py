"""Words close to a mistyped one, for error messages. Pure text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_SHOWN = 5


def near(word: str, known: Iterable[str]) -> list[str]:
    """Up to five known words most like `word`, best first, without regard to case."""
    by_low: dict[str, str] = {}
    for name in known:
        by_low.setdefault(name.lower(), name)
    close = difflib.get_close_matches(word.lower(), by_low, n=MOST_SHOWN, cutoff=0.5)
    return [by_low[low] for low in close]


def sentence(word: str, known: Iterable[str], none: str) -> str:
    """ "Did you mean KIA_01 or KIM_02?", or what there is, or `none` when there is nothing at all."""
    names = list(known)
    if close := near(word, names):
        return f"Did you mean {listed(close, 'or')}?"
    if names:
        shown = sorted(names, key=str.lower)[:MOST_SHOWN]
        more = "" if len(names) <= MOST_SHOWN else f" and {len(names) - MOST_SHOWN} more"
        return f"There is {', '.join(shown)}{more}."
    return none


def listed(names: Iterable[str], last: str = "and") -> str:
    """ "a, b and c"."""
    *most, end = names
    return f"{', '.join(most)} {last} {end}" if most else end
