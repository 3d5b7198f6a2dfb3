"""Subject normalisation: what a person adds disappears, labels are not read, nobody else is touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from emolib.ragged import Ragged
from emolib.subject_normalisation import NORMALISATIONS, normalise, reads

SUBJECT = np.repeat(["a", "b", "c"], [5, 7, 6])
NEUTRAL = np.isin(np.arange(18), [0, 3, 6, 7, 13, 17])


def means(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(2, 1, (18, 4)).astype(np.float32)


def sequences(seed: int = 0) -> Ragged:
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 6, 18)
    values = rng.normal(2, 1, (length.sum(), 4)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[Ragged(values, length).start] = 1.5 + rng.random((18, 4))  # each has a measured row
    return Ragged(values, length)


def plain(values) -> np.ndarray:
    return values.values if isinstance(values, Ragged) else values


def of_rows(values, per_performance: np.ndarray) -> np.ndarray:
    return np.repeat(per_performance, values.length) if isinstance(values, Ragged) else per_performance


@pytest.mark.parametrize("values", [means(), sequences()], ids=["means", "sequences"])
def test_transductive_is_scipys_zscore_of_each_subject(values):
    result = normalise(values, SUBJECT, method="transductive")
    assert type(result) is type(values) and plain(result).dtype == np.float32
    who = of_rows(values, SUBJECT)
    for subject in "abc":
        expected = zscore(plain(values)[who == subject].astype(np.float64), axis=0, nan_policy="omit")
        np.testing.assert_allclose(plain(result)[who == subject], expected, atol=1e-5)


@pytest.mark.parametrize("values", [means(), sequences()], ids=["means", "sequences"])
def test_neutral_rows_of_each_subject_have_a_mean_of_zero_and_the_spread_is_that_of_all(values):
    result = normalise(values, SUBJECT, method="neutral", neutral=NEUTRAL)
    who, rest = of_rows(values, SUBJECT), of_rows(values, NEUTRAL)
    for subject in "abc":
        np.testing.assert_allclose(np.nanmean(plain(result)[(who == subject) & rest], axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.nanstd(plain(result)[who == subject], axis=0), 1, rtol=1e-4)


def test_none_returns_what_it_was_given():
    values = means()
    assert normalise(values, SUBJECT, method="none") is values


@given(
    st.sampled_from(["transductive", "neutral"]),
    st.lists(st.floats(-20, 20), min_size=12, max_size=12),
    st.lists(st.floats(0.1, 10), min_size=12, max_size=12),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_subjects_shift_and_scale_disappear(method, shift, scale, ragged):
    values = sequences() if ragged else means()
    code = np.unique(of_rows(values, SUBJECT), return_inverse=True)[1]
    shifted = plain(values) * np.reshape(scale, (3, 4))[code] + np.reshape(shift, (3, 4))[code]
    other = Ragged(shifted.astype(np.float32), values.length) if ragged else shifted
    neutral = NEUTRAL if method == "neutral" else None
    before, after = (plain(normalise(one, SUBJECT, method=method, neutral=neutral)) for one in (values, other))
    np.testing.assert_allclose(after, before, atol=2e-3)


@given(st.integers(0, 1000), st.sampled_from(["transductive", "neutral"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_other_subjects_are_untouched(seed, method, scale):
    values, changed = means(), means()
    changed[SUBJECT == "b"] = np.random.default_rng(seed).normal(50, 9, (7, 4))
    given_ = {"method": method, "neutral": NEUTRAL if method == "neutral" else None, "scale": scale}
    before, after = (normalise(one, SUBJECT, **given_) for one in (values, changed))
    np.testing.assert_array_equal(before[SUBJECT != "b"], after[SUBJECT != "b"])
    assert not np.allclose(before[SUBJECT == "b"], after[SUBJECT == "b"])


def test_transductive_reads_no_label():
    values = means()
    told = normalise(values, SUBJECT, method="transductive", neutral=NEUTRAL)
    np.testing.assert_array_equal(told, normalise(values, SUBJECT, method="transductive"))
    neutral = normalise(values, SUBJECT, method="neutral", neutral=NEUTRAL)
    assert not np.allclose(neutral, normalise(values, SUBJECT, method="neutral", neutral=~NEUTRAL)), "this one does"


def test_without_scale_spreads_stay():
    values = means()
    result = normalise(values, SUBJECT, method="transductive", scale=False)
    for subject in "abc":
        own = subject == SUBJECT
        np.testing.assert_allclose(result[own], values[own] - values[own].mean(axis=0), atol=1e-5)


def test_a_constant_feature_is_centred_only_and_one_never_measured_stays_nan():
    values = means()
    values[SUBJECT == "a", 1] = 0.1 + 0.2  # no exact binary fraction
    values[SUBJECT == "a", 2] = np.nan
    result = normalise(values, SUBJECT, method="transductive")
    np.testing.assert_allclose(result[SUBJECT == "a", 1], 0, atol=1e-6)
    assert np.isnan(result[SUBJECT == "a", 2]).all() and np.isfinite(result[SUBJECT != "a"]).all()
    assert np.isfinite(result[:, [0, 1, 3]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "zscore"}, "'zscore': one of none, transductive, neutral"),
        ({"subject": SUBJECT[:4]}, "4 subjects for 18 performances"),
        ({"method": "neutral"}, r"neutral: None received, bool \[18\] is needed"),
        ({"method": "neutral", "neutral": np.arange(18)}, "neutral: int64"),
        ({"method": "neutral", "neutral": NEUTRAL & (SUBJECT != "b")}, "subject 'b': no neutral performance"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    asked = {"subject": SUBJECT, "method": "transductive"} | change
    with pytest.raises(ValueError, match=message):
        normalise(means(), asked.pop("subject"), **asked)


def test_every_name_works():
    for method in NORMALISATIONS:
        assert normalise(means(), SUBJECT, method=method, neutral=NEUTRAL).shape == (18, 4)


@pytest.mark.parametrize(
    ("method", "adapts", "said"),
    [
        ("none", False, "nothing"),
        ("none", True, "own performances, unlabelled"),
        ("transductive", False, "own performances, unlabelled"),
        ("neutral", True, "own performances, and which are neutral"),
    ],
)
def test_what_is_known_of_a_test_person_is_said(method, adapts, said):
    assert reads(method, adapts=adapts) == said
    with pytest.raises(ValueError, match="'x': one of"):
        reads("x")
