"""Changes of a batch of spectrograms: strengths of 0 change nothing, padding stays, each does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.speech import augment
from emolib.speech.augment import SpeechAugmentation

LENGTH = torch.tensor([30, 17, 5, 1])
STRONG = SpeechAugmentation(
    frequency_masks=2, frequency_width=5, time_masks=2, time_width=9, time_warp=6, band_shift=2.5, time_shift=4,
    gain=0.5, noise=0.3,
)  # fmt: skip


def batch(seed: int = 0) -> torch.Tensor:
    """float32 [4, 30, 12]; padding is 99."""
    values = torch.randn(4, 30, 12, generator=torch.Generator().manual_seed(seed)) + 3
    return torch.where(augment.inside(LENGTH, 30)[:, :, None], values, 99.0)


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(seed: int = 0, **strengths) -> torch.Tensor:
    return augment.augment(batch(), LENGTH, draws(seed), how=SpeechAugmentation(**strengths))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_strengths_of_0_change_nothing_and_padding_is_never_changed(seed):
    assert torch.equal(changed(seed), batch())
    strong = augment.augment(batch(), LENGTH, draws(seed), how=STRONG)
    own = augment.inside(LENGTH, 30)
    assert torch.equal(strong[~own], batch()[~own]) and torch.isfinite(strong).all()
    assert strong[own].abs().max() < 20, "padding was read"


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_generator_decides_all_draws(seed):
    once, again = (augment.augment(batch(), LENGTH, draws(seed), how=STRONG) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, augment.augment(batch(), LENGTH, draws(seed + 1), how=STRONG))


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 20), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_masks_are_stripes_of_at_most_their_width(seed, bands, steps, share):
    found = changed(seed, frequency_masks=1, frequency_width=bands, time_masks=1, time_width=steps, time_share=share)
    for one, before, n in zip(found, batch(), LENGTH.tolist(), strict=True):
        hidden = (one[:n] != before[:n]).numpy()
        assert (one[:n].numpy()[hidden] == 0).all()
        whole_bands, whole_steps = hidden.all(axis=0), hidden.all(axis=1)
        np.testing.assert_array_equal(hidden, whole_bands[None] | whole_steps[:, None])
        assert whole_bands.all() or whole_bands.sum() <= bands
        assert whole_bands.all() or whole_steps.sum() <= min(steps, share * n)
        if not whole_bands.all():
            assert is_stripe(whole_bands) and is_stripe(whole_steps)


def is_stripe(hidden: np.ndarray) -> bool:
    places = np.flatnonzero(hidden)
    return len(places) == 0 or places[-1] - places[0] + 1 == len(places)


def test_masks_reach_every_width_and_place():
    widths, firsts = set(), set()
    for seed in range(300):
        hidden = (changed(seed, time_masks=1, time_width=3, time_share=1.0)[0] == 0).all(1).numpy()
        widths.add(int(hidden.sum()))
        firsts |= {int(np.flatnonzero(hidden)[0])} if hidden.any() else set()
    assert widths == {0, 1, 2, 3} and min(firsts) == 0 and max(firsts) >= 27


@given(st.integers(0, 1000), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_a_time_shift_moves_rows_and_the_mean_enters(seed, steps):
    found = changed(seed, time_shift=steps)
    for one, before, n in zip(found, batch(), LENGTH.tolist(), strict=True):
        fits = []
        for by in range(-min(steps, n - 1), min(steps, n - 1) + 1):
            expected = torch.zeros(n, 12)
            kept = before[max(0, -by) : n - max(0, by)]
            expected[max(0, by) : max(0, by) + len(kept)] = kept
            fits.append(torch.equal(one[:n], expected))
        assert any(fits)


@given(st.integers(0, 1000), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_a_time_warp_keeps_ends_order_and_values(seed, steps):
    line = torch.arange(30.0)[None, :, None].expand(1, 30, 2).contiguous()
    found = augment.time_warp(line, torch.tensor([21]), draws(seed), steps=steps)[0, :21, 0].numpy()
    assert found[0] == 0 and found[-1] == pytest.approx(20, abs=1e-4)
    assert (np.diff(found) >= -1e-4).all()
    assert np.abs(found - np.arange(21)).max() <= min(steps, 5) + 1e-3


def test_a_time_warp_of_a_straight_line_is_two_straight_lines():
    line = torch.arange(41.0)[None, :, None]
    found = augment.time_warp(line, torch.tensor([41]), draws(3), steps=9)[0, :, 0].numpy()
    bends = np.abs(np.diff(found, n=2)) > 1e-3
    assert 1 <= bends.sum() <= 2, "one bend, between two steps"


@given(st.integers(0, 1000), st.floats(0.1, 4))
@settings(max_examples=30, deadline=None)
def test_a_band_shift_moves_a_straight_line_by_a_constant(seed, bands):
    line = torch.arange(12.0).expand(3, 30, 12).contiguous()
    found = augment.band_shift(line, draws(seed), bands=bands)
    by = line - found
    inner = (found > 0) & (found < 11)
    for one, there in zip(by, inner, strict=True):
        moved = one[there]
        assert moved.numel() == 0 or float(moved.max() - moved.min()) < 1e-4
        assert moved.numel() == 0 or float(moved.abs().max()) <= bands + 1e-4


def test_gain_is_one_number_a_recording_and_noise_has_its_strength():
    louder = changed(gain=0.5) - batch()
    own = augment.inside(LENGTH, 30)
    for one, there in zip(louder, own, strict=True):
        assert float(one[there].max() - one[there].min()) < 1e-5 and abs(float(one[there].mean())) <= 0.5
    values, length = torch.zeros(400, 30, 12), torch.full((400,), 30)
    noisy = augment.augment(values, length, draws(0), how=SpeechAugmentation(noise=0.4))
    spread = noisy.flatten(1).std(1)
    assert float(spread.max()) < 0.45 and float(spread.mean()) == pytest.approx(0.2, abs=0.02)


@given(st.integers(0, 1000), st.floats(0.05, 5))
@settings(max_examples=30, deadline=None)
def test_mixup_mixes_recordings_and_targets_by_the_same_share(seed, alpha):
    values = torch.eye(4)[:, None, :].expand(4, 3, 4).contiguous()  # a recording is its own target, at every step
    mixed, target = augment.mixup(values, torch.eye(4), draws(seed), alpha=alpha)
    np.testing.assert_allclose(mixed, target[:, None].expand(4, 3, 4), atol=1e-6)
    np.testing.assert_allclose(target.sum(1), 1, atol=1e-6)
    assert (target.diagonal() >= 0.5 - 1e-6).all() and ((target > 1e-7).sum(1) <= 2).all()
    same, unmixed = augment.mixup(values, torch.eye(4), draws(seed), alpha=0.0)
    assert same is values and torch.equal(unmixed, torch.eye(4))


def test_the_share_of_mixup_is_beta_distributed():
    from scipy import stats

    n = 4000
    _, target = augment.mixup(torch.zeros(n, 1, 1), torch.eye(n), draws(0), alpha=0.4)
    shares = target.diagonal().numpy()
    folded = stats.beta(0.4, 0.4)
    assert stats.kstest(shares[shares < 1], lambda x: 2 * folded.cdf(x) - 1).pvalue > 0.01


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("time_masks", -1, "whole number >= 0"),
        ("time_masks", 1.5, "whole number >= 0"),
        ("noise", -0.1, "a number >= 0"),
        ("gain", True, "a number >= 0"),
        ("noise", float("inf"), "a number >= 0"),
        ("time_share", 1.2, "up to 1"),
    ],
)
def test_strengths_are_checked(field, value, message):
    with pytest.raises(ValueError, match=f"augmentation: {field} = .*{message}"):
        SpeechAugmentation(**{field: value})


def test_a_waveform_has_no_band_to_mask():
    sound = torch.randn(50, 40, 1, generator=draws(0))
    how = SpeechAugmentation(frequency_masks=2, frequency_width=8)
    assert torch.equal(augment.augment(sound, torch.full((50,), 40), draws(1), how=how), sound)
