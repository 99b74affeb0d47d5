from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.faces.photos import face, photograph
from visage.errors import UserError
from visage.faces.align import EYES, Detector, Found, align, inner_face_mask, one_face, paste_back
from visage.faces.picture import read_picture

sizes = st.sampled_from([32, 64, 128])


def scene(width: int, height: int, seed: int) -> np.ndarray:
    """A smooth random picture, as photographs are at the scale of a pixel."""
    coarse = np.random.default_rng(seed).integers(40, 215, (height // 16, width // 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@st.composite
def eyes(draw: st.DrawFn) -> np.ndarray:
    """Two eyes somewhere in a picture of 320 x 240, 20 to 90 pixels apart, turned by up to 60 degrees."""
    distance, turn = draw(st.floats(20, 90)), draw(st.floats(-60, 60))
    middle = np.array([draw(st.floats(90, 230)), draw(st.floats(70, 130))])
    half = distance / 2 * np.array([np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))])
    return np.stack([middle - half, middle + half])


@given(eyes(), sizes)
def test_the_matrix_puts_the_eyes_on_their_places_and_keeps_shapes(landmarks: np.ndarray, size: int) -> None:
    _, matrix = align(scene(320, 240, 0), landmarks, size)
    there = landmarks @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(there, np.array(EYES) * size, atol=1e-6)
    linear = matrix[:, :2]
    np.testing.assert_allclose(linear.T @ linear, np.eye(2) * np.linalg.det(linear), atol=1e-9)


@given(eyes(), sizes)
@settings(max_examples=40, deadline=None)
def test_the_pixels_of_the_eyes_land_on_their_places(landmarks: np.ndarray, size: int) -> None:
    y, x = np.mgrid[0:240, 0:320] + 0.5
    distance = np.linalg.norm(landmarks[1] - landmarks[0])
    spots = [np.exp(-((x - ex) ** 2 + (y - ey) ** 2) / (0.1 * distance) ** 2) for ex, ey in landmarks]
    picture = (np.stack([*spots, np.zeros_like(x)], axis=2) * 255).astype(np.uint8)
    aligned, _ = align(picture, landmarks, size)
    centres = np.arange(size) + 0.5
    for channel, (ex, ey) in enumerate(EYES):
        weight = aligned[..., channel].astype(float)
        found = (weight * centres).sum() / weight.sum(), (weight * centres[:, None]).sum() / weight.sum()
        np.testing.assert_allclose(found, (ex * size, ey * size), atol=0.35)


def test_shrinking_does_not_alias() -> None:
    # One-pixel stripes: point sampling turns them into broad bands, an antialiased reduction into even grey.
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    aligned, _ = align(stripes, np.array([[210.0, 240.0], [391.0, 241.0]]), 64)
    assert np.ptp(aligned.astype(int)) < 30


def test_beyond_the_border_the_edge_goes_on() -> None:
    aligned, _ = align(np.full((100, 100, 3), 77, np.uint8), np.array([[5.0, 5.0], [60.0, 5.0]]), 64)
    assert (aligned == 77).all()


def test_eyes_on_one_another_are_refused() -> None:
    with pytest.raises(UserError, match="pixels apart"):
        align(scene(320, 240, 0), np.array([[50.0, 50.0], [51.0, 50.0]]), 64)


@pytest.mark.slow
@given(eyes(), sizes, st.integers(0, 100), st.booleans())
@settings(max_examples=40, deadline=None)
def test_an_unchanged_face_gives_the_photograph_back(
    landmarks: np.ndarray, size: int, seed: int, with_original: bool
) -> None:
    picture = scene(320, 240, seed)
    aligned, matrix = align(picture, landmarks, size)
    pasted = paste_back(picture, aligned, matrix, aligned if with_original else None)
    assert np.abs(pasted.astype(int) - picture).max() <= 1


@pytest.mark.slow
@given(eyes(), sizes, st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_outside_the_face_every_pixel_stays(landmarks: np.ndarray, size: int, seed: int) -> None:
    picture = scene(320, 240, seed)
    before = picture.copy()
    aligned, matrix = align(picture, landmarks, size)
    pasted = paste_back(picture, 255 - aligned, matrix, aligned)
    y, x = np.mgrid[0:240, 0:320] + 0.5
    u, v = np.einsum("ij,jhw->ihw", matrix / size, np.stack([x, y, np.ones_like(x)]))
    outside = (np.abs(u - 0.5) > 0.45) | (np.abs(v - 0.5) > 0.5)
    assert (pasted[outside] == picture[outside]).all()
    assert (picture == before).all()


@pytest.mark.slow
@given(eyes(), sizes, st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_changed_mouth_arrives_in_the_photograph(landmarks: np.ndarray, size: int, seed: int) -> None:
    picture = scene(320, 240, seed)
    aligned, matrix = align(picture, landmarks, size)
    changed = aligned.copy()
    mouth = slice(int(0.65 * size), int(0.85 * size)), slice(int(0.35 * size), int(0.65 * size))
    changed[mouth] = (255, 0, 0)
    pasted = paste_back(picture, changed, matrix, aligned)
    x, y = np.linalg.solve(matrix[:, :2], np.array([0.5, 0.75]) * size - matrix[:, 2])
    if 0 <= x < 320 and 0 <= y < 240:
        assert np.abs(pasted[int(y), int(x)].astype(int) - (255, 0, 0)).max() <= 25


def test_an_even_shift_of_colour_is_taken_out() -> None:
    picture = scene(320, 240, 1)
    aligned, matrix = align(picture, np.array([[130.0, 90.0], [190.0, 95.0]]), 64)
    shifted = (aligned.astype(int) + np.array([9, -6, 4])).astype(np.uint8)
    assert np.abs(paste_back(picture, shifted, matrix, aligned).astype(int) - picture).max() <= 1


@pytest.mark.parametrize("size", [32, 64, 256])
def test_inner_face_mask_covers_the_features_and_nothing_of_the_frame(size: int) -> None:
    mask = inner_face_mask(size)
    assert mask.shape == (size, size)
    assert mask.dtype == np.float32
    assert mask.min() == 0
    assert mask.max() == 1
    np.testing.assert_allclose(mask, mask[:, ::-1], atol=1e-6)
    places = {"left eye": EYES[0], "right eye": EYES[1], "nose": (0.5, 0.58), "mouth": (0.5, 0.75)}
    assert all(mask[int(y * size), int(x * size)] > 0.5 for x, y in places.values())
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1], mask[: size // 6].ravel()])
    assert (border == 0).all()


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.mark.parametrize("side", [180, 256, 1000])
def test_a_face_is_found_where_it_is_at_any_size(detector: Detector, side: int) -> None:
    picture = np.asarray(Image.fromarray(photograph(face(1, "happy"))).resize((side, side)))
    found = one_face(detector.find(picture), "face.jpg")
    true_eyes = (64 + np.array(EYES) * 128) / 256 * side
    assert np.linalg.norm(found.landmarks[:2] - true_eyes, axis=1).max() < 0.03 * side
    assert found.landmarks.shape == (5, 2)
    x0, y0, x1, y1 = found.box
    assert x0 < true_eyes[0, 0] < true_eyes[1, 0] < x1
    assert y0 < true_eyes[0, 1] < y1


def test_no_face_and_two_faces_are_refused(detector: Detector) -> None:
    with pytest.raises(UserError, match=r"sky\.jpg: no face"):
        one_face(detector.find(scene(320, 240, 3)), "sky.jpg")
    with pytest.raises(UserError, match=r"both\.jpg: 2 faces"):
        one_face(detector.find(photograph(face(1, "neutral"), face(2, "happy"))), "both.jpg")


@pytest.mark.parametrize("shape", [(16, 2000, 3), (3000, 20, 3), (16, 16, 3)])
def test_a_picture_too_thin_for_a_face_has_none(detector: Detector, shape: tuple[int, ...]) -> None:
    assert detector.find(np.full(shape, 90, np.uint8)) == []


def test_a_far_smaller_second_face_is_passed_over() -> None:
    landmarks = np.zeros((5, 2))
    large, ghost, real = (Found((0, 0, h, h), landmarks, 0.99) for h in (100.0, 30.0, 60.0))
    assert one_face([ghost, large], "a.jpg") is large
    with pytest.raises(UserError, match="2 faces"):
        one_face([large, ghost, real], "a.jpg")


def test_real_photographs_align_on_the_eyes(detector: Detector, london: Path) -> None:
    for name in ("neutral_front/001_03.jpg", "smiling_front/001_08.jpg", "smiling_front/010_08.jpg"):
        picture = read_picture(london / name)
        aligned, matrix = align(picture, one_face(detector.find(picture), name).landmarks, 128)
        again = one_face(detector.find(aligned), name).landmarks
        assert np.abs(again[:2] - np.array(EYES) * 128).max() < 4
        pasted = paste_back(picture, aligned, matrix, aligned)
        assert (pasted == picture).all()
