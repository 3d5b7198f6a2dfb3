"""Guide images: what is white, what is black, and the same each time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib import guides
from emolib.guides import GUIDES, NEEDS_LANDMARKS, landmarks_guide, saliency_fine_grained_guide, saliency_guide
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


NOBODY = np.full((68, 2), np.nan, np.float32)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (48, 48), dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(NEEDS_LANDMARKS))
def test_without_landmarks_a_guide_is_black_or_white_as_its_name_says(name):
    assert (GUIDES[name](picture(), NOBODY) == (255 if name == "landmarks_white" else 0)).all()


@pytest.mark.parametrize("name", sorted(set(GUIDES) - NEEDS_LANDMARKS))
def test_the_other_guides_do_not_look_at_landmarks(name):
    assert np.array_equal(GUIDES[name](picture(), NOBODY), GUIDES[name](picture(), circle_face()))


def test_the_white_variant_differs_only_where_no_face_was_found():
    mask = GUIDES["landmarks"](picture(), circle_face())
    assert np.array_equal(mask, GUIDES["landmarks_white"](picture(), circle_face()))


def test_the_soft_mask_fades_by_the_distance_to_the_nearest_white_pixel():
    mask, soft = (GUIDES[name](picture(), circle_face()) for name in ("landmarks", "soft_landmarks"))
    white = np.argwhere(mask == 255)
    distance = np.array([np.hypot(*(white - (y, x)).T).min() for y, x in np.ndindex(48, 48)]).reshape(48, 48)
    expected = np.where(1 / (1 + distance) < 0.15, 0, 255 / (1 + distance))
    assert np.abs(soft - expected).max() <= 0.51  # rounded to whole grey levels
    assert set(soft[distance == 0]) == {255} and 0 in soft and soft[soft > 0].min() >= round(0.15 * 255)


def test_the_soft_mask_reaches_as_far_in_a_larger_crop():
    soft = guides.soft_landmarks_guide(circle_face())
    twice = guides.soft_landmarks_guide(circle_face() * 2 + 0.5, size_px=96)
    smaller = cv2.resize(twice, (48, 48), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(soft.ravel(), smaller.ravel())[0, 1] > 0.97


def test_a_face_outside_of_the_crop_leaves_the_soft_mask_black():
    assert not guides.soft_landmarks_guide(circle_face() + 500).any()


def test_the_dilated_mask_has_no_jaw_and_every_part_grows_by_two_pixels_right_and_down():
    points = circle_face()
    parts = landmarks_guide(points, jaw=False)
    padded = np.pad(parts, ((2, 0), (2, 0)))
    expected = np.max([padded[2 - y : 50 - y, 2 - x : 50 - x] for y in range(3) for x in range(3)], axis=0)
    assert np.array_equal(GUIDES["dilation"](picture(), points), expected)
    assert parts[44, 24] == 0 and landmarks_guide(points)[44, 24] == 255  # the chin


def test_patches_are_cut_out_of_the_picture_and_weights_darken_it():
    crop, points = picture(), circle_face()
    mask, soft = (GUIDES[name](crop, points) for name in ("landmarks", "soft_landmarks"))
    patches, weighted = (GUIDES[name](crop, points) for name in ("patches", "weighted"))
    assert np.array_equal(patches[mask == 255], crop[mask == 255]) and not patches[mask == 0].any()
    assert np.abs(weighted - crop * (soft / 255)).max() <= 0.5
    assert np.array_equal(weighted[mask == 255], crop[mask == 255])


@pytest.mark.parametrize("draw", [saliency_guide, saliency_fine_grained_guide])
def test_what_differs_is_salient(draw):
    crop = np.full((48, 48), 100, np.uint8)
    cv2.circle(crop, (14, 30), 3, 220, -1)
    guide = draw(crop)
    assert guide.dtype == np.uint8 and guide.shape == (48, 48) and guide.min() == 0 and guide.max() == 255
    y, x = np.unravel_index(guide.argmax(), guide.shape)
    assert np.hypot(x - 14, y - 30) < 6
    near, far = guide[24:37, 8:21].mean(), guide[:, 30:].mean()
    assert near > 1.5 * far


@pytest.mark.parametrize("draw", [saliency_guide, saliency_fine_grained_guide])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_nothing_is_salient_in_one_grey_level(level, draw):
    assert not draw(np.full((48, 48), level, np.uint8)).any()


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_is_deterministic_and_leaves_its_input_alone(name):
    crop = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    points, before = circle_face(), crop.copy()
    first, second = GUIDES[name](crop, points), GUIDES[name](crop, points)
    assert np.array_equal(first, second) and np.array_equal(crop, before)
    assert first.shape == (48, 48) and first.dtype == np.uint8
