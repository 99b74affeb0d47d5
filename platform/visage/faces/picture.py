"""Pictures in and out: whatever a file holds becomes uint8 H,W,3 RGB, and hostile files are refused undecoded."""

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from visage.errors import UserError, one_line

MEGAPIXELS = 50
SHORTEST_SIDE = 16
# Formats whose decoders read pixels only. Others start programs (EPS) or open further files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
# What counts as a picture in a folder. Those of the second row cannot be read, and are named instead of passed over.
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
                      ".heic", ".heif", ".avif", ".jp2"))  # fmt: skip
# What PIL warns of on stderr (many pixels, corrupt EXIF) is refused here, or does not matter.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")


class TooManyPixels(UserError):
    """The picture's header announces more pixels than the limit."""


def read_picture(data: bytes | Path, *, megapixels: float = MEGAPIXELS, name: str | None = None) -> np.ndarray:
    """The picture as uint8 H,W,3 RGB, upright by its EXIF orientation, transparency laid over white.

    Grey, CMYK, palette, 16-bit and float pictures are converted; of an animation the first frame is taken. `name` is
    what errors call it (default: the path). Raises UserError for anything that is no usable picture and TooManyPixels
    over the limit, both by the header alone, and UserError when the pixels turn out truncated.
    """
    name = name or (str(data) if isinstance(data, Path) else "the picture")
    try:
        content = data.read_bytes() if isinstance(data, Path) else data
    except FileNotFoundError:
        raise UserError(f"{name}: there is no such file; give the path of a picture.") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); give a readable picture.") from None
    if not content:
        raise UserError(f"{name}: is empty (0 bytes); give a whole picture file.")
    too_many = TooManyPixels(f"{name}: has more than {megapixels:g} megapixels; make it smaller first.")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise too_many from None
    except UnidentifiedImageError:
        raise UserError(f"{name}: is no picture that can be read; give a JPEG, PNG, WebP, TIFF or BMP.") from None
    except Exception as error:  # decoders raise anything on a hostile header
        raise UserError(f"{name}: is a damaged picture ({one_line(error)}); give a whole one.") from None
    with image:
        width, height = image.size
        if width * height > megapixels * 1e6:
            raise too_many
        if min(width, height) < SHORTEST_SIDE:
            raise UserError(f"{name}: is {width} x {height} pixels; give at least {SHORTEST_SIDE} x {SHORTEST_SIDE}.")
        try:
            image.load()
            return np.array(_to_rgb(_upright(image)))
        except Exception as error:  # as above, for hostile pixels
            raise UserError(f"{name}: is a damaged picture ({one_line(error)}); give a whole one.") from None


def write_png(path: Path | None, picture: np.ndarray, *, xmp: str | None = None) -> bytes:
    """Encode uint8 H,W,3 RGB as PNG, write it to `path` if there is one, and return the bytes.

    `xmp` is an XMP packet to carry along. Raises UserError when the path cannot be written; nothing half-written stays.
    """
    info = PngImagePlugin.PngInfo()
    if xmp is not None:
        info.add_itxt("XML:com.adobe.xmp", xmp)
    buffer = io.BytesIO()
    # Level 1 costs a third of the time of the default for files a tenth larger.
    Image.fromarray(picture, "RGB").save(buffer, "PNG", pnginfo=info, compress_level=1)
    content = buffer.getvalue()
    if path is not None:
        write_whole(path, content)
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it, so that nothing half-written stays. Raises UserError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another path or make room.") from None
    finally:
        with suppress(OSError):  # of a folder that is none, or a name that is too long
            partial.unlink(missing_ok=True)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the orientation; the pixels are whole
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB, without PIL's clipping of deep pixels at 255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image, np.float32) / 257 + 0.5).astype(np.uint8), "L")
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_eight_bits(np.asarray(image, np.float64)), "L")
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="RGB") or image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Whole numbers or floats as uint8, the full scale read off the largest value: 1, 255, 65535 or itself."""
    values = np.nan_to_num(values, posinf=0, neginf=0)
    largest = float(values.max())
    scale = next((full for full in (1.0, 255.0, 65535.0) if largest <= full), largest)
    return (np.clip(values / scale, 0, 1) * 255 + 0.5).astype(np.uint8)
