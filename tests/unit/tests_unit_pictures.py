"""Pictures and base folders that the unit tests are made of."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

from PIL import Image, ImageDraw


def write_base(folder: Path, pipeline: str = "ZImagePipeline") -> Path:
    """A diffusers folder that is complete to the eye of the studio, which reads no weights."""
    (folder / "unet").mkdir(parents=True)
    index = {"_class_name": pipeline, "vae": ["diffusers", "AutoencoderDC"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet" / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return folder


def draw(file: Path, seed: int, size: tuple[int, int] = (96, 80)) -> Path:
    """A picture that no other seed gives."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, tuple(rng.randbytes(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        pen.ellipse((x, y, x + 20, y + 20), fill=tuple(rng.randbytes(3)))
    image.save(file, quality=95) if file.suffix == ".jpg" else image.save(file)
    return file


def draw_folder(folder: Path) -> Path:
    """Six pictures, four of them with a caption, one of those with the trigger in it already."""
    folder.mkdir()
    for number in range(6):
        draw(folder / f"kia-{number}.{'jpg' if number % 2 else 'png'}", number)
    for number in range(3):
        (folder / f"kia-{number}.txt").write_text(f"a woman, picture {number}", encoding="utf-8")
    (folder / "kia-3.txt").write_text("KIA_01, laughing", encoding="utf-8")
    return folder
