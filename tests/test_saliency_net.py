"""The learned saliency: it learns a mask, from its own rows alone, the same each time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from emolib import saliency_net

N = 60


@pytest.fixture(scope="module")
def discs() -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures of a bright disc anywhere, and the disc's mask: nothing about it is known from the place alone."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (N, 48, 48), dtype=np.uint8)
    masks = np.zeros_like(images)
    for image, mask, (x, y) in zip(images, masks, rng.integers(10, 38, (N, 2)).tolist(), strict=True):
        cv2.circle(image, (x, y), 7, 200, -1)
        cv2.circle(mask, (x, y), 7, 255, -1)
    return images, masks


TRAIN, VALIDATION, TEST = np.arange(36), np.arange(36, 46), np.arange(46, N)
OPTIONS = {"epochs": 6, "patience": 6, "seed": 1, "batch_size": 6, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def learned(discs) -> saliency_net.Learned:
    return saliency_net.train(*discs, TRAIN, VALIDATION, **OPTIONS)


def test_it_finds_the_discs_of_pictures_that_it_never_saw(discs, learned):
    images, masks = discs
    guide = saliency_net.predict(images, learned.state, device="cpu")
    assert guide.dtype == np.uint8 and guide.shape == images.shape
    seen, wanted = guide[TEST] >= 128, masks[TEST] == 255
    iou = (seen & wanted).sum(axis=(1, 2)) / (seen | wanted).sum(axis=(1, 2))
    assert iou.mean() > 0.8


def test_it_has_tens_of_thousands_of_parameters():
    assert 20_000 < saliency_net.n_parameters() < 60_000


def test_equal_seeds_give_equal_weights_and_others_do_not(discs, learned):
    again = saliency_net.train(*discs, TRAIN, VALIDATION, **OPTIONS)
    assert all(torch.equal(again.state[name], value) for name, value in learned.state.items())
    assert again.history.equals(learned.history)
    other = saliency_net.train(*discs, TRAIN, VALIDATION, **OPTIONS | {"epochs": 1, "seed": 2})
    assert not all(torch.equal(other.state[name], value) for name, value in learned.state.items())


def test_the_global_generator_is_given_back(discs):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    saliency_net.train(*discs, TRAIN[:6], VALIDATION, **OPTIONS | {"epochs": 1})
    assert torch.equal(torch.rand(1), expected)


def test_masks_of_other_rows_do_not_matter(discs):
    images, masks = discs
    few = OPTIONS | {"epochs": 2}
    spoiled_images, spoiled_masks = images.copy(), masks.copy()
    spoiled_images[TEST], spoiled_masks[TEST] = 0, 255
    states = [
        saliency_net.train(*pair, TRAIN, VALIDATION, **few).state for pair in (discs, (spoiled_images, spoiled_masks))
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_epoch_with_the_least_validation_loss_is_kept_and_patience_stops(discs):
    images, masks = discs
    hopeless = masks.copy()
    hopeless[VALIDATION] = 255 - hopeless[VALIDATION]  # the better it learns, the worse it is on these
    learned = saliency_net.train(images, hopeless, TRAIN, VALIDATION, **OPTIONS | {"epochs": 20, "patience": 2})
    losses = learned.history["validation_loss"]
    assert learned.best_epoch == losses.argmin() + 1
    assert len(learned.history) == learned.best_epoch + 2 < 20


def test_a_soft_mask_is_learned_as_a_level(discs):
    images = discs[0]
    half = np.full_like(images, 128)
    learned = saliency_net.train(images, half, TRAIN, VALIDATION, **OPTIONS)
    assert abs(saliency_net.predict(images[TEST], learned.state, device="cpu").mean() - 128) < 8


def test_a_picture_without_a_crop_has_a_black_guide_and_batches_do_not_matter(discs, learned, monkeypatch):
    images = discs[0].copy()
    images[50] = 0
    guide = saliency_net.predict(images, learned.state, device="cpu")
    assert not guide[50].any() and guide[49].any()
    monkeypatch.setattr(saliency_net, "BATCH_OF_PREDICTION", 7)
    assert np.abs(saliency_net.predict(images, learned.state, device="cpu").astype(int) - guide).max() <= 1


def test_weights_come_back_from_their_file_and_others_are_refused(tmp_path, learned):
    path = tmp_path / "w.safetensors"
    saliency_net.save(path, learned.state)
    assert all(torch.equal(value, learned.state[name]) for name, value in saliency_net.load(path).items())
    saliency_net.save(path, {"mask.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match="w.safetensors: these are no weights of a SaliencyNet"):
        saliency_net.load(path)
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        saliency_net.load(path)


@pytest.mark.parametrize(
    ("images", "masks", "rows", "options", "message"),
    [
        (np.zeros((9, 48, 48), np.uint8), np.zeros((9, 24, 24), np.uint8), [0], {}, r"\(9, 24, 24\)"),
        (np.zeros((9, 48, 48)), np.zeros((9, 48, 48), np.uint8), [0], {}, "float64"),
        (np.zeros((9, 50, 50), np.uint8), np.zeros((9, 50, 50), np.uint8), [0], {}, "multiple of 4"),
        (np.zeros((9, 48, 48), np.uint8), np.zeros((9, 48, 48), np.uint8), [], {}, "0 rows to learn from"),
        (np.zeros((9, 48, 48), np.uint8), np.zeros((9, 48, 48), np.uint8), [0], {"patience": 0}, "patience 0"),
    ],
)
def test_what_cannot_be_learned_is_refused(images, masks, rows, options, message):
    with pytest.raises(ValueError, match=message):
        saliency_net.train(images, masks, np.array(rows, int), np.array([1]), **OPTIONS | options)
