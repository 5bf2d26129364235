from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from greenroom.cli import demo, demo_page
from greenroom.errors import NotFound

PICTURES = sorted(demo.sample_folder("character-juno").glob("*.png"))
ROWS = [
    demo_page.Row(scene=scene, with_actor=PICTURES[i : i + 2], base_alone=PICTURES[i + 2])
    for i, scene in enumerate(demo.SCENES)
]


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    demo_page.write_page(
        page,
        name="<Juno>",
        facts=[("steps", "300 & more")],
        honest=demo.HONEST,
        rows=ROWS,
        learned_from=PICTURES,
        losses=[0.3, 0.2, 0.1],
        samples=PICTURES[:2],
    )
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    assert "&lt;Juno&gt;" in text
    assert "300 &amp; more" in text
    assert text.count("<img ") == len(PICTURES) + 3 * len(ROWS) + 2
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.extend(  # type: ignore[method-assign]
        value or "" for key, value in attrs if tag == "img" and key == "alt"
    )
    parser.feed(text)
    assert all(seen)


def test_the_sheet_has_a_cell_for_each_picture(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    demo_page.write_sheet(sheet, "Juno", ROWS, PICTURES)
    with Image.open(sheet) as picture:
        assert picture.width > 3 * demo_page.CELL_PX
        assert picture.height > len(ROWS) * demo_page.CELL_PX
        side, gap = demo_page.CELL_PX, demo_page.GAP_PX
        left = gap + demo_page.TEXT_PX + 2 * (side + gap)
        top = picture.height - gap - (side + gap)
        cell = picture.crop((left, top, left + side, top + side)).convert("RGB")
        with Image.open(ROWS[-1].base_alone) as last:
            expected = last.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        assert cell.tobytes() == expected.tobytes()


@pytest.mark.parametrize("losses", [[], [0.5], [0.0, 0.0], [3.0, 2.0, 2.5, 1.0]])
def test_the_curve_is_drawn_whatever_the_losses(losses: list[float]) -> None:
    drawn = demo_page.curve(losses)
    assert drawn.count("<circle") == len(losses)
    assert "nan" not in drawn


def test_the_curve_falls_as_the_loss_does() -> None:
    points = re.search(r'points="([^"]+)"', demo_page.curve([4.0, 3.0, 2.0, 1.0]))
    assert points is not None
    heights = [float(point.split(",")[1]) for point in points[1].split()]
    assert heights == sorted(heights)  # SVG counts downwards
    assert heights[0] < heights[-1]


def test_none_of_the_scenes_is_among_the_sample_pictures() -> None:
    captions = [file.with_suffix(".txt").read_text(encoding="utf-8") for file in PICTURES]
    for scene in demo.SCENES:
        assert not any(scene in caption for caption in captions)
    for word in ("space", "snow", "water", "desert", "laughing", "angry", "winking"):
        assert not any(word in caption for caption in captions)


def test_every_sample_has_credits_and_captions_and_is_small() -> None:
    for name, least in (("character-juno", 14), ("style-riso", 12)):
        folder = demo.sample_folder(name)
        pictures = sorted(folder.glob("*.png"))
        assert len(pictures) >= least
        assert (folder / "CREDITS.txt").read_text(encoding="utf-8")
        for picture in pictures:
            assert picture.with_suffix(".txt").read_text(encoding="utf-8").strip()
            assert picture.stat().st_size < 40_000


def test_a_missing_sample_is_named() -> None:
    with pytest.raises(NotFound, match="character-nobody"):
        demo.sample_folder("character-nobody")
