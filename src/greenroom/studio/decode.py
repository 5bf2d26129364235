"""Decodes one untrusted picture into a clean upright RGB PNG, in a child process under limits.

Runs as `python -m greenroom.studio.decode`: a JSON request a line on stdin, a JSON answer a line on stdout.
Knows files and pixels; knows nothing of the database, of settings or of who asked. Every answer is the facts
of the picture, {"reason": sentence} when it is refused, or {"storage": words} when there was no writing it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any, cast

from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

FORMATS = ("JPEG", "PNG")
THUMBNAIL_PX = 256
MEMORY_BYTES = 2 << 30
"""Address space of the child; a 64-megapixel picture with alpha peaks near 1.1 GB."""
CPU_S = 60
"""Processor time for one picture."""
_FILE_BYTES = 1 << 30
_STRIP_ROWS = 256
_LARGE_PIXELS = 2_000_000

# What a file is, when it is not what we take: the first bytes, and the word for a person.
_OTHERS: tuple[tuple[bytes, int, str], ...] = (
    (b"RIFF", 0, "a WebP picture"),
    (b"GIF8", 0, "a GIF picture"),
    (b"ftypheic", 4, "a HEIC picture"),
    (b"ftypmif1", 4, "a HEIF picture"),
    (b"ftypavif", 4, "an AVIF picture"),
    (b"ftyp", 4, "a film"),
    (b"II*\0", 0, "a TIFF picture"),
    (b"MM\0*", 0, "a TIFF picture"),
    (b"BM", 0, "a BMP picture"),
    (b"8BPS", 0, "a Photoshop file"),
    (b"%PDF", 0, "a PDF file"),
    (b"PK\3\4", 0, "a zip file"),
    (b"\0\0\0\x0cJXL ", 0, "a JPEG XL picture"),
    (b"<svg", 0, "an SVG drawing"),
)


def main() -> None:
    """Answer requests until stdin ends."""
    Image.MAX_IMAGE_PIXELS = (
        None  # the request's own cap is checked from the header, before anything is decoded
    )
    _limit_process()
    for line in sys.stdin:
        request = json.loads(line)
        _limit_cpu()
        print(json.dumps(answer(**request)), flush=True)


def answer(path: str, max_pixels: int, min_side_px: int, out: str | None, stem: str) -> dict[str, Any]:
    """The facts of one picture, or the reason why it is refused.

    out: the folder for STEM.png and STEM.webp (the thumbnail); None only looks and writes nothing.
    """
    try:
        return _facts(Path(path), max_pixels, min_side_px, Path(out) if out else None, stem)
    except _RefusedError as refused:
        return {"reason": str(refused)}
    except _UnwritableError as error:
        return {"storage": str(error)}
    except MemoryError:
        return {"reason": "It needs more memory to decode than is allowed. Save it smaller and add it again."}
    except Exception as error:  # noqa: BLE001 - the edge of a process that exists to meet broken files
        return {
            "reason": f"It cannot be decoded ({_short(error)}). Save it anew as JPEG or PNG and add it again."
        }


class _RefusedError(Exception):
    """The sentence that says why a picture is refused."""


class _UnwritableError(Exception):
    """What the system said when the clean picture was written: the disk's fault, not the picture's."""


def _facts(path: Path, max_pixels: int, min_side_px: int, out: Path | None, stem: str) -> dict[str, Any]:
    try:
        opened = path.open("rb")
    except OSError as error:
        raise _RefusedError(
            f"It cannot be read ({error.strerror}). Check the file and its permissions."
        ) from None
    with opened as file:
        start = file.read(32)
        file.seek(0)
        upload_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        with _opened(file, start) as image:
            _check_header(image, max_pixels, min_side_px)
            notes: list[str] = []
            _load(image)
            clean = _upright_rgb(image, start, notes)
    facts = {
        "width_px": clean.width,
        "height_px": clean.height,
        "upload_sha256": upload_sha256,
        "pixels_sha256": _pixels_sha256(clean),
        "notes": notes,
    }
    if out is not None:
        try:
            facts["sha256"] = _write(clean, out, stem)
        except OSError as error:
            raise _UnwritableError(error.strerror or str(error)) from error
    return facts


def _opened(file: io.BufferedReader, start: bytes) -> Image.Image:
    if not start:
        raise _RefusedError("The file is empty. Copy it again from where it came.")
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
            raise _RefusedError(
                "It is cut off or damaged near its start. Copy it again from where it came."
            ) from None
        raise _RefusedError(f"It is {_kind(start)}, not a JPEG or PNG. Save it as JPEG or PNG.") from None


def _kind(start: bytes) -> str:
    for magic, at, kind in _OTHERS:
        if start[at : at + len(magic)] == magic:
            return kind
    with contextlib.suppress(UnicodeDecodeError):
        start[:24].decode("ascii")
        return "text"
    return "something else"


def _check_header(image: Image.Image, max_pixels: int, min_side_px: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _RefusedError(
            f"It has {width}×{height} = {width * height / 1e6:.0f} megapixels; "
            f"at most {max_pixels / 1e6:.0f} are allowed. Save it smaller and add it again."
        )
    if min(width, height) < min_side_px:
        raise _RefusedError(
            f"It is too small: {width}×{height} pixels, its short side needs at least {min_side_px}. "
            "Use a larger original."
        )


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        cut = "truncated" in str(error) or isinstance(error, EOFError)
        what = "It is cut off: the end of the file is missing" if cut else f"It is damaged ({_short(error)})"
        raise _RefusedError(f"{what}. Copy it again from where it came.") from None


def _upright_rgb(image: Image.Image, start: bytes, notes: list[str]) -> Image.Image:
    """The first frame as sRGB on white, turned as its EXIF says, with nothing but pixels left."""
    if getattr(image, "n_frames", 1) > 1:
        animated = image.format == "PNG"
        notes.append("it is animated: its first frame is used" if animated else "its first picture is used")
    # NOTE: Pillow brings 16-bit colour to 8 bits by itself and does not tell: byte 24 of a PNG has the depth.
    if image.format == "PNG" and len(start) > 24 and start[24] == 16:
        notes.append("16 bits per channel were reduced to 8")
    profile = image.info.get("icc_profile")
    turned = _turned(image, notes)
    flat = _flattened(_eight_bit(turned), notes)
    if flat.mode == "CMYK":
        notes.append("CMYK was turned into RGB" + ("" if profile else " without a colour profile"))
    rgb = _srgb(flat, profile, notes) if profile else flat.convert("RGB")
    # A new image: nothing of info, EXIF, XMP or comments can come along.
    clean = Image.new("RGB", rgb.size)
    clean.paste(rgb)
    return clean


def _turned(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - EXIF is a format of its own; a broken one must not cost the picture
        notes.append("its EXIF data is damaged and was ignored")
        return image
    if turned.size != image.size or turned.getexif().get(0x0112, 1) != image.getexif().get(0x0112, 1):
        notes.append("it was turned upright")
    return turned


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    if image.mode in {"I", "F"}:
        # NOTE: convert("L") would clip at 255, which makes nearly every 16-bit grey picture white.
        return image.point(lambda value: value * (1 / 257) + 0).convert("L")
    return image


def _flattened(image: Image.Image, notes: list[str]) -> Image.Image:
    """Without alpha: what is transparent becomes white."""
    if image.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in image.info:
        layered = image.convert("RGBA")
        if cast(tuple[int, int], layered.getchannel("A").getextrema())[0] < 255:
            notes.append("transparency was put on white")
        white = Image.new("RGBA", layered.size, "white")
        white.alpha_composite(layered)
        return white.convert("RGB")
    return image.convert("RGB") if image.mode == "P" else image


def _srgb(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Colours as they look: the profile is stripped with all metadata, so it has to be applied first."""
    source = image if image.mode in {"RGB", "L", "CMYK"} else image.convert("RGB")
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(opened).strip().startswith("sRGB"):
            return source.convert("RGB")
        converted = ImageCms.profileToProfile(
            source, opened, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("its colour profile is damaged or does not fit and was ignored")
        return source.convert("RGB")
    return cast(Image.Image, converted)


def _pixels_sha256(image: Image.Image) -> str:
    """Of size and RGB bytes, by strips, so that a large picture is not copied as a whole."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    for top in range(0, image.height, _STRIP_ROWS):
        digest.update(image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height))).tobytes())
    return digest.hexdigest()


def _write(image: Image.Image, out: Path, stem: str) -> str:
    """Write STEM.png and STEM.webp and return the sha256 of the PNG."""
    # The level trades seconds for size: at 6 a 12-megapixel photo costs 2.5 s instead of 0.7 for a tenth.
    level = 6 if image.width * image.height < _LARGE_PIXELS else 2
    png = out / f"{stem}.png"
    image.save(png, "PNG", compress_level=level, pnginfo=PngImagePlugin.PngInfo())
    small = image.copy() if max(image.size) <= THUMBNAIL_PX else image
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    small.save(out / f"{stem}.webp", "WEBP", quality=85)
    with png.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _limit_process() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits: there the parent's clock is the only one
        return
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        # macOS refuses some of them; the others still hold.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def _limit_cpu() -> None:
    """Give this picture CPU_S more seconds of processor time; past them the system ends the child."""
    try:
        import resource
    except ImportError:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + CPU_S
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _short(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:120]


if __name__ == "__main__":
    main()
