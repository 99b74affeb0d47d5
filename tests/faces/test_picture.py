import contextlib
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visage.errors import UserError
from visage.faces.picture import TooManyPixels, encode_picture, read_picture, write_picture


def colours(width: int = 48, height: int = 32) -> np.ndarray:
    """Smooth colours that tell all eight orientations apart."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, np.full(x.shape, 90)], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def near(picture: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    assert picture.dtype == np.uint8
    assert picture.shape == expected.shape
    return bool(np.abs(picture.astype(float) - expected).mean() <= tolerance)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    assert (read_picture(encoded(Image.fromarray(colours()), kind)) == colours()).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats(kind: str) -> None:
    assert near(read_picture(encoded(Image.fromarray(colours()), kind, quality=95)), colours(), 3)


def test_grey_becomes_three_equal_channels() -> None:
    grey = colours()[..., 0]
    assert (read_picture(encoded(Image.fromarray(grey))) == grey[..., None].repeat(3, axis=2)).all()


def test_cmyk_jpeg() -> None:
    image = Image.fromarray(colours()).convert("CMYK")
    assert near(read_picture(encoded(image, "JPEG", quality=95)), colours(), 6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    deep = (colours()[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    expected = colours()[..., 0][..., None].repeat(3, axis=2)
    assert near(read_picture(encoded(Image.fromarray(deep), kind)), expected, 0.5)


@pytest.mark.parametrize("full", [1.0, 255.0, 65535.0])
def test_float_pictures_are_scaled_by_their_range(full: float) -> None:
    grey = colours()[..., 1]
    content = encoded(Image.fromarray((grey / 255 * full).astype(np.float32)), "TIFF")
    assert near(read_picture(content), grey[..., None].repeat(3, axis=2), 1)


def test_lab_colours() -> None:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(colours()), *profiles, outputMode="LAB")
    assert lab is not None
    assert near(read_picture(encoded(lab, "TIFF")), colours(), 4)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with a key", "palette with a key"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    base = np.full((20, 20, 3), 40, np.uint8)
    base[:, 10:] = 200
    image = Image.fromarray(base)
    options: dict[str, object] = {}
    if mode == "RGB with a key":
        options["transparency"] = (200, 200, 200)
    elif mode == "palette with a key":
        image = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
        options["transparency"] = image.getpixel((15, 5))
    else:
        alpha = np.full((20, 20), 255, np.uint8)
        alpha[:, 10:] = 0
        image.putalpha(Image.fromarray(alpha))
        image = image if mode == "RGBA" else image.convert(mode)
    picture = read_picture(encoded(image, **options))
    assert (picture[:, 11:] == 255).all()
    assert np.abs(picture[:, :9].astype(int) - 40).max() <= 4


def test_half_transparency_mixes_with_white() -> None:
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 128))
    assert np.abs(read_picture(encoded(image)).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    upright = Image.fromarray(colours())
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera held that way has stored
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (read_picture(encoded(stored, exif=exif)) == colours()).all()


def test_damaged_exif_does_not_stop_a_whole_picture() -> None:
    content = encoded(Image.fromarray(colours()), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")
    assert read_picture(content).shape == colours().shape


def test_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(np.full((20, 20, 3), level, np.uint8)) for level in (30, 220)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read_picture(content) == 30).all()


def bomb() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def truncated() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG")
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (bytes, "empty"),
        (lambda: b"Dear all,\nplease find attached\n" * 50, "no picture"),
        (truncated, "damaged"),
        (lambda: encoded(Image.fromarray(colours()))[:60], "damaged"),
        (lambda: encoded(Image.new("RGB", (1, 1))), "1 x 1"),
        (lambda: encoded(Image.new("RGB", (500, 8))), "500 x 8"),
        (bomb, "megapixels"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "no picture"),
    ],
)
def test_hostile_files_are_refused_in_one_sentence(make: Callable[[], bytes], said: str, tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(make())
    with pytest.raises(UserError) as caught:
        read_picture(path)
    message = str(caught.value)
    assert said in message
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message


def test_limit_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("RGB", (1200, 1000)))
    assert read_picture(content, megapixels=1.2).shape == (1000, 1200, 3)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("the pixels were decoded"))
    with pytest.raises(TooManyPixels, match="1 megapixels"):
        read_picture(content, megapixels=1)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(UserError, match="cannot be read"):
        read_picture(tmp_path)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0"]))
def test_no_bytes_end_in_anything_but_a_user_error(content: bytes, start: bytes) -> None:
    with contextlib.suppress(UserError):
        assert read_picture(start + content).dtype == np.uint8


@given(st.integers(0, 10**6), st.integers(16, 40), st.integers(16, 40))
def test_write_then_read_is_the_same_picture(seed: int, width: int, height: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert (read_picture(encode_picture(picture)) == picture).all()


def test_a_written_png_replaces_the_file_whole_and_carries_xmp(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    write_picture(path, colours(), xmp="<x:xmpmeta/>")
    assert path.read_bytes() == encode_picture(colours(), xmp="<x:xmpmeta/>")
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as image:
        assert "<x:xmpmeta/>" in str(image.info)
    with pytest.raises(UserError, match="cannot be written"):
        write_picture(tmp_path / "none" / "out.png", colours())
    (tmp_path / "file").touch()
    for refused in (tmp_path / "file" / "out.png", tmp_path / ("x" * 300 + ".png")):
        with pytest.raises(UserError, match="cannot be written"):
            write_picture(refused, colours())


def scanned(content: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan comes again so many times: 14 bytes each, for a pass over all pixels."""
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + content[last:end] * times + content[end:]


def test_a_jpeg_of_very_many_scans_or_segments_is_refused_before_it_is_decoded() -> None:
    flat = Image.new("L", (64, 64), 128)
    progressive = encoded(flat, "JPEG", progressive=True)
    assert read_picture(scanned(progressive, 80)).shape == (64, 64, 3)
    with pytest.raises(UserError, match="has more than 100 scans or 2000 segments"):
        read_picture(scanned(progressive, 120))
    exif = b"\xff\xe1\0\x0aExif\0\0II"
    with pytest.raises(UserError, match="has more than 100 scans or 2000 segments"):
        read_picture(progressive[:2] + exif * 3_000 + progressive[2:])
    assert read_picture(progressive[:2] + exif * 500 + progressive[2:]).shape == (64, 64, 3)
    looks_like_scans = {"comment": b"\xff\xda" * 200 + b"\xff\xd9", "icc_profile": b"\xff\xda" * 60_000}
    assert read_picture(encoded(flat, "JPEG", **looks_like_scans)).shape == (64, 64, 3)


@pytest.mark.parametrize("deep", [np.float32, np.int32])
def test_deep_pixels_take_little_more_memory_than_the_picture(deep: type) -> None:
    content = encoded(Image.fromarray(np.full((1500, 1500), 0.5, deep)), "TIFF", compression="tiff_adobe_deflate")
    assert peak_of(content) < 12 * 1500 * 1500


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_tags_that_all_name_the_same_bytes_are_not_read_again_and_again(kind: str) -> None:
    """A TIFF's, or those of the EXIF in another picture: 400 times 100 kB in 105 kB."""
    count, size = 400, 100_000
    place, own = 8, [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    data = place + 2 + 12 * (len(own) + 3 + count) + 4
    own += [(273, 4, 1, data), (278, 3, 1, 64), (279, 4, 1, 64 * 64)]
    tags = own + [(40_000 + k, 7, size, data) for k in range(count)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    tiff = b"II*\0" + struct.pack("<IH", place, len(tags)) + entries + bytes(4 + size)
    exif = b"Exif\0\0" + tiff
    content = tiff if kind == "TIFF" else encoded(Image.new("L", (64, 64)).convert("RGB"), kind, exif=exif)
    assert peak_of(content) < 2_000_000


def peak_of(content: bytes) -> int:
    """The most bytes that Python and numpy hold while a picture is read."""
    tracemalloc.start()
    try:
        read_picture(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
