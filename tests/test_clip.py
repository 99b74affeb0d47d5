"""`visage edit CLIP`: frames, sound and alignment over time. What needs ffmpeg is skipped where there is none."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.faces.photos import face, photograph
from tests.serve_app.samples import make_bundle
from visage.editing.clip import find_eyes, smoothed
from visage.editing.film import frames, look
from visage.errors import UserError
from visage.faces.align import Detector
from visage.workflows.pictures import edit_photo

with_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
FRAMES, RATE = 30, 15


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


def ffmpeg(*arguments: str, stdin: bytes = b"") -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], input=stdin, check=True)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """film(name, *further arguments of ffmpeg): a face that goes slowly to the right, with a tone."""
    scene = Image.fromarray(photograph(face(1, "neutral"), side=300))
    moved = [
        np.asarray(scene.transform((256, 300), Image.Transform.AFFINE, (1, 0, 44 - n, 0, 1, 0))) for n in range(30)
    ]
    content = np.stack(moved).tobytes()
    folder = tmp_path_factory.mktemp("films")

    def make(name: str, *more: str) -> Path:
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "256x300", "-r", str(RATE), "-i", "-"]
        tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2"]
        ffmpeg(*raw, *tone, *(more or ("-c:v", "libx264", "-pix_fmt", "yuv420p")), str(folder / name), stdin=content)
        return folder / name

    return make


def streams(path: Path) -> dict[str, dict[str, Any]]:
    asked = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", str(path)]
    found = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    return {each["codec_type"]: each for each in found["streams"]} | {"format": found["format"]}


def edit(clip: Path, out: Path, bundle: Any, **more: Any) -> None:
    edit_photo(clip, "happy", out, 1.0, str(bundle.dir), more.pop("url", None), more.pop("view", "photo"),
               f"sqlite:///{clip.parent}/mlflow.db", **more)  # fmt: skip


@with_ffmpeg
@pytest.mark.slow
def test_a_clip_keeps_its_frames_and_its_sound(film: Callable[..., Path], tmp_path: Path, bundle: Any) -> None:
    clip, out = film("clip.mp4"), tmp_path / "out.mp4"
    edit(clip, out, bundle)
    before, after = streams(clip), streams(out)
    for key in ("width", "height", "nb_read_frames", "avg_frame_rate"):
        assert after["video"][key] == before["video"][key], key
    assert after["audio"]["codec_name"] == before["audio"]["codec_name"] == "aac"
    assert after["audio"]["nb_read_frames"] == before["audio"]["nb_read_frames"]
    assert "trained algorithmic media" in after["format"]["tags"]["comment"]
    changes = [np.abs(a.astype(int) - b) for a, b in zip(frames(look(out)), frames(look(clip)), strict=True)]
    assert len(changes) == FRAMES
    for change in changes:
        assert change[:30].mean() < 2  # the background is the clip's own, written once more
        assert change.max() > 30
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    edit(clip, tmp_path / "face.mkv", bundle, view="face")
    assert (streams(tmp_path / "face.mkv")["video"]["width"], look(tmp_path / "face.mkv").rate) == (32, RATE)


@with_ffmpeg
@pytest.mark.slow
def test_other_sound_and_none_and_turned_clips(film: Callable[..., Path], tmp_path: Path, bundle: Any) -> None:
    wide = ("-c:v", "libx264", "-c:a", "pcm_s16le", "-vf", "setsar=4/3")
    edit(film("pcm.mkv", *wide), tmp_path / "out.mp4", bundle)
    found = streams(tmp_path / "out.mp4")
    assert found["audio"]["codec_name"] == "aac"
    assert found["video"]["sample_aspect_ratio"] == "4:3"
    edit(film("mute.mp4", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p"), tmp_path / "mute.mp4", bundle)
    assert "audio" not in streams(tmp_path / "mute.mp4")
    lying = tmp_path / "turned.mp4"
    ffmpeg("-i", str(film("clip.mp4")), "-vf", "transpose=2", str(tmp_path / "side.mp4"))
    ffmpeg("-display_rotation:v:0", "-90", "-i", str(tmp_path / "side.mp4"), "-c", "copy", str(lying)) if (
        "display_rotation" in subprocess.run(["ffmpeg", "-h", "full"], capture_output=True, text=True).stdout
    ) else ffmpeg("-i", str(tmp_path / "side.mp4"), "-c", "copy", "-metadata:s:v:0", "rotate=90", str(lying))
    assert (look(lying).width, look(lying).height) == (256, 300)
    edit(lying, tmp_path / "upright.mp4", bundle)
    assert look(tmp_path / "upright.mp4").height == 300


@with_ffmpeg
@pytest.mark.slow
def test_smoothed_eyes_tremble_less_and_stay_with_the_face(film: Callable[..., Path]) -> None:
    eyes = find_eyes(look(film("clip.mp4")), Detector())
    assert eyes.shape == (FRAMES, 2, 2)
    calm = smoothed(eyes, RATE)
    assert np.abs(np.diff(calm, 2, axis=0)).mean() < 0.5 * np.abs(np.diff(eyes, 2, axis=0)).mean()
    assert np.abs(calm - eyes).max() < 1.5
    assert np.diff(calm[:, 0, 0]).mean() == pytest.approx(1, abs=0.1)  # a pixel a frame, to the right


def test_eyes_on_their_way_are_not_held_back_and_cuts_are_kept() -> None:
    path = np.arange(40.0)[:, None, None] * 2 + np.array([[0, 0], [40, 0]])[None]
    assert smoothed(path, 25) == pytest.approx(path)  # also at both ends
    cut = np.concatenate([path[:20], path[20:] + 300])
    assert smoothed(cut, 25) == pytest.approx(cut)
    gap = path.copy()
    gap[10:14] = np.nan
    assert smoothed(gap, 25) == pytest.approx(path)
    gap[10:30] = np.nan
    assert np.isnan(smoothed(gap, 25)[10:30]).all()
    assert not np.isnan(smoothed(gap, 25)[[9, 30]]).any()
    for short in range(1, 5):
        assert smoothed(path[:short], 25) == pytest.approx(path[:short])
    nothing = np.full((5, 2, 2), np.nan)
    assert np.isnan(smoothed(nothing, 25)).all()


@pytest.mark.slow
@with_ffmpeg
def test_what_is_no_clip_is_one_sentence(film: Callable[..., Path], tmp_path: Path, bundle: Any) -> None:
    clip = film("clip.mp4")
    for out, words in (("out.png", r"ends in \.mp4 or \.mkv"), ("none/out.mp4", "cannot")):
        with pytest.raises(UserError, match=words):
            edit(clip, tmp_path / out, bundle)
    with pytest.raises(UserError, match="is the clip itself"):
        edit(clip, clip, bundle)
    with pytest.raises(UserError, match="--url: is for photographs"):
        edit(clip, tmp_path / "out.mp4", bundle, url="http://127.0.0.1:9")
    with pytest.raises(UserError, match="--animation: is for photographs"):
        edit(clip, tmp_path / "out.mp4", bundle, animation=True)
    (tmp_path / "text.mp4").write_text("no clip")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.mp4").write_text(playlist)
    for name in ("text.mp4", "gone.mp4", "list.mp4"):
        with pytest.raises(UserError, match="no pictures that ffmpeg can read"):
            edit(tmp_path / name, tmp_path / "out.mp4", bundle)
    ffmpeg("-f", "lavfi", "-i", "color=c=gray:s=128x128:d=0.4:r=10", "-pix_fmt", "yuv420p", str(tmp_path / "grey.mp4"))
    with pytest.raises(UserError, match="no face was found"):
        edit(tmp_path / "grey.mp4", tmp_path / "out.mp4", bundle)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.slow
def test_without_ffmpeg_it_says_so(tmp_path: Path, bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"^ffprobe: is not on this machine; install ffmpeg"):
        edit(tmp_path / "clip.mp4", tmp_path / "out.mp4", bundle)
