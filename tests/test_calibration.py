"""Calibration measures against scikit-learn and hand computation; temperatures by fold; intervals over subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from emolib import calibration, intervals, posteriors

CLASSES = ["neutral", "positive", "negative"]


def drawn(n: int, *, temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors that are too sure by `temperature` (1: right as they are) and labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(3), n)
    label = (rng.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return posteriors.apply_temperature(true, 1 / temperature), label


@pytest.mark.parametrize(("bins", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_reliability_is_the_calibration_curve_of_scikit_learn(bins, strategy):
    posterior, label = drawn(3000)
    confidence, right = posterior.max(axis=1), posterior.argmax(axis=1) == label
    share, mean = calibration_curve(right, confidence, n_bins=15, strategy=strategy)
    table = calibration.reliability(posterior, label, bins=bins)
    assert list(table) == ["bin", "confidence", "accuracy", "n"]
    np.testing.assert_allclose(table["accuracy"], share)
    np.testing.assert_allclose(table["confidence"], mean)
    assert table["n"].sum() == 3000
    assert bins == "width" or set(table["n"]) == {200}


def test_ece_of_a_hand_computed_case():
    posterior = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.6, 0.2, 0.2], [0.4, 0.3, 0.3]])
    label = np.array([0, 1, 0, 2])
    # bins of width 0.1: 0.9 (two rows, half right), 0.6 (right), 0.4 (wrong)
    assert calibration.ece(posterior, label, n_bins=10) == pytest.approx((2 * 0.4 + 0.4 + 0.4) / 4)
    assert calibration.ece(posterior, label, n_bins=1) == pytest.approx(abs(0.5 - 0.7))
    assert calibration.nll(posterior, label) == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.3]).mean())
    assert calibration.brier(posterior, label) == pytest.approx(np.mean([0.02, 1.62, 0.24, 0.16 + 0.09 + 0.49]))


def test_ece_of_equal_width_is_that_of_a_plain_loop_over_bins():
    posterior, label = drawn(500, temperature=2.0)
    confidence, right = posterior.max(axis=1), posterior.argmax(axis=1) == label
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration.ece(posterior, label) == pytest.approx(error)


def test_losses_are_those_of_scikit_learn_and_of_one_hot_labels():
    posterior, label = drawn(400)
    assert calibration.nll(posterior, label) == pytest.approx(log_loss(label, posterior))
    assert calibration.brier(posterior, label) == pytest.approx(((posterior - np.eye(3)[label]) ** 2).sum(1).mean())
    assert np.isfinite(calibration.nll(np.array([[1.0, 0.0]]), np.array([1])))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from(calibration.BINS), st.integers(0, 99))
def test_a_calibration_error_is_between_the_gap_of_means_and_one(n, n_bins, bins, seed):
    posterior, label = drawn(n, seed=seed)
    gap = abs(posterior.max(axis=1).mean() - (posterior.argmax(axis=1) == label).mean())
    assert gap - 1e-9 <= calibration.ece(posterior, label, n_bins=n_bins, bins=bins) <= 1


def test_summary_of_a_calibrated_and_of_a_too_sure_model():
    right = calibration.summary(*drawn(20_000))
    assert right["ece"] < 0.02 and right["ece_mass"] < 0.02 and abs(right["overconfidence"]) < 0.01
    assert list(right) == [
        *("n", "accuracy", "confidence", "overconfidence", "ece", "ece_mass", "nll", "brier"),
    ]
    posterior, label = drawn(20_000, temperature=3.0)
    sure = calibration.summary(posterior, label)
    assert sure["overconfidence"] > 0.15 and sure["ece"] == pytest.approx(sure["overconfidence"], abs=0.02)
    tempered = calibration.summary(posterior, label, temperature=3.0)
    assert tempered["accuracy"] == sure["accuracy"] and tempered["temperature"] == 3.0
    assert tempered["nll"] == pytest.approx(right["nll"]) and tempered["ece"] == pytest.approx(right["ece"])


def fold_table(subset: str, temperatures: dict[int, float], *, n: int = 4000) -> tuple[pd.DataFrame, pd.Series]:
    parts, labels = [], []
    for k, temperature in temperatures.items():
        posterior, label = drawn(n, temperature=temperature, seed=k + 10 * (subset == "test"))
        sample = np.arange(k * n, (k + 1) * n)
        parts.append(posteriors.table(sample, posterior.astype("f4"), classes=CLASSES, fold=k, subset=subset))
        labels.append(pd.Series(label, index=sample))
    return pd.concat(parts, ignore_index=True), pd.concat(labels)


def test_each_fold_gets_the_temperature_of_its_own_model():
    made = {0: 2.0, 1: 0.5, 2: 1.0}
    validation, label = fold_table("validation", made)
    found = calibration.fit_by_fold(validation.sample(frac=1, random_state=0), label)
    assert found["fold"].tolist() == [0, 1, 2] and found["n"].tolist() == [4000] * 3
    np.testing.assert_allclose(found["temperature"], list(made.values()), rtol=0.12)

    test, label = fold_table("test", made)
    columns = posteriors.posterior_columns(CLASSES)
    true, fold = label.loc[test["sample"]].to_numpy(), test["fold"].to_numpy()
    before = calibration.summary(test[columns].to_numpy(), true, fold=fold)
    after = calibration.summary(test[columns].to_numpy(), true, fold=fold, temperature=found)
    assert after["nll"] < before["nll"] and after["brier"] < before["brier"]
    assert after["ece_mean_of_folds"] < 0.03 < 0.08 < before["ece_mean_of_folds"]
    assert before["ece"] < before["ece_mean_of_folds"]  # opposite errors cancel in the pool
    applied = calibration.apply_by_fold(test, found)
    posteriors.check(applied, classes=CLASSES, where="test")
    assert applied.dtypes.equals(test.dtypes)
    assert calibration.summary(applied[columns].to_numpy(), true)["nll"] == pytest.approx(after["nll"])
    one = applied["fold"] == 1
    expected = posteriors.apply_temperature(test.loc[one, columns].to_numpy(), found["temperature"][1])
    np.testing.assert_array_equal(applied.loc[one, columns], expected)


@pytest.mark.parametrize("measure", calibration.MEASURES)
def test_intervals_are_a_bootstrap_over_subjects(measure):
    posterior, label = drawn(900, temperature=1.5)
    subject = np.repeat(np.arange(9), 100).astype(str)
    found = calibration.interval(posterior, label, subject, measure=measure, seed=3)
    assert found.value == pytest.approx(calibration.summary(posterior, label)[measure])
    assert found.low < found.value < found.high and found.n_subjects == 9
    assert found == calibration.interval(posterior, label, subject, measure=measure, seed=3)
    same = calibration.interval(np.tile(posterior[:100], (9, 1)), np.tile(label[:100], 9), subject, measure=measure)
    assert same.low == pytest.approx(same.value) and same.high == pytest.approx(same.value)  # all subjects are alike


def test_the_interval_of_a_mean_is_that_of_resampled_subjects():
    posterior, label = drawn(60)
    rng, subject = np.random.default_rng(5), np.repeat(np.arange(6), [5, 15, 10, 10, 12, 8])
    loss = -np.log(posterior[np.arange(60), label])
    means = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(subject == s) for s in rng.integers(6, size=6)])
        means.append(loss[rows].mean())
    found = calibration.interval(posterior, label, subject, measure="nll", n_resamples=4000)
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), rtol=0.05)


def test_the_resamples_are_those_of_all_other_intervals():
    # drawn at once in a way of its own, AffectNet's took 9 GB
    posterior, label = drawn(200)
    subject, loss = np.arange(200) // 4, -np.log(posterior[np.arange(200), label])
    found = calibration.interval(posterior, label, subject, measure="nll", seed=2)
    expected = intervals.subject_mean(loss, subject, seed=2)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


POSTERIOR, LABEL = drawn(4)
TEMPERATURE = pd.DataFrame({"fold": [1], "temperature": [1.0]})
VALIDATION, TRUE = fold_table("validation", {0: 1.0}, n=4)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: calibration.ece(POSTERIOR, LABEL[:3]), r"\(4, 3\) and label \(3,\)"),
        (lambda: calibration.ece(POSTERIOR[:0], LABEL[:0]), r"\(0, 3\)"),
        (lambda: calibration.nll(POSTERIOR, LABEL + 3), "integers 0 to 2"),
        (lambda: calibration.brier(POSTERIOR, LABEL * 1.0), "float64"),
        (lambda: calibration.ece(POSTERIOR * [[1], [2], [1], [1]], LABEL), "row 1: .* no distribution"),
        (lambda: calibration.ece(POSTERIOR * np.nan, LABEL), "row 0: .*4 are so"),
        (lambda: calibration.reliability(POSTERIOR, LABEL, bins="depth"), "'depth'.*width, mass"),
        (lambda: calibration.reliability(POSTERIOR, LABEL, n_bins=0), "n_bins = 0"),
        (lambda: calibration.interval(POSTERIOR, LABEL, ["a"] * 4), "at least 2 subjects, got 1"),
        (lambda: calibration.interval(POSTERIOR, LABEL, ["a", "b"]), "2 subjects for 4 samples"),
        (lambda: calibration.interval(POSTERIOR, LABEL, list("abab"), measure="mce"), "'mce'"),
        (lambda: calibration.fit_by_fold(VALIDATION.assign(subset="test"), TRUE), "subset test found"),
        (lambda: calibration.fit_by_fold(VALIDATION, TRUE[:2]), "needs one label"),
        (lambda: calibration.apply_by_fold(VALIDATION, TEMPERATURE), "fold 0"),
        (lambda: calibration.summary(POSTERIOR, LABEL, temperature=TEMPERATURE), "need the fold of each row"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
