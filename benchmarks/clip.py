"""How much a new face trembles in a clip: with eyes smoothed over time against frame by frame.

    python benchmarks/clip.py --photograph FILE --bundle BUNDLE

A photograph drifts slowly, grows and turns a little, with noise of its own in each frame, 25 frames a second, and goes
through H.264. Flicker is the mean over the face of |D(t-1) - 2 D(t) + D(t+1)|, in levels of 255, where D is what the
edit changes: a change that moves evenly with the face has none. Both ways have the same frames and the same network.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import measured_with

RATE, SIDE = 25, 480


def made(photograph: Path, out: Path, count: int) -> Path:
    from PIL import Image

    from visage.faces.picture import read_picture

    picture = Image.fromarray(read_picture(photograph))
    random, drawn = np.random.default_rng(0), []
    scale = SIDE / min(picture.size)
    for frame in range(count):
        turn, zoom = 0.02 * np.sin(frame / 20), scale * (1 + 0.04 * np.sin(frame / 15))
        cosine, sine = np.cos(turn) / zoom, np.sin(turn) / zoom
        x, y = picture.width / 2 - 0.25 * frame, picture.height / 2 + 4 * np.sin(frame / 12)
        affine = (cosine, sine, x - (cosine + sine) * SIDE / 2, -sine, cosine, y - (cosine - sine) * SIDE / 2)
        pixels = np.asarray(picture.transform((SIDE, SIDE), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC))
        noisy = pixels + random.normal(0, 3, pixels.shape)
        drawn.append(np.clip(noisy + 0.5, 0, 255).astype(np.uint8).tobytes())
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}", "-r", str(RATE)]
    command += ["-i", "-", "-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", str(out)]
    subprocess.run(command, input=b"".join(drawn), check=True)
    return out


def flicker(frames: Iterable[np.ndarray], pictures: Iterable[np.ndarray]) -> float:
    changes = np.stack([b.astype(np.float32) - a for a, b in zip(frames, pictures, strict=True)])
    face = np.abs(changes).max(axis=(0, 3)) > 0
    return float(np.abs(np.diff(changes, 2, axis=0))[:, face].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photograph", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=75)
    options = parser.parse_args()

    from visage.editing.clip import edited, find_eyes, smoothed
    from visage.editing.expression import to_expression
    from visage.editing.film import frames, look
    from visage.faces.align import Detector
    from visage.methods.requests import EXPRESSION
    from visage.registry.bundle import read_bundle

    with tempfile.TemporaryDirectory() as scratch:
        bundle = read_bundle(options.bundle)
        film = look(made(options.photograph, Path(scratch, "clip.mp4"), options.frames))
        change, editor = to_expression(bundle.card.expressions, "happy", 1.0, False), bundle.editor(EXPRESSION)
        raw = find_eyes(film, Detector())
        result: dict[str, Any] = {"frames": len(raw)}
        for name, eyes in (("frame by frame", raw), ("smoothed", smoothed(raw, RATE))):
            pictures = edited(frames(film), eyes, editor, change, "photo")
            trembling = float(np.abs(np.diff(eyes, 2, axis=0)).mean())
            result[name] = {"flicker": round(flicker(frames(film), pictures), 3), "eyes_px": round(trembling, 3)}
    result["ratio"] = round(result["smoothed"]["flicker"] / result["frame by frame"]["flicker"], 2)
    print(json.dumps(result | measured_with("torch"), indent=1))


if __name__ == "__main__":
    main()
