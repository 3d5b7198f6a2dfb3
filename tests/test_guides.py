"""Guide images: what is white, what is black, and the same each time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.guides import GUIDES, landmarks_guide, saliency_guide
from emolib.landmarks import PARTS


def circle_face() -> np.ndarray:
    """68 points in a 48-pixel crop: each part an ellipse or a line at its place."""
    centres = {"jaw": (24, 22), "right_brow": (14, 13), "left_brow": (34, 13), "nose": (24, 26)}
    centres |= {"right_eye": (14, 19), "left_eye": (34, 19), "mouth": (24, 38), "inner_mouth": (24, 38)}
    radii = {"jaw": (22, 22), "mouth": (8, 4), "inner_mouth": (4, 2)}
    points = np.zeros((68, 2), np.float32)
    for part, numbers in PARTS.items():
        span = np.pi if part == "jaw" else 2 * np.pi
        angle = np.linspace(0, span, len(numbers), endpoint=part == "jaw")
        radius = radii.get(part, (4, 3))
        points[numbers] = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + centres[part]
    return points


def test_parts_are_filled_and_the_jaw_is_a_line():
    points = circle_face()
    guide = landmarks_guide(points)
    assert guide.dtype == np.uint8 and guide.shape == (48, 48) and set(np.unique(guide)) == {0, 255}
    for part, numbers in PARTS.items():
        x, y = np.rint(points[numbers].mean(axis=0)).astype(int)
        assert guide[y, x] == 255 or part == "jaw", part
    assert (
        guide[44, 24] == 255 and guide[42, 34] == 0 and guide[46, 24] == 0
    )  # on, inside, and outside of the jaw's line


@settings(max_examples=30, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3))
def test_the_guide_moves_with_the_points(right, down):
    points = circle_face() * 0.7 + 8
    moved = landmarks_guide(points + np.float32([right, down]))
    assert np.array_equal(np.roll(landmarks_guide(points), (down, right), axis=(0, 1)), moved)


def test_no_landmarks_are_black_and_wrong_ones_an_error():
    assert not landmarks_guide(np.full((68, 2), np.nan)).any()
    partly = circle_face()
    partly[3] = np.nan
    with pytest.raises(ValueError, match="2 of 136 values are NaN"):
        landmarks_guide(partly)
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        landmarks_guide(np.zeros((5, 2)))


def test_what_differs_is_salient():
    crop = np.full((48, 48), 100, np.uint8)
    cv2.circle(crop, (14, 30), 3, 220, -1)
    guide = saliency_guide(crop)
    assert guide.dtype == np.uint8 and guide.shape == (48, 48) and guide.min() == 0 and guide.max() == 255
    y, x = np.unravel_index(guide.argmax(), guide.shape)
    assert np.hypot(x - 14, y - 30) < 6
    near, far = guide[24:37, 8:21].mean(), guide[:, 30:].mean()
    assert near > 2 * far


@pytest.mark.parametrize("level", [0, 128, 255])
def test_nothing_is_salient_in_one_grey_level(level):
    assert not saliency_guide(np.full((48, 48), level, np.uint8)).any()


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_is_deterministic_and_leaves_its_input_alone(name):
    crop = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    points, before = circle_face(), crop.copy()
    first, second = GUIDES[name](crop, points), GUIDES[name](crop, points)
    assert np.array_equal(first, second) and np.array_equal(crop, before)
    assert first.shape == (48, 48) and first.dtype == np.uint8
