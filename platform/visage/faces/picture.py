"""Pictures in and out: whatever a file holds becomes uint8 H,W,3 RGB, and hostile files are refused undecoded."""

import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from visage.errors import UserError, one_line
from visage.infra.files import write_whole

MEGAPIXELS = 50
SHORTEST_SIDE = 16
LARGEST_FILE = 500_000_000  # bytes; MEGAPIXELS of the deepest pixels, uncompressed, are less
# Formats whose decoders read pixels only. Others start programs (EPS) or open further files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
# What can be written: the format and its options by a name's ending. PNG's level 1 costs a third of the time of the
# default for files a tenth larger.
ENDINGS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 1}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
}
# A progressive JPEG has some ten scans, each a pass over all pixels for which 14 bytes are enough (a limit of libtiff);
# and a segment may hold 64 kB, so that many are small ones, which PIL puts together in quadratic time.
MOST_SCANS, MOST_SEGMENTS = 100, 2_000
MARKER, SCAN, END = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]"), 0xDA, 0xD9  # of those with a length, and the end's
NO_TEXTS: Mapping[str, str] = MappingProxyType({})
BAND = 256  # rows whose deep pixels are made shallow at once
FRAME_MS, LAST_FRAME_MS = 60, 1200  # of an animation
# What counts as a picture in a folder. Those of the second row cannot be read, and are named instead of passed over.
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
                      ".heic", ".heif", ".avif", ".jp2"))  # fmt: skip
# What PIL warns of on stderr (many pixels, corrupt EXIF) is refused here, or does not matter.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")


class TooManyPixels(UserError):
    """The picture's header announces more pixels than the limit."""


@dataclass(frozen=True)
class Announced:
    """What a picture's header says. width, height: in pixels, before it is turned upright. megapixels: that are to be
    decoded, where the sides are `times` shorter."""

    width: int
    height: int
    megapixels: float
    times: float


def announced(
    data: bytes | Path, *, megapixels: float = MEGAPIXELS, name: str | None = None, enough: int | None = None
) -> Announced:
    """What `read_picture` would decode, by the header alone. Raises as it does."""
    name = name or name_of(data)
    with opened(content_of(data, name), megapixels, name) as image:
        width, height = image.size
        _prepare(image, name, enough)
        return Announced(width, height, image.width * image.height / 1e6, max(width, height) / max(image.size))


def read_picture(
    data: bytes | Path, *, megapixels: float = MEGAPIXELS, name: str | None = None, enough: int | None = None
) -> np.ndarray:
    """The picture as uint8 H,W,3 RGB, upright by its EXIF orientation, transparency laid over white.

    Grey, CMYK, palette, 16-bit and float pictures are converted; of an animation the first frame is taken. `name` is
    what errors call it (default: the path). enough: pixels of the longer side; a JPEG is decoded at a half, a quarter
    or an eighth of its size where that leaves so many. Raises UserError for anything that is no usable picture and
    TooManyPixels over the limit, both by the header alone, and UserError when the pixels turn out truncated.
    """
    name = name or name_of(data)
    with opened(content_of(data, name), megapixels, name) as image:
        _prepare(image, name, enough)
        image.load()
        return np.array(_to_rgb(_upright(image)))


def name_of(data: bytes | Path) -> str:
    """What errors call a picture."""
    return str(data) if isinstance(data, Path) else "the picture"


def _prepare(image: Image.Image, name: str, enough: int | None) -> None:
    """Refuse a picture that is too small, and have a JPEG decoded smaller; its pixels are not decoded yet."""
    width, height = image.size
    if min(width, height) < SHORTEST_SIDE:
        raise UserError(f"{name}: is {width} x {height} pixels; give at least {SHORTEST_SIDE} x {SHORTEST_SIDE}.")
    if enough and enough < max(width, height):
        share = max(enough / max(width, height), SHORTEST_SIDE / min(width, height))
        image.draft(None, (math.ceil(width * share), math.ceil(height * share)))  # nothing to others than JPEG


def content_of(data: bytes | Path, name: str) -> bytes:
    """The bytes of a file that may be a picture. Raises UserError."""
    try:
        if isinstance(data, Path):
            if data.exists() and not data.is_file():  # a device or pipe may never end
                raise UserError(f"{name}: cannot be read (it is no regular file); give a readable picture.")
            if (size := data.stat().st_size) > LARGEST_FILE:
                raise UserError(f"{name}: has {size // 10**6} megabytes; give at most {LARGEST_FILE // 10**6}.")
        content = data.read_bytes() if isinstance(data, Path) else data
    except FileNotFoundError:
        raise UserError(f"{name}: there is no such file; give the path of a picture.") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); give a readable picture.") from None
    if not content:
        raise UserError(f"{name}: is empty (0 bytes); give a whole picture file.")
    return content


@contextmanager
def opened(content: bytes, megapixels: float, name: str) -> Iterator[Image.Image]:
    """The picture in `content`, its pixels not decoded yet. What fails in the block is a damaged picture too.

    Raises UserError and TooManyPixels as `read_picture`.
    """
    too_many = TooManyPixels(f"{name}: has more than {megapixels:g} megapixels; make it smaller first.")
    try:
        if content.startswith(b"\xff\xd8"):
            _check_segments(content, name)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > megapixels * 1e6:
                raise too_many
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise too_many from None
    except UnidentifiedImageError:
        raise UserError(f"{name}: is no picture that can be read; give a JPEG, PNG, WebP, TIFF or BMP.") from None
    except Exception as error:  # decoders raise anything on hostile headers and pixels
        raise UserError(f"{name}: is a damaged picture ({one_line(error)}); give a whole one.") from None


def _check_segments(content: bytes, name: str) -> None:
    """Refuse a JPEG whose first picture has more scans or segments, as libjpeg finds them, than a camera writes."""
    scans, segments, at = 0, 0, 2
    while (found := MARKER.search(content, at)) and (kind := content[found.end() - 1]) != END:
        scans, segments = scans + (kind == SCAN), segments + 1
        if scans > MOST_SCANS or segments > MOST_SEGMENTS:
            raise UserError(
                f"{name}: has more than {MOST_SCANS} scans or {MOST_SEGMENTS} segments; save it as an ordinary JPEG."
            )
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2])


def encode_picture(
    picture: np.ndarray, ending: str = ".png", *, xmp: str | None = None, texts: Mapping[str, str] = NO_TEXTS
) -> bytes:
    """uint8 H,W,3 RGB as a file of the kind that a name's ending (of ENDINGS) says, with an XMP packet if given; a PNG
    with texts by keyword."""
    kind, options = ENDINGS[ending]
    options = dict(options)
    if kind == "PNG":
        options["pnginfo"] = info = PngImagePlugin.PngInfo()
        if xmp is not None:
            info.add_itxt("XML:com.adobe.xmp", xmp)
        for keyword, text in texts.items():
            info.add_text(keyword, text)
    elif xmp is not None:
        options["xmp"] = xmp.encode()
    buffer = io.BytesIO()
    Image.fromarray(picture, "RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def encode_animation(pictures: Iterable[np.ndarray], *, xmp: str) -> bytes:
    """uint8 H,W,3 RGB pictures as an animated WebP that stays at its last picture for a moment and begins again."""
    first, *others = [Image.fromarray(picture, "RGB") for picture in pictures]
    duration = [FRAME_MS] * len(others) + [LAST_FRAME_MS]
    buffer = io.BytesIO()
    options = {"append_images": others, "duration": duration, "loop": 0, "quality": 90, "method": 2}
    first.save(buffer, "WEBP", save_all=True, xmp=xmp.encode(), **options)
    return buffer.getvalue()


def check_ending(path: Path) -> None:
    """Raise UserError when a path names no picture that can be written."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: ends in {path.suffix or 'nothing'}; give a name that ends in .png, .jpg or .webp.")


def check_animation(out: Path) -> None:
    """Raise UserError for a path that names no animation."""
    if out.suffix.lower() != ".webp":
        raise UserError(f"{out}: an animation is a WebP file; give a name that ends in .webp.")


def write_picture(path: Path, picture: np.ndarray, *, xmp: str | None = None) -> None:
    """Write uint8 H,W,3 RGB as PNG, JPEG or WebP by the path's ending; nothing half-written stays. Raises UserError."""
    check_ending(path)
    write_whole(path, encode_picture(picture, path.suffix.lower(), xmp=xmp))


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # damaged EXIF says nothing about the orientation; the pixels are whole
        ImageOps.exif_transpose(image, in_place=True)  # a copy of a large picture costs as much as the picture
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB, without PIL's clipping of deep pixels at 255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image, np.float32) / 257 + 0.5).astype(np.uint8), "L")
    elif image.mode in ("I", "F"):
        image = _eight_bits(image)
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="RGB") or image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Whole numbers or floats as grey, the full scale read off the largest value: 1, 255, 65535 or itself."""
    width, height = image.size
    bands = [(0, top, width, min(top + BAND, height)) for top in range(0, height, BAND)]

    def values(band: tuple[int, int, int, int]) -> np.ndarray:
        return np.nan_to_num(np.asarray(image.crop(band), np.float64), posinf=0, neginf=0)

    largest = max(float(values(band).max()) for band in bands)
    scale = next((full for full in (1.0, 255.0, 65535.0) if largest <= full), largest)
    grey = np.empty((height, width), np.uint8)
    for band in bands:
        grey[band[1] : band[3]] = np.clip(values(band) / scale, 0, 1) * 255 + 0.5
    return Image.fromarray(grey, "L")
