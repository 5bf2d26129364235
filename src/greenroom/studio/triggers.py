"""What a trigger word may be, and how it stands in a caption. Pure text: knows no database."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from greenroom.errors import BadTrigger

MIN_CHARS, MAX_CHARS = 2, 32
_SHAPE = re.compile(r"[A-Za-z0-9_-]+")
# A token ends where no letter, digit, underscore or hyphen follows; \w is Unicode, so "éKIA" is not "KIA".
_BEFORE, _AFTER = r"(?<![\w-])", r"(?![\w-])"


def check(trigger: str) -> str:
    """The trigger itself when it keeps every rule that needs no database.

    Raises BadTrigger with the rule that it breaks and a trigger that would do.
    """
    # NOTE: what cannot be a trigger is shown with repr and cut short: it may hold control characters.
    shown = repr(trigger if len(trigger) <= 40 else trigger[:37] + "…")
    if not MIN_CHARS <= len(trigger) <= MAX_CHARS:
        raise BadTrigger(
            f"The trigger {shown} has {len(trigger)} characters; it needs {MIN_CHARS} to {MAX_CHARS}. "
            f"Use something like {suggest(trigger)}."
        )
    if not _SHAPE.fullmatch(trigger):
        wrong = next(char for char in trigger if not _SHAPE.fullmatch(char))
        raise BadTrigger(
            f"The trigger {shown} holds {wrong!r}; it is one word of the letters A to Z, digits, _ and -. "
            f"Use something like {suggest(trigger)}."
        )
    if not any(char.isalpha() for char in trigger):
        raise BadTrigger(
            f"The trigger {shown} has no letter, so a prompt could mean a number by it. "
            f"Use something like {suggest(trigger)}."
        )
    if is_ordinary(trigger):
        raise BadTrigger(
            f"The trigger {shown} is an ordinary word: the base model already has a picture of it in mind. "
            f"Use something that means nothing yet, like {suggest(trigger)}."
        )
    return trigger


def key(trigger: str) -> str:
    """The form in which triggers are compared: KIA_01 and kia_01 are the same."""
    return trigger.lower()


def is_ordinary(word: str) -> bool:
    """True for an English word, or its plural, that a base model knows."""
    low = word.lower()
    return low in _words() or (len(low) > 3 and low.endswith("s") and low[:-1] in _words())


def suggest(text: str) -> str:
    """A trigger that keeps the rules, made from whatever the person wrote."""
    letters = re.sub(r"[^A-Za-z0-9]", "", text).upper()[:12]
    return f"{letters if any(char.isalpha() for char in letters) else 'KIA'}_01"


def is_in(trigger: str, caption: str) -> bool:
    """True when the trigger stands in the caption as a whole word, in the same letters."""
    return position(trigger, caption) is not None


def position(trigger: str, text: str) -> int | None:
    """Where the trigger first stands in a text as a whole word, in the same letters."""
    found = re.search(_BEFORE + re.escape(trigger) + _AFTER, text)
    return found.start() if found else None


def ensure_in_caption(trigger: str, caption: str) -> tuple[str, bool]:
    """The caption with the trigger in it, and whether it had to be put in front.

    An empty caption becomes the trigger alone. Doing it twice changes nothing more.
    """
    if is_in(trigger, caption):
        return caption, False
    rest = caption.strip()
    return (f"{trigger}, {rest}" if rest else trigger), True


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    lines = files("greenroom.studio").joinpath("words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
