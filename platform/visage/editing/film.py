"""Clips in and out, by the user's own ffmpeg: frames as uint8 H,W,3 RGB at a constant rate, and the sound as it is."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from visage.errors import NotWritten, UserError, one_line
from visage.faces.picture import MEGAPIXELS

# What counts as a clip, by its name, and what can be written: both hold any sound that is copied here.
CLIPS, WRITABLE = frozenset((".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")), (".mp4", ".mkv")
COPIED = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")  # sound that both take; other is made aac
# A playlist, which may have any ending, is to open nothing from elsewhere.
QUIETLY = ["-v", "error", "-protocol_whitelist", "file,pipe"]


@dataclass(frozen=True)
class Film:
    """A clip by its header. rate: frames a second. seconds: its length, 0 where the header does not say. sound: the
    codec of each track. pixel: how much wider than high one is shown, as ffmpeg writes it."""

    path: Path
    width: int
    height: int
    rate: Fraction
    seconds: float
    sound: tuple[str, ...]
    pixel: str


def look(path: Path) -> Film:
    """What a clip's header says. Raises UserError for one that cannot be read, and where ffmpeg is missing."""
    asked = ["-show_entries", "stream:stream_side_data=rotation:stream_tags=rotate:format=duration", "-of", "json"]
    try:
        done = subprocess.run([_program("ffprobe"), *QUIETLY, *asked, f"file:{path}"], capture_output=True, text=True)
        found = json.loads(done.stdout or "{}")
        streams = found.get("streams", [])
        picture = next(each for each in streams if each.get("codec_type") == "video")
        width, height, rate = int(picture["width"]), int(picture["height"]), Fraction(picture["avg_frame_rate"])
        if not (done.returncode == 0 and 0 < rate <= 240):
            raise ValueError
    except (ValueError, KeyError, StopIteration, ZeroDivisionError):
        raise UserError(f"{path}: holds no pictures that ffmpeg can read; give a whole clip.") from None
    if width * height > MEGAPIXELS * 1e6:
        raise UserError(f"{path}: has more than {MEGAPIXELS} megapixels; make it smaller first.")
    turns = [*picture.get("side_data_list", []), {"rotation": picture.get("tags", {}).get("rotate", 0)}]
    turned = any(int(turn.get("rotation", 0)) % 180 for turn in turns)
    if turned:  # which ffmpeg undoes
        width, height = height, width
    sound = tuple(each.get("codec_name", "") for each in streams if each.get("codec_type") == "audio")
    seconds = float(found.get("format", {}).get("duration", 0))
    across, _, up = str(picture.get("sample_aspect_ratio", "1:1")).partition(":")
    if "0" in (across, up) or not up:
        across = up = "1"  # unknown
    return Film(path, width, height, rate, seconds, sound, f"{up}/{across}" if turned else f"{across}/{up}")


def frames(film: Film) -> Iterator[np.ndarray]:
    """The frames of a clip, upright. Raises UserError where it breaks off."""
    size = film.width * film.height * 3
    command = [_program("ffmpeg"), *QUIETLY, "-nostdin", "-i", f"file:{film.path}", "-map", "0:v:0"]
    command += ["-r", str(film.rate), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
        assert process.stdout
        try:
            while len(content := process.stdout.read(size)) == size:
                yield np.frombuffer(content, np.uint8).reshape(film.height, film.width, 3)
            if process.wait():
                raise UserError(f"{film.path}: breaks off ({_told(said)}); give a whole clip.")
        finally:
            process.kill()


def write(out: Path, pictures: Iterable[np.ndarray], film: Film, note: str) -> None:
    """Write frames as H.264 with the sound of a film, whole or not at all. note: what the file is to say of itself.

    Raises UserError for a name of no clip, and NotWritten where the disk or ffmpeg refuses.
    """
    check_clip(out)
    part = out.with_name(f".{out.stem}.partial{out.suffix}")
    process: subprocess.Popen[bytes] | None = None
    with tempfile.TemporaryFile() as said:
        try:
            for picture in pictures:
                if process is None:
                    process = _writer(part, picture, film, note, said)
                assert process.stdin
                process.stdin.write(np.ascontiguousarray(picture).data)
            if process is None:
                raise UserError(f"{film.path}: holds no frame; give a whole clip.")
            process.communicate()
            if process.returncode:
                raise NotWritten(f"{out}: ffmpeg cannot write it ({_told(said)}); give another path or make room.")
            part.replace(out)
        except OSError as error:  # ffmpeg has ended, or never began
            reason = _told(said) if process else error.strerror
            raise NotWritten(f"{out}: cannot be written ({reason}); give another path or make room.") from None
        finally:
            if process:
                process.kill()
                process.wait()
                with suppress(OSError):
                    process.stdin.close()  # type: ignore[union-attr]
            with suppress(OSError):
                part.unlink(missing_ok=True)


def check_clip(out: Path) -> None:
    """Raise UserError for a path that names no clip that can be written."""
    if out.suffix.lower() not in WRITABLE:
        raise UserError(f"--out {out}: the photograph is a clip; give a name that ends in {' or '.join(WRITABLE)}.")


def _writer(part: Path, first: np.ndarray, film: Film, note: str, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    height, width = first.shape[:2]
    command = [_program("ffmpeg"), *QUIETLY, "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(film.rate), "-i", "-", "-i", f"file:{film.path}", "-map", "0:v:0", "-map", "1:a?"]
    sound = "copy" if set(film.sound) <= set(COPIED) else "aac"
    command += ["-c:a", sound, "-map_metadata", "1", "-metadata", f"comment={note}"]
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # H.264 takes no odd side
    shown = film.pixel if (width, height) == (film.width, film.height) else "1/1"
    command += ["-vf", f"{even},setsar={shown}", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", f"file:{part}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UserError(f"{name}: is not on this machine; install ffmpeg, which reads and writes clips.")
    return found


def _told(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return one_line(Exception(lines[-1] if lines else "no word of why"))
