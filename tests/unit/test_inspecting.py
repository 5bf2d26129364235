"""Every kind of picture and of broken file, through the real child process."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin
from tests_unit_pictures import draw

from greenroom.errors import StorageError
from greenroom.settings import Settings
from greenroom.studio import decode, inspecting
from greenroom.studio.inspecting import Accepted, Refused, display_name, inspect, inspect_all

pytestmark = pytest.mark.usefixtures("settings")


def _accept(file: Path, out: Path) -> tuple[Accepted, Image.Image]:
    out.mkdir(exist_ok=True)
    result = inspect(file, file.name, out=out)
    assert isinstance(result, Accepted), result
    assert result.png is not None
    with Image.open(result.png) as image:
        image.load()
    assert image.mode == "RGB"
    assert image.size == (result.width_px, result.height_px)
    assert not image.info
    assert result.sha256 == hashlib.sha256(result.png.read_bytes()).hexdigest()
    return result, image


def _refuse(file: Path) -> str:
    result = inspect(file, file.name)
    assert isinstance(result, Refused), result
    return result.reason


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_a_plain_jpeg_and_png_pass_without_a_note(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png"):
        result, _ = _accept(draw(tmp_path / name, 1), tmp_path / "out")
        assert result.notes == ()
        assert (result.width_px, result.height_px) == (96, 80)


def test_the_same_picture_in_two_formats_has_one_pixel_hash_and_two_file_hashes(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "b.png", compress_level=1)
    first, second = (inspect(tmp_path / name, name) for name in ("a.png", "b.png"))
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.pixels_sha256 == second.pixels_sha256
    assert first.upload_sha256 != second.upload_sha256


def test_bytes_are_inspected_like_a_file(tmp_path: Path) -> None:
    raw = draw(tmp_path / "a.png", 1).read_bytes()
    assert isinstance(inspect(raw, "a.png"), Accepted)


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", 1).rename(tmp_path / "a.png")
    _accept(tmp_path / "a.png", tmp_path / "out")
    draw(tmp_path / "b.png", 1).rename(tmp_path / "b.weird")
    _accept(tmp_path / "b.weird", tmp_path / "out")


def test_exif_orientation_is_applied_and_all_metadata_stripped(tmp_path: Path) -> None:
    image = Image.new("RGB", (96, 80), "white")
    image.paste("red", (0, 0, 96, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "secret place"
    image.save(tmp_path / "a.jpg", exif=exif, comment=b"secret comment", quality=95)
    result, clean = _accept(tmp_path / "a.jpg", tmp_path / "out")
    assert clean.size == (80, 96)
    assert clean.getpixel((70, 48))[1] < 60  # the red half is on the right now
    assert clean.getpixel((10, 48))[1] > 200
    assert "it was turned upright" in result.notes
    assert b"secret" not in result.png.read_bytes()  # type: ignore[union-attr]
    assert b"Exif" not in result.thumbnail.read_bytes()  # type: ignore[union-attr]


def test_png_text_is_stripped(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "secret prompt")
    Image.new("RGB", (96, 80)).save(tmp_path / "a.png", pnginfo=text)
    result, _ = _accept(tmp_path / "a.png", tmp_path / "out")
    assert b"secret" not in result.png.read_bytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_put_on_white_and_said(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (96, 80), (200, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 48, 80))
    if mode == "PA":
        image.convert("P").save(tmp_path / "a.png", transparency=0)
        with Image.open(tmp_path / "a.png") as opened:
            assert opened.mode == "P"
    else:
        image.convert(mode).save(tmp_path / "a.png")
    result, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert "transparency was put on white" in result.notes
    assert mode == "PA" or clean.getpixel((10, 10)) == (255, 255, 255)


def test_an_opaque_alpha_channel_is_no_news(tmp_path: Path) -> None:
    Image.new("RGBA", (96, 80), (1, 2, 3, 255)).save(tmp_path / "a.png")
    result, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert result.notes == ()
    assert clean.getpixel((0, 0)) == (1, 2, 3)


def test_a_transparent_colour_of_an_rgb_png_becomes_white(tmp_path: Path) -> None:
    Image.new("RGB", (96, 80), (9, 9, 9)).save(tmp_path / "a.png", transparency=(9, 9, 9))
    _, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert clean.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_palette_and_grey_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (96, 80), "white").convert(mode).save(tmp_path / "a.png")
    _, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert clean.getpixel((5, 5)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_tones(tmp_path: Path) -> None:
    Image.frombytes("I;16", (96, 80), struct.pack("<H", 0x8000) * (96 * 80)).save(tmp_path / "a.png")
    result, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert clean.getpixel((0, 0)) in {(127, 127, 127), (128, 128, 128)}
    assert "16 bits per channel were reduced to 8" in result.notes


def test_16_bit_colour_is_reduced_and_said(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0) * 96
    header = struct.pack(">IIBBBBB", 96, 80, 16, 2, 0, 0, 0)
    raw = _png((b"IHDR", header), (b"IDAT", zlib.compress(row * 80)), (b"IEND", b""))
    (tmp_path / "a.png").write_bytes(raw)
    result, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert clean.getpixel((0, 0)) == (255, 128, 0)
    assert "16 bits per channel were reduced to 8" in result.notes


def test_cmyk_without_profile_becomes_rgb_and_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (96, 80), "red").convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    result, clean = _accept(tmp_path / "a.jpg", tmp_path / "out")
    red, green, _ = clean.getpixel((5, 5))  # type: ignore[misc]
    assert red > 200
    assert green < 60
    assert result.notes == ("CMYK was turned into RGB without a colour profile",)


def test_a_colour_profile_is_applied_before_it_is_stripped(tmp_path: Path) -> None:
    # sRGB with red and green swapped, under another name: every viewer shows green where the file says red.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")
    profile = profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    Image.new("RGB", (96, 80), (250, 10, 10)).save(tmp_path / "a.png", icc_profile=profile)
    result, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    red, green, _ = clean.getpixel((0, 0))  # type: ignore[misc]
    assert green > 240 > red
    assert result.notes == ()


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (96, 80), (100, 150, 200)).save(tmp_path / "a.png", icc_profile=profile)
    result, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert clean.getpixel((0, 0)) == (100, 150, 200)
    assert result.notes == ()


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_broken_or_unfitting_profile_is_ignored_and_said(tmp_path: Path, mode: str) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb if mode == "CMYK" else b"no profile at all"
    Image.new(mode, (96, 80)).save(tmp_path / "a.jpg", icc_profile=profile)
    result, _ = _accept(tmp_path / "a.jpg", tmp_path / "out")
    if mode == "RGB":
        assert "its colour profile is damaged or does not fit and was ignored" in result.notes


def test_an_animated_png_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (96, 80), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    result, clean = _accept(tmp_path / "a.png", tmp_path / "out")
    assert clean.getpixel((0, 0)) == (255, 0, 0)
    assert result.notes == ("it is animated: its first frame is used",)


def test_a_phone_jpeg_of_several_pictures_gives_its_first(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (96, 80), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    result, clean = _accept(tmp_path / "a.jpg", tmp_path / "out")
    assert clean.getpixel((0, 0))[0] > 250  # type: ignore[index]
    assert result.notes == ("its first picture is used",)


def test_a_thumbnail_has_at_most_256_pixels_a_side(tmp_path: Path) -> None:
    result, _ = _accept(draw(tmp_path / "a.png", 1, (900, 300)), tmp_path / "out")
    with Image.open(result.thumbnail) as small:  # type: ignore[arg-type]
        assert small.format == "WEBP"
        assert small.size == (256, 85)


def test_a_text_file_named_png_is_refused_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("This is no picture. " * 50)
    assert _refuse(tmp_path / "a.png") == "It is text, not a JPEG or PNG. Save it as JPEG or PNG."


@pytest.mark.parametrize(
    ("form", "word"), [("WEBP", "WebP"), ("GIF", "GIF"), ("BMP", "BMP"), ("TIFF", "TIFF")]
)
def test_other_formats_are_refused_by_their_name(tmp_path: Path, form: str, word: str) -> None:
    Image.new("RGB", (96, 80)).save(tmp_path / "a.jpg", form)
    assert f"a {word} picture" in _refuse(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"PK\3\4" + b"\0" * 60, "zip"),
        (b"\x8b\x11\x7f" + b"\x81\x82" * 40, "something else"),
        (b"\x89PNG\r\n\x1a\n", "cut off or damaged"),
        (b"\xff\xd8\xff\xe0\0", "cut off or damaged"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(raw)
    assert said in _refuse(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_refused_as_cut_off(tmp_path: Path, name: str, share: float) -> None:
    raw = draw(tmp_path / name, 1, (300, 200)).read_bytes()
    (tmp_path / name).write_bytes(raw[: int(len(raw) * share)])
    assert "cut off" in _refuse(tmp_path / name)


def test_a_png_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    raw = bytearray(draw(tmp_path / "a.png", 1, (300, 200)).read_bytes())
    raw[len(raw) // 2] ^= 0x10
    (tmp_path / "a.png").write_bytes(raw)
    assert "damaged" in _refuse(tmp_path / "a.png")


def test_a_bomb_of_900_megapixels_in_100_kb_is_refused_from_its_header(tmp_path: Path) -> None:
    rows = zlib.compress(b"\0" * (30_000 // 8 + 1) * 30_000, 9)
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    raw = _png((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    assert len(raw) < 120_000
    (tmp_path / "a.png").write_bytes(raw)
    assert "30000×30000 = 900 megapixels; at most 64" in _refuse(tmp_path / "a.png")


def test_a_file_of_60_mb_is_refused_unread_and_one_byte_less_than_the_limit_is_not(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(60_000_000)
    assert "60.0 MB; a picture must be under 50 MB" in _refuse(tmp_path / "a.jpg")
    os.truncate(tmp_path / "a.jpg", 50_000_000)
    assert "must be under 50 MB" in _refuse(tmp_path / "a.jpg")
    raw = draw(tmp_path / "b.png", 1).read_bytes()
    (tmp_path / "b.png").write_bytes(raw + b"\0" * (50_000_000 - 1 - len(raw)))
    assert isinstance(inspect(tmp_path / "b.png", "b.png"), Accepted)


def test_a_short_side_below_64_pixels_is_refused(tmp_path: Path) -> None:
    assert "too small: 63×300" in _refuse(draw(tmp_path / "a.png", 1, (63, 300)))
    assert isinstance(inspect(draw(tmp_path / "b.png", 1, (64, 300)), "b.png"), Accepted)


def test_a_missing_or_unreadable_file_is_refused_and_no_crash(tmp_path: Path) -> None:
    assert "cannot be read" in _refuse(tmp_path / "none.png")
    (tmp_path / "d.png").mkdir()
    assert "cannot be read" in _refuse(tmp_path / "d.png")


def test_results_come_in_order_and_one_bad_file_costs_no_other(tmp_path: Path) -> None:
    sources = [(draw(tmp_path / f"{number}.png", number), f"{number}.png") for number in range(9)]
    sources[4][0].write_text("no picture")
    results = list(inspect_all(sources))
    assert [result.name for result in results] == [name for _, name in sources]
    assert [isinstance(result, Accepted) for result in results] == [number != 4 for number in range(9)]


def test_a_child_that_dies_costs_only_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "_MOST_CHILDREN", 1)
    monkeypatch.setattr(inspecting, "WALL_S", 0.0)
    file = draw(tmp_path / "a.png", 1)
    results = inspect_all([(file, "a.png"), (file, "b.png")])
    first = next(results)
    assert isinstance(first, Refused)
    assert "more time or memory" in first.reason
    monkeypatch.setattr(inspecting, "WALL_S", 60.0)
    # The second may have been begun under the old clock; the third is after it in any case.
    list(results)
    assert isinstance(inspect(file, "c.png"), Accepted)


def test_the_child_has_limits_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    child = inspecting._launch()
    try:
        limits = Path(f"/proc/{child.pid}/limits")
        if not limits.exists():
            pytest.skip("this system shows no limits")
        # An answer proves that the child has set its limits.
        assert child.stdin is not None
        assert child.stdout is not None
        asked = (
            f'{{"path": "{tmp_path}/none", "max_pixels": 1, "min_side_px": 1, "out": null, "stem": "a"}}\n'
        )
        child.stdin.write(asked)
        child.stdin.flush()
        assert "reason" in child.stdout.readline()
        lines = {line[:26].strip(): line[26:].split() for line in limits.read_text().splitlines()}
        assert lines["Max address space"][0] == str(decode.MEMORY_BYTES)
        assert int(lines["Max cpu time"][0]) <= decode.CPU_S + 5
        assert b"hush" not in Path(f"/proc/{child.pid}/environ").read_bytes()
    finally:
        child.kill()
        child.communicate()


def test_memory_beyond_the_limit_is_a_reason_and_no_crash(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 64 megapixels of RGBA need more than this address space.
    monkeypatch.setattr(inspecting, "_launch", _launch_with_256_mb)
    header = struct.pack(">IIBBBBB", 8_000, 8_000, 8, 6, 0, 0, 0)
    raw = _png(
        (b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * (8_000 * 4 + 1) * 8_000, 1)), (b"IEND", b"")
    )
    (tmp_path / "a.png").write_bytes(raw)
    assert "memory" in _refuse(tmp_path / "a.png")


def test_a_full_disk_is_the_disks_fault_and_not_the_pictures(tmp_path: Path) -> None:
    """On a real file system of 256 kB, where this machine lets us mount one."""
    noise = Image.frombytes("RGB", (600, 600), os.urandom(600 * 600 * 3))
    noise.save(tmp_path / "a.jpg", quality=90)
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k tmpfs '{disk}' 2>/dev/null") != 0:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(StorageError, match="No space left on device"):
            inspect(tmp_path / "a.jpg", "a.jpg", out=disk)
    finally:
        os.system(f"umount '{disk}'")


def _launch_with_256_mb():  # type: ignore[no-untyped-def]
    import subprocess
    import sys

    code = "from greenroom.studio import decode; decode.MEMORY_BYTES = 256 << 20; decode.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": str(Path(decode.__file__).parents[2])},
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("kia.png", "kia.png"),
        ("../../etc/passwd.png", "passwd.png"),
        ("..\\..\\win.png", "win.png"),
        ("/abs/olute.png", "olute.png"),
        ("a\0b\x1b.png", "ab.png"),
        ("🦊 Füchsin 狐.png", "🦊 Füchsin 狐.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("", "picture"),
        ("..", "picture"),
        ("   ", "picture"),
        ("\udcff.png", "?.png"),
    ],
)
def test_names_are_kept_for_showing_only(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_a_name_of_300_characters_keeps_its_ending() -> None:
    shown = display_name("x" * 300 + ".png")
    assert len(shown) == 255
    assert shown.endswith("….png")


@given(st.text(max_size=400))
def test_a_shown_name_is_never_a_path_and_always_storable(name: str) -> None:
    shown = display_name(name)
    assert 1 <= len(shown) <= 255
    assert not set(shown) & {"/", "\\", "\0", "\n"}
    shown.encode("utf-8")


def test_decoding_in_process_gives_what_the_child_gives(tmp_path: Path) -> None:
    file = draw(tmp_path / "a.png", 1)
    here = decode.answer(str(file), 10**6, 64, None, "x")
    there = inspect(file, "a.png")
    assert isinstance(there, Accepted)
    assert here["pixels_sha256"] == there.pixels_sha256
    expected = hashlib.sha256(b"96x80:" + Image.open(io.BytesIO(file.read_bytes())).convert("RGB").tobytes())
    assert here["pixels_sha256"] == expected.hexdigest()
