"""A version of an actor as one HTML file that needs nothing but itself: scores, plots, contact sheets, settings.

Reads records and files, changes nothing. Leaves out captions and what the person's files were called.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sqlalchemy.orm import Session

import greenroom
from greenroom import files
from greenroom.db.models import Actor, Picture, Training, now
from greenroom.errors import WrongState
from greenroom.ml.select import Scores
from greenroom.studio import scores, trainings

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 920, 300, 40, 130, 12, 34
_SETTINGS = {
    "base_family": "Base family",
    "steps": "Steps planned",
    "batch_size": "Pictures a step",
    "learning_rate": "Learning rate",
    "lr_schedule": "Schedule",
    "rank": "Rank",
    "alpha": "Alpha",
    "resolution_px": "Resolution (px)",
    "caption_dropout": "Caption dropout",
    "seed": "Seed",
}
_LINES = (("likeness", "#2f7d4f", ""), ("adherence", "#2c6aa8", ""), ("copying", "#b4472e", "5 4"))


def html(session: Session, store: files.Store, actor: Actor, training: Training | None = None) -> str:
    """The report of a version, of the one in use when none is named. Raises WrongState when it is not done."""
    if training is None and actor.active_training_id is not None:
        training = trainings.find(session, actor.active_training_id)
    if training is None or training.lora_key is None:
        raise WrongState(f"{actor.name} has no finished version to report on. Train it first.")
    measured, used = scores.of(session, training), scores.used(session, training)
    pictures = [_data(store, picture.thumbnail_key, "webp") for picture in _pictures(session, training)]
    seen = [one for one in pictures if one]
    samples = _samples(session, store, training)
    facts = [(label, _value(training.config.get(key))) for key, label in _SETTINGS.items()]
    facts += [("Steps made", str(training.step)), ("Time", f"{training.seconds / 60:.1f} min")]
    return _templates.get_template("report.html").render(
        actor=actor,
        training=training,
        finished=f"{training.finished_at:%-d %B %Y}" if training.finished_at else "",
        face=(samples[0] if actor.kind == "style" and samples else seen[0]) if seen else "",
        word=scores.word(used),
        used=used,
        best=scores.best(session, training),
        scores=measured,
        chart=Markup(chart(measured, training.step))
        if len(measured) > 1
        else "",  # numbers and our words only
        sheets=_sheets(store, actor, training, measured),
        samples=samples,
        pictures=seen,
        settings=facts,
        version=greenroom.__version__,
        today=f"{now():%-d %B %Y}",
    )


def chart(measured: Sequence[Scores], steps: int) -> str:
    """Likeness with its uncertainty, adherence and copying over the steps, as an SVG element."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    last = max(steps, measured[-1].step)

    def x(step: int) -> float:
        return round(LEFT + step / last * wide, 1)

    def y(value: float) -> float:
        return round(TOP + (1 - min(max(value, 0.0), 1.0)) * high, 1)

    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{y(value)}" y2="{y(value)}" stroke="#e4dfd3"/>'
            f'<text x="{LEFT - 10}" y="{y(value) + 4}" text-anchor="end" fill="#6d675b">{value:g}</text>'
        )
    for one in measured:
        parts.append(
            f'<text x="{x(one.step)}" y="{HEIGHT - 10}" text-anchor="middle" fill="#6d675b">{one.step}</text>'
        )
    upper = [f"{x(one.step)},{y(2 * one.likeness - one.likeness_low)}" for one in measured]
    lower = [f"{x(one.step)},{y(one.likeness_low)}" for one in reversed(measured)]
    parts.append(f'<polygon points="{" ".join([*upper, *lower])}" fill="#2f7d4f" opacity=".13"/>')
    for (name, colour, dashes), at in zip(_LINES, _label_places(measured, y), strict=True):
        values = [(one.step, float(getattr(one, name))) for one in measured]
        points = " ".join(f"{x(step)},{y(value)}" for step, value in values)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dashes}" stroke-linejoin="round"/>'
        )
        parts += [f'<circle cx="{x(s)}" cy="{y(v)}" r="4" fill="{colour}"/>' for s, v in values]
        parts.append(
            f'<text x="{LEFT + wide + 14}" y="{at}" fill="{colour}" font-weight="600">'
            f"{name.capitalize()} {values[-1][1]:.2f}</text>"
        )
    said = f"Likeness, adherence and copying at {len(measured)} checkpoints"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _label_places(measured: Sequence[Scores], y: Any) -> list[float]:
    """Where the labels stand, moved apart so that none covers another."""
    wanted = [y(float(getattr(measured[-1], name))) + 4 for name, _, _ in _LINES]
    placed = list(wanted)
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + 16)
    return placed


def _pictures(session: Session, training: Training) -> list[Picture]:
    found = [session.get(Picture, line["picture_id"]) for line in training.manifest]
    return [picture for picture in found if picture is not None]


def _samples(session: Session, store: files.Store, training: Training) -> list[str]:
    """The sample pictures of the checkpoint in use, or of the last one that has some."""
    drawn = [row for row in trainings.checkpoints(session, training) if row.sample_keys]
    if not drawn:
        return []
    row = next((row for row in drawn if row.step == training.chosen_step), drawn[-1])
    return [data for key in row.sample_keys if (data := _data(store, str(key), "png"))]


def _sheets(
    store: files.Store, actor: Actor, training: Training, measured: Sequence[Scores]
) -> list[dict[str, str]]:
    """The checkpoint in use first, then the last one, and what the base draws without the model."""
    wanted: list[tuple[int, str, str]] = []
    if training.chosen_step is not None:
        wanted.append((training.chosen_step, f"Step {training.chosen_step}", "in use"))
    if measured and measured[-1].step != training.chosen_step:
        wanted.append((measured[-1].step, f"Step {measured[-1].step}", "the last one, for comparison"))
    wanted.append((0, "The base alone", "the same prompts and seeds without this model"))
    return [
        {"name": name, "note": note, "data": data}
        for step, name, note in wanted
        if (data := _data(store, files.sheet_key(actor.id, training.id, step), "png"))
    ]


def _data(store: files.Store, key: str, kind: str) -> str:
    """A picture of the store as a data URL; empty when it is not there."""
    if not store.exists(key):
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(store.get(key)).decode()}"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
