"""How states, phases and times are said to a person. Pure text: opens nothing."""

from __future__ import annotations

from datetime import datetime

from greenroom.db.models import now
from greenroom.studio.gallery import Card

_PHASES = {
    "": "Starting",
    "preflight": "Checking the machine",
    "cache": "Preparing pictures",
    "train": "Training",
    "select": "Measuring",
    "export": "Saving the model",
}


def state_word(state: str) -> str:
    """The one word of a state, as it stands on a card."""
    return {"done": "Trained", "running": "Training"}.get(state, state.capitalize())


def phase(name: str) -> str:
    """What a training is doing."""
    return _PHASES.get(name, name.capitalize())


def card_sentence(card: Card) -> str:
    """The sentence below an actor's name in the gallery."""
    actor, newest = card.actor, card.newest
    if actor.state == "queued":
        return "Waiting for its turn."
    if actor.state == "training" and newest is not None:
        if newest.phase == "train" and newest.total_steps:
            left = f", {duration(newest.seconds_left)} left" if newest.seconds_left else ""
            return f"Step {newest.step} of {newest.total_steps}{left}."
        return f"{phase(newest.phase)}…"
    if actor.state == "failed":
        return "The training failed. Open it to see why."
    if actor.state == "cancelled" and newest is not None:
        return f"Cancelled at step {newest.step} of {newest.total_steps}. It can go on."
    if card.active is not None:
        return f"Version {card.active.version}, from {count(card.pictures, 'picture')}."
    return f"{count(card.pictures, 'picture')} so far." if card.pictures else "No pictures yet."


def duration(seconds: float | None) -> str:
    """12 s, 3 min 05 s or 2 h 10 min; a dash when it is not known."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def when(moment: datetime | None) -> str:
    """just now, 5 min ago, or the day."""
    if moment is None:
        return "–"
    seconds = (now() - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h ago"
    return f"{moment.day} {moment:%B %Y}"


def count(number: int, one: str, many: str = "") -> str:
    """1 picture, 2 pictures."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def face_url(face: str | None) -> str:
    """Where the picture of a card is served."""
    if face is None:
        return ""
    return f"/media/samples/{face}/0" if face.startswith("chk_") else f"/media/thumbnails/{face}"
