"""Lays out what the demo drew: a contact sheet as one PNG, and a page that needs nothing but itself.

Knows pictures and numbers; knows nothing about trainings or the database.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

CELL_PX, GAP_PX, TEXT_PX = 256, 10, 200
PAPER, INK, SOFT = "#fbfaf7", "#1d1b16", "#6d675b"
SMOOTHED_OVER = 15


@dataclass(frozen=True, kw_only=True)
class Row:
    """One scene: drawn with the actor (some takes), and by the base alone."""

    scene: str
    with_actor: list[Path]
    base_alone: Path


def write_sheet(file: Path, name: str, rows: Sequence[Row], learned_from: Sequence[Path]) -> None:
    """The contact sheet: a strip of the training pictures, then a row for each scene."""
    takes = len(rows[0].with_actor)
    width = TEXT_PX + (takes + 1) * (CELL_PX + GAP_PX) + 2 * GAP_PX
    strip = learned_from[: (width - 2 * GAP_PX) // (CELL_PX // 3 + GAP_PX)]
    strip_px = (width - 2 * GAP_PX - GAP_PX * (len(strip) - 1)) // len(strip)
    top = 44 + strip_px + 56
    sheet = Image.new("RGB", (width, top + len(rows) * (CELL_PX + GAP_PX) + GAP_PX), PAPER)
    pen = ImageDraw.Draw(sheet)
    title, text = ImageFont.load_default(20), ImageFont.load_default(16)

    pen.text((GAP_PX, 12), f"{name} learned from these pictures", fill=INK, font=title)
    for index, path in enumerate(strip):
        _paste(sheet, path, GAP_PX + index * (strip_px + GAP_PX), 44, strip_px)
    columns = [*([f"with {name}"] * takes), "the base without it"]
    lefts = [GAP_PX + TEXT_PX + index * (CELL_PX + GAP_PX) for index in range(len(columns))]
    for left, column in zip(lefts, columns, strict=True):
        pen.text((left, top - 28), column, fill=INK, font=text)
    for index, row in enumerate(rows):
        y = top + index * (CELL_PX + GAP_PX)
        pen.multiline_text((GAP_PX, y + 8), "\n".join(wrap(row.scene, 20)), fill=SOFT, font=text, spacing=6)
        for left, path in zip(lefts, [*row.with_actor, row.base_alone], strict=True):
            _paste(sheet, path, left, y, CELL_PX)
    staged = file.with_suffix(".part")
    sheet.save(staged, format="PNG", optimize=True)
    staged.replace(file)


def write_page(
    file: Path,
    *,
    name: str,
    facts: Sequence[tuple[str, str]],
    honest: str,
    rows: Sequence[Row],
    learned_from: Sequence[Path],
    losses: Sequence[float],
    samples: Sequence[Path],
) -> None:
    """The page: the same pictures, the loss curve, and the samples of each checkpoint."""
    takes = len(rows[0].with_actor)
    head = "".join(f"<th>with {escape(name)}</th>" for _ in range(takes)) + "<th>the base without it</th>"
    body = "".join(
        f"<tr><th scope=row>{escape(row.scene)}</th>"
        + "".join(f"<td>{_image(path, f'{name} {row.scene}')}</td>" for path in row.with_actor)
        + f"<td class=base>{_image(row.base_alone, f'the base: {row.scene}')}</td></tr>"
        for row in rows
    )
    text = Template(
        resources.files(__package__).joinpath("demo_page.html").read_text(encoding="utf-8")
    ).substitute(
        name=escape(name),
        honest=escape(honest),
        facts="".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in facts),
        learned="".join(_image(path, f"training picture {path.stem}") for path in learned_from),
        head=head,
        body=body,
        curve=curve(losses),
        samples="".join(
            f"<figure>{_image(path, path.stem)}<figcaption>{escape(_step(path))}</figcaption></figure>"
            for path in samples
        ),
    )
    staged = file.with_suffix(".part")
    staged.write_text(text, encoding="utf-8")
    staged.replace(file)


def curve(losses: Sequence[float]) -> str:
    """The loss of each step as an inline SVG: dots, and a line through their running mean."""
    if not losses:
        return "<p>No loss was recorded.</p>"
    width, height, left, bottom = 720, 240, 52, 28
    most = max(losses) * 1.05 or 1.0
    across = (width - left - 8) / max(len(losses) - 1, 1)

    def at(step: int, loss: float) -> str:
        return f"{left + step * across:.1f},{8 + (height - bottom - 8) * (1 - loss / most):.1f}"

    means = [
        sum(losses[max(0, i - SMOOTHED_OVER + 1) : i + 1]) / min(i + 1, SMOOTHED_OVER)
        for i in range(len(losses))
    ]
    dots = "".join(
        f'<circle cx="{at(i, loss).split(",")[0]}" cy="{at(i, loss).split(",")[1]}" r="1.6"/>'
        for i, loss in enumerate(losses)
    )
    line = " ".join(at(i, mean) for i, mean in enumerate(means))
    lines = "".join(
        f'<line x1="{left}" x2="{width - 8}" y1="{y}" y2="{y}"/>'
        f'<text x="{left - 8}" y="{y + 4}">{value:.3g}</text>'
        for value, y in ((most * share, 8 + (height - bottom - 8) * (1 - share)) for share in (0, 0.5, 1))
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Loss over {len(losses)} steps">'
        f'<g class="grid">{lines}<text x="{left}" y="{height - 6}" class="start">step 1</text>'
        f'<text x="{width - 8}" y="{height - 6}">step {len(losses)}</text></g>'
        f'<g class="dots">{dots}</g><polyline points="{line}"/></svg>'
    )


def _paste(sheet: Image.Image, path: Path, x: int, y: int, side_px: int) -> None:
    with Image.open(path) as picture:
        sheet.paste(picture.convert("RGB").resize((side_px, side_px), Image.Resampling.LANCZOS), (x, y))


def _image(path: Path, words: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{content}">'


def _step(sample: Path) -> str:
    """step-000100-00.png -> step 100"""
    parts = sample.stem.split("-")
    return f"step {int(parts[1])}" if len(parts) > 1 and parts[1].isdigit() else sample.stem
