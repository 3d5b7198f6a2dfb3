"""Augmentation of a batch: ranges, draws by picture and by seed, geometry against hand-made cases; mixing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.classifier.augment import Augmentation, affine, augment, drawing, mix, rectangles

EVERYTHING = Augmentation(blur=0.5, noise=0.5)
NOTHING = Augmentation.none()


def faces(n: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 48, 48, generator=torch.Generator().manual_seed(seed))


def only(**strength) -> Augmentation:
    return Augmentation(**{**vars(NOTHING), **strength})


def test_no_strength_changes_nothing():
    torch.testing.assert_close(augment(faces(), NOTHING, seed=1), faces(), rtol=0, atol=1e-5)


@given(
    seed=st.integers(0, 10_000),
    how=st.builds(
        Augmentation,
        shift=st.floats(0, 0.5),
        crop_area=st.floats(0.25, 1),
        wide_area=st.floats(1, 2),
        aspect=st.floats(1, 2),
        brightness=st.floats(0, 1),
        contrast=st.floats(0, 1),
        blur=st.sampled_from([0.0, 1.0]),
        noise=st.sampled_from([0.0, 1.0]),
    ),
    size=st.sampled_from([32, 48]),
)
@settings(max_examples=30, deadline=None)
def test_grey_levels_stay_in_range(seed, how, size):
    changed = augment(faces(3), how, seed=seed, size_px=size)
    assert changed.shape == (3, 1, size, size) and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 1


def test_a_seed_decides_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = (augment(faces(), EVERYTHING, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_pictures_given_are_left_alone():
    images = faces()
    augment(images, EVERYTHING, seed=0)
    assert torch.equal(images, faces())


STRENGTHS = [
    *({"flip": 0.5}, {"shift": 0.1}, {"rotation_deg": 10.0}, {"crop_area": 0.6}, {"wide_area": 1.4}, {"aspect": 1.3}),
    *({"erase": 1.0}, {"brightness": 0.3}, {"contrast": 0.3}, {"noise": 1.0}),
]


@pytest.mark.parametrize("strength", STRENGTHS, ids=lambda strength: next(iter(strength)))
def test_each_picture_has_its_own_draw(strength):
    """v2 draws once a call: a batch given to it whole would be changed alike."""
    one = faces(1).repeat(8, 1, 1, 1)
    changed = augment(one, only(**strength), seed=0)
    assert len({picture.numpy().tobytes() for picture in changed}) >= 2
    assert not torch.allclose(changed, one, atol=1e-3)


def test_blur_has_a_draw_a_chunk():
    one = faces(1).repeat(64, 1, 1, 1)
    changed = augment(one, only(blur=1.0), seed=0)
    assert len({picture.numpy().tobytes() for picture in changed}) == 4
    assert changed.var() < 0.7 * one.var()


def test_every_picture_is_mirrored_at_probability_1():
    torch.testing.assert_close(augment(faces(), only(flip=1.0), seed=0), faces().flip(-1), rtol=0, atol=1e-5)


def test_a_crop_lies_inside_of_the_picture_and_is_as_large_as_said():
    with drawing(0, torch.device("cpu")):
        theta = affine(500, only(crop_area=0.5, aspect=1.2))
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)])
    assert (theta @ corners.T).abs().max() <= 1 + 1e-6
    area = torch.linalg.det(theta[:, :, :2].double())
    assert 0.49 <= area.min() < 0.55 and area.max() <= 1
    ratio = theta[:, 0, 0] / theta[:, 1, 1]
    assert 1 / 1.2 - 1e-5 <= ratio.min() < 0.9 and 1.1 < ratio.max() <= 1.2 + 1e-5


def test_faces_are_on_average_as_large_as_in_the_test():
    with drawing(0, torch.device("cpu")):
        theta = affine(2000, Augmentation())
    area = torch.linalg.det(theta[:, :, :2].double()).abs()
    assert 0.79 <= area.min() < 0.82 and 1.18 < area.max() <= 1.21
    assert area.mean().item() == pytest.approx(1, abs=0.01)


def test_rotation_keeps_lengths_and_its_largest_angle():
    with drawing(0, torch.device("cpu")):
        matrix = affine(500, only(rotation_deg=8.0))[:, :, :2].double()
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(2).double().expand(500, 2, 2), atol=1e-6, rtol=0)
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert 7 < angle.abs().max() <= 8 and abs(angle.mean()) < 1


def test_a_crop_is_a_part_at_the_scale_of_the_whole():
    ramp = torch.linspace(0, 47 / 255, 48).expand(200, 1, 48, 48).contiguous()
    steps = {}
    for extent in (1.0, 40 / 48):
        shown = augment(ramp, Augmentation.none(), seed=0, size_px=40, extent=extent)[:, 0] * 255
        steps[extent] = shown[:, 20, 1:-1].diff(dim=1)
        starts = shown[:, 0, 0]
    torch.testing.assert_close(steps[40 / 48], torch.ones(200, 37), atol=1e-3, rtol=0)
    torch.testing.assert_close(steps[1.0], torch.full((200, 37), 1.2), atol=1e-3, rtol=0)
    assert starts.min() < 0.5 and starts.max() > 7.5, "anywhere in the picture, and no further"
    assert starts.min() > -1e-3 and starts.max() < 8 + 1e-3


def test_a_shift_is_a_share_of_the_side():
    ramp = torch.linspace(0, 1, 48).expand(400, 1, 48, 48).contiguous()
    moved = augment(ramp, only(shift=0.1), seed=0)[:, 0, 24, 24] - ramp[:, 0, 24, 24]
    assert 0.08 < moved.abs().max() <= 0.1 * 48 / 47 + 1e-4


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_rectangles_are_as_large_and_as_many_as_said(probability, share):
    with drawing(0, torch.device("cpu")):
        inside, level = rectangles(600, only(erase=probability, erase_area=0.2), size_px=48)
    area = inside.float().mean((1, 2, 3))
    assert math.isclose((area > 0).float().mean(), share, abs_tol=0.07)
    assert area.max() <= 0.22 and (area[area > 0].min() if share else 0.02) > 0.01
    assert level.min() >= 0 and level.max() <= 1


def test_brightness_and_contrast_are_relative():
    grey = torch.full((300, 1, 48, 48), 0.4)
    grey[:, :, :24] = 0.6
    bright = augment(grey, only(brightness=0.2), seed=0)
    assert 0.39 < bright.mean((1, 2, 3)).min() < 0.43 < 0.57 < bright.mean((1, 2, 3)).max() < 0.61
    torch.testing.assert_close(bright[:, 0, 0, 0] / bright[:, 0, 47, 0], torch.full((300,), 1.5))
    contrasted = augment(grey, only(contrast=0.5), seed=0)
    torch.testing.assert_close(contrasted.mean((1, 2, 3)), torch.full((300,), 0.5))
    spread = contrasted[:, 0, 0, 0] - contrasted[:, 0, 47, 0]
    assert 0.1 <= spread.min() < 0.12 and 0.28 < spread.max() <= 0.3


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        ({"flip": 1.5}, "flip = 1.5"),
        ({"rotation_deg": 30.0}, "rotation_deg = 30.0 received, 0 to 10"),
        ({"shift": -0.1}, "shift"),
        ({"crop_area": 0.0}, "crop_area"),
        ({"wide_area": 0.9}, "wide_area"),
        ({"aspect": 0.9}, "aspect"),
        ({"noise": True}, "noise = True"),
        ({"blur": "1e-1"}, "blur = '1e-1'"),
        ({"erase": math.nan}, "erase = nan"),
    ],
)
def test_augmentation_refuses(strength, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**strength)


# ---- mixing


def numbered(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of one grey level each, and targets by which the level can be told."""
    return torch.arange(n).view(n, 1, 1, 1).expand(n, 1, 48, 48).float().contiguous(), torch.eye(n)


@given(seed=st.integers(0, 5000), mixup=st.sampled_from([0.0, 0.3, 1.0]), cutmix=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=40, deadline=None)
def test_targets_are_mixed_as_pictures_are(seed, mixup, cutmix):
    images, target = numbered()
    mixed, answers = mix(images, target, mixup_alpha=mixup, cutmix_alpha=cutmix, share=1.0, seed=seed)
    torch.testing.assert_close(answers.sum(1), torch.ones(6))
    assert (answers >= 0).all()
    torch.testing.assert_close(mixed.mean((1, 2, 3)), answers @ torch.arange(6.0), rtol=0, atol=1e-3)
    assert torch.equal(*numbered()[:1], images), "the pictures given were changed"


def test_mixup_blends_and_cutmix_cuts():
    images, target = numbered()
    blended, _ = mix(images, target, mixup_alpha=1.0, cutmix_alpha=0.0, share=1.0, seed=1)
    cut, _ = mix(images, target, mixup_alpha=0.0, cutmix_alpha=1.0, share=1.0, seed=1)
    assert all(len(np.unique(picture)) == 1 for picture in blended)
    assert any(len(np.unique(picture)) == 2 for picture in cut) and set(np.unique(cut)) <= set(range(6))


def test_a_share_of_the_batches_is_mixed_and_both_kinds_occur():
    images, target = numbered()
    kinds = {"plain": 0, "blended": 0, "cut": 0}
    for seed in range(200):
        mixed, _ = mix(images, target, mixup_alpha=1.0, cutmix_alpha=1.0, share=0.6, seed=seed)
        whole = all(len(np.unique(picture)) == 1 for picture in mixed)
        kinds["plain" if torch.equal(mixed, images) else "blended" if whole else "cut"] += 1
    assert 50 <= kinds["plain"] <= 110 and min(kinds.values()) >= 30  # a cut of no size counts as plain


def test_without_strength_nothing_is_mixed():
    images, target = numbered()
    assert mix(images, target, mixup_alpha=0.0, cutmix_alpha=0.0, share=1.0, seed=0) == (images, target)
    assert mix(images, target, mixup_alpha=1.0, cutmix_alpha=1.0, share=0.0, seed=0) == (images, target)
