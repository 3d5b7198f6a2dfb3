"""Metrics, intervals and tests, against scikit-learn, SciPy and plain resampling."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from emolib import evaluation, intervals, resampling


def answers(seed, *, n=200, n_classes=4, n_subjects=6, skill=0.5, unanswered=0.0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_classes, n)
    predicted = np.where(rng.random(n) < skill, true, rng.integers(0, n_classes, n))
    predicted[rng.random(n) < unanswered] = -1
    subject = np.array([f"s{k}" for k in rng.integers(0, n_subjects, n)])
    subject[:n_subjects] = [f"s{k}" for k in range(n_subjects)]
    return true, predicted, subject


SKLEARN = {
    "accuracy": metrics.accuracy_score,
    "uar": metrics.balanced_accuracy_score,
    "macro_f1": lambda t, p: metrics.f1_score(t, p, average="macro"),
}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), metric=st.sampled_from(sorted(SKLEARN)))
def test_three_routes_to_a_metric_agree(seed, metric):
    true, predicted, subject = answers(seed)
    expected = SKLEARN[metric](true, predicted)
    assert getattr(evaluation, metric)(true, predicted) == pytest.approx(expected, abs=1e-12)
    interval = evaluation.subject_bootstrap(true, predicted, subject, metric=metric, n_resamples=5)
    assert interval.value == pytest.approx(expected, abs=1e-12) and interval.n_subjects == 6


@pytest.mark.parametrize(
    ("true", "predicted", "accuracy", "uar", "macro_f1"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 0], 3 / 4, 3 / 4, (0.8 + 2 / 3) / 2),
        ([0, 0, 0, 1], [0, 0, 0, 0], 3 / 4, 1 / 2, (6 / 7 + 0) / 2),
        ([1, 1, 1], [1, 1, 2], 2 / 3, 2 / 3, (0.8 + 0) / 2),  # class 0 does not occur, class 2 only in the answers
        ([0, 1], [-1, 1], 1 / 2, 1 / 2, 1 / 2),  # no answer is wrong, and no class
    ],
)
def test_conventions_by_hand(true, predicted, accuracy, uar, macro_f1):
    expected = {"accuracy": accuracy, "uar": uar, "macro_f1": macro_f1}
    for metric, value in expected.items():
        assert getattr(evaluation, metric)(np.array(true), np.array(predicted)) == pytest.approx(value)
        halves = np.arange(len(true)) % 2
        interval = evaluation.subject_bootstrap(true, predicted, halves, metric=metric, n_resamples=2)
        assert interval.value == pytest.approx(value)


def test_confusion_rows_are_the_truth_and_a_missing_answer_is_in_no_column():
    true, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, -1])
    np.testing.assert_array_equal(evaluation.confusion(true, predicted, n_classes=3), [[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    normalised = evaluation.confusion(true, predicted, n_classes=3, normalise="true")
    np.testing.assert_allclose(normalised, [[0.5, 0.5, 0], [0, 2 / 3, 0], [np.nan] * 3])


def test_per_class_by_hand_with_nan_where_undefined():
    table = evaluation.per_class(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=["a", "b", "c"]).set_index("class")
    np.testing.assert_allclose(table.loc["a"], [1, 0.5, 2 / 3, 2])
    np.testing.assert_allclose(table.loc["b"], [0.5, 1, 2 / 3, 1])
    assert table.loc["c", ["precision", "recall"]].isna().all() and table.loc["c", "n"] == 0


def test_by_fold_and_its_mean():
    true, predicted = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1])
    values = evaluation.by_fold(true, predicted, [3, 3, 5, 5])
    assert values.to_dict() == {3: 1.0, 5: 0.5}
    assert evaluation.mean_over_folds(values) == (0.75, pytest.approx(np.sqrt(0.125)), 2)
    assert np.isnan(evaluation.mean_over_folds([0.5]).sd)


@pytest.mark.parametrize("metric", sorted(SKLEARN))
def test_bootstrap_limits_equal_those_of_resampling_rows_one_subject_at_a_time(metric):
    true, predicted, subject = answers(3, n=400, n_subjects=9)
    rows = [np.flatnonzero(subject == s) for s in sorted(set(subject))]
    drawn = np.random.default_rng(7).integers(9, size=(300, 9))  # the draws that seed 7 makes
    values = []
    for draw in drawn:
        chosen = np.concatenate([rows[k] for k in draw])
        values.append(SKLEARN[metric](true[chosen], predicted[chosen]))
    low, high = np.quantile(values, [0.05, 0.95])
    interval = evaluation.subject_bootstrap(
        true, predicted, subject, metric=metric, n_resamples=300, confidence=0.9, seed=7
    )
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n_subjects=st.integers(4, 30), skill=st.floats(0, 1))
def test_an_accuracy_lies_in_its_interval_and_the_interval_in_0_to_1(seed, n_subjects, skill):
    true, predicted, subject = answers(seed, n_subjects=n_subjects, skill=skill, unanswered=0.1)
    interval = evaluation.subject_bootstrap(true, predicted, subject, n_resamples=400, seed=seed)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    shuffled = np.random.default_rng(seed).permutation(len(true))
    again = evaluation.subject_bootstrap(
        true[shuffled], predicted[shuffled], subject[shuffled], n_resamples=400, seed=seed
    )
    assert again == interval


def test_an_interval_is_readable_in_a_sentence():
    assert str(evaluation.Interval(0.61234, 0.5, 0.7, 24)) == "0.612 [0.500, 0.700]"


def seeded(seed, n_seeds, **options):
    """Truth, answers [S, N] of seeds that differ in skill, and subjects."""
    true, _, subject = answers(seed, **options)
    rng = np.random.default_rng(seed + 1)
    skill = rng.uniform(0.3, 0.8, (n_seeds, 1))
    return true, np.where(rng.random((n_seeds, len(true))) < skill, true, (true + 1) % 4), subject


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n_seeds=st.integers(1, 4), metric=st.sampled_from(sorted(SKLEARN)))
def test_the_value_of_several_seeds_is_the_mean_of_their_values(seed, n_seeds, metric):
    true, predicted, subject = seeded(seed, n_seeds)
    interval = evaluation.subject_bootstrap(true, predicted, subject, metric=metric, n_resamples=50)
    assert interval.value == pytest.approx(np.mean([SKLEARN[metric](true, one) for one in predicted]))
    alone = evaluation.subject_bootstrap(true, predicted[0], subject, metric=metric, n_resamples=50)
    repeated = np.tile(predicted[0], (3, 1))
    same = evaluation.subject_bootstrap(true, repeated, subject, metric=metric, n_resamples=50)
    assert (same.value, same.low, same.high) == pytest.approx((alone.value, alone.low, alone.high))


@pytest.mark.parametrize("metric", sorted(SKLEARN))
def test_limits_of_several_seeds_equal_those_of_resampling_subjects_for_all_seeds_at_once(metric):
    true, predicted, subject = seeded(3, 3, n=400, n_subjects=9)
    rows = [np.flatnonzero(subject == s) for s in sorted(set(subject))]
    values = []
    for draw in np.random.default_rng(7).integers(9, size=(200, 9)):
        chosen = np.concatenate([rows[k] for k in draw])
        values.append(np.mean([SKLEARN[metric](true[chosen], one[chosen]) for one in predicted]))
    interval = evaluation.subject_bootstrap(true, predicted, subject, metric=metric, n_resamples=200, seed=7)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(values, [0.025, 0.975]))


def test_resampled_seeds_widen_the_interval_and_change_no_value():
    true, predicted, subject = seeded(5, 3, n=2000, n_subjects=40)
    fixed, resampled = (
        evaluation.subject_bootstrap(true, predicted, subject, resample_seeds=choice) for choice in (False, True)
    )
    assert resampled.value == fixed.value
    assert resampled.high - resampled.low > 1.5 * (fixed.high - fixed.low)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n_a=st.integers(1, 3), n_b=st.integers(1, 3))
def test_a_paired_test_of_seeds_is_about_the_means_of_each_subject(seed, n_a, n_b):
    true, a, subject = seeded(seed, n_a, n_subjects=8)
    _, b, _ = seeded(seed + 7, n_b)
    test = evaluation.paired_test(true, a, b, subject, n_resamples=200)
    gain = (a == true).mean(axis=0) - (b == true).mean(axis=0)
    assert test.difference == pytest.approx(gain.mean())
    of_subject = pd.Series(gain).groupby(subject).sum().to_numpy()
    sums = np.array(list(itertools.product((1, -1), repeat=8))) @ of_subject
    assert test.exact and test.p_value == pytest.approx(np.mean(np.abs(sums) >= abs(of_subject.sum()) - 1e-9))
    once, many = (evaluation.paired_test(true, x, b[0], subject, n_resamples=99) for x in (a[0], np.tile(a[0], (3, 1))))
    assert (many.difference, many.p_value) == (pytest.approx(once.difference), once.p_value)


def test_mean_of_gains_equals_the_interval_of_an_accuracy_where_gains_are_right_answers():
    true, predicted, subject = answers(2)
    of_accuracy = evaluation.subject_bootstrap(true, predicted, subject, n_resamples=300, seed=4)
    of_mean = evaluation.subject_mean(predicted == true, subject, n_resamples=300, seed=4)
    assert (of_mean.value, of_mean.low, of_mean.high) == pytest.approx(
        (of_accuracy.value, of_accuracy.low, of_accuracy.high)
    )


def test_the_unit_is_the_subject_not_the_frame():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(10) < 0.5, 500)  # a subject is all right or all wrong: 10 samples, not 5,000
    subject = np.repeat(np.arange(10), 500)
    by_subject = evaluation.subject_bootstrap(np.ones(5000, int), right.astype(int), subject)
    by_frame = evaluation.subject_bootstrap(np.ones(5000, int), right.astype(int), np.arange(5000), n_resamples=200)
    assert by_subject.high - by_subject.low > 0.4 and by_frame.high - by_frame.low < 0.05


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        skill = np.repeat(rng.beta(6, 4, 24), 40)  # subjects differ; the mean of beta(6, 4) is 0.6
        right = (rng.random(960) < skill).astype(int)
        interval = evaluation.subject_bootstrap(
            np.ones(960, int), right, np.repeat(np.arange(24), 40), n_resamples=300, seed=trial
        )
        covered += interval.low <= 0.6 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("seed", range(5))
def test_exact_p_value_equals_scipys_permutation_test(seed):
    true, a, subject = answers(seed, n=300, n_subjects=9, skill=0.65)
    _, b, _ = answers(seed + 100, n=300)
    b = np.where(np.random.default_rng(seed).random(300) < 0.5, true, b)
    test = evaluation.paired_test(true, a, b, subject, n_resamples=500)
    gain = pd.Series((a == true).astype(int) - (b == true)).groupby(subject).sum().to_numpy()
    scipys = stats.permutation_test(
        (gain, np.zeros(9)), lambda x, y, axis: (x - y).sum(axis), permutation_type="samples", vectorized=True
    )
    assert test.exact and test.p_value == pytest.approx(scipys.pvalue)
    assert test.difference == pytest.approx(np.mean(a == true) - np.mean(b == true))
    assert test.low <= test.difference <= test.high and test.n_subjects == 9


def test_p_value_by_enumeration_with_all_signs():
    true = np.zeros(12, int)
    a, b = true.copy(), true.copy()
    b[:6] = 1  # subjects 0, 1, 2 gain 3, 2, 1; subject 3 is equal
    subject = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3, 3])
    sums = [sum(s * g for s, g in zip(signs, (3, 2, 1), strict=True)) for signs in itertools.product((1, -1), repeat=3)]
    assert evaluation.paired_test(true, a, b, subject).p_value == np.mean([abs(x) >= 6 for x in sums]) == 0.25


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_swapping_the_variants_changes_the_sign_alone(seed):
    true, a, subject = answers(seed)
    _, b, _ = answers(seed + 1)
    ab, ba = (evaluation.paired_test(true, x, y, subject, n_resamples=300) for x, y in ((a, b), (b, a)))
    assert ab.difference == -ba.difference and ab.p_value == ba.p_value
    assert ab.low == pytest.approx(-ba.high) and 0 < ab.p_value <= 1


def test_equal_variants_have_p_1_and_many_subjects_are_drawn_not_enumerated():
    true, a, subject = answers(0, n=2000, n_subjects=30)
    same = evaluation.paired_test(true, a, a, subject)
    assert (same.difference, same.p_value, same.low, same.high) == (0, 1, 0, 0)
    drawn = evaluation.paired_test(true, true, a, subject, n_resamples=999)
    assert not drawn.exact and drawn.p_value == 1 / 1000  # a beats b for all 30: only the observed signs are as extreme


def test_drawn_p_value_is_close_to_the_exact_one(monkeypatch):
    true, a, subject = answers(11, n=400, n_subjects=12, skill=0.62)
    _, b, _ = answers(12, n=400)
    b = np.where(np.random.default_rng(2).random(400) < 0.45, true, b)
    exact = evaluation.paired_test(true, a, b, subject)
    monkeypatch.setattr(intervals, "MAX_SUBJECTS_EXACT", 5)
    drawn = evaluation.paired_test(true, a, b, subject)
    assert exact.exact and not drawn.exact and drawn.p_value == pytest.approx(exact.p_value, abs=0.02)


def test_false_alarms_are_as_rare_as_the_p_value_says():
    rng = np.random.default_rng(0)
    true, subject = np.zeros(120, int), np.repeat(np.arange(12), 10)
    p_values = []
    for _ in range(200):
        a, b = (rng.random((2, 120)) < 0.4).astype(int)
        p_values.append(evaluation.paired_test(true, a, b, subject, n_resamples=10).p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.09


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_by_its_definition(p_values):
    adjusted = evaluation.holm(p_values)
    order = np.argsort(p_values, kind="stable")
    running = 0.0
    for rank, k in enumerate(order):
        running = max(running, min(1.0, p_values[k] * (len(p_values) - rank)))
        assert adjusted[k] == pytest.approx(running)
    assert (adjusted >= np.array(p_values)).all() and (np.diff(adjusted[order]) >= 0).all()


def test_filter_quality_by_hand():
    shows = np.array([True, True, True, False, False])
    keep = np.array([True, True, False, False, True])
    quality = evaluation.filter_quality(keep, np.array([0.9, 0.8, 0.3, 0.1, 0.5]), shows)
    assert quality == {
        **{"precision": 0.5, "recall": 0.5, "f1": 0.5, "auc": pytest.approx(5 / 6)},
        **{"share_dropped": 0.4, "base_rate": 0.4, "n_frames": 5},
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_filter_quality_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    keep, shows, score = rng.random(60) < 0.6, rng.random(60) < 0.7, np.round(rng.random(60), 1)
    quality = evaluation.filter_quality(keep, score, shows)
    assert quality["precision"] == pytest.approx(metrics.precision_score(~shows, ~keep))
    assert quality["recall"] == pytest.approx(metrics.recall_score(~shows, ~keep))
    assert quality["f1"] == pytest.approx(metrics.f1_score(~shows, ~keep))
    pairs = (score[~shows][:, None] < score[shows]) + 0.5 * (score[~shows][:, None] == score[shows])
    assert quality["auc"] == pytest.approx(pairs.mean())


@pytest.mark.parametrize(
    ("keep", "shows", "score", "undefined"),
    [
        ([True, True], [True, False], [0.2, 0.1], {"precision"}),
        ([True, False], [True, True], [0.2, 0.1], {"recall", "auc"}),
        ([True, True], [True, True], [0.2, 0.1], {"precision", "recall", "f1", "auc"}),
        ([True, False], [True, False], None, {"auc"}),
    ],
)
def test_filter_quality_is_nan_exactly_where_it_says(keep, shows, score, undefined):
    quality = evaluation.filter_quality(keep, score, shows)
    assert {name for name, value in quality.items() if np.isnan(value)} == undefined


def test_jaccard():
    assert evaluation.jaccard([True, True, False], [False, True, True]) == pytest.approx(1 / 3)
    assert np.isnan(evaluation.jaccard([False], [False]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([1, 6]))
def test_spearman_equals_scipy_also_with_ties(seed, decimals):
    rng = np.random.default_rng(seed)
    x = np.round(rng.random(50), decimals)
    y = np.round(x + rng.normal(0, 0.5, 50), decimals)
    interval = evaluation.spearman_interval(x, y, np.arange(50) % 7, n_resamples=50)
    assert interval.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert -1 <= interval.low <= interval.high <= 1


def test_spearman_limits_equal_those_of_resampling_rows_one_cluster_at_a_time(monkeypatch):
    rng = np.random.default_rng(4)
    x, cluster = np.round(rng.random(80), 1), np.repeat(np.arange(8), 10)
    y = np.round(x + rng.normal(0, 0.3, 80), 1)
    values = []
    for draw in np.random.default_rng(9).integers(8, size=(200, 8)):
        rows = np.concatenate([np.flatnonzero(cluster == k) for k in draw])
        values.append(stats.spearmanr(x[rows], y[rows]).statistic)
    expected = np.quantile(values, [0.025, 0.975])
    for cells in (resampling._CHUNK_CELLS, 80 * 13):  # in one chunk, and in chunks of 13 resamples
        monkeypatch.setattr(resampling, "_CHUNK_CELLS", cells)
        interval = evaluation.spearman_interval(x, y, cluster, n_resamples=200, seed=9)
        np.testing.assert_allclose([interval.low, interval.high], expected)


ONE = np.array([0, 1])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: evaluation.subject_bootstrap(ONE, ONE, ["a", "b"], metric="f2"), "'f2'.*accuracy, uar, macro_f1"),
        (lambda: evaluation.subject_bootstrap(ONE, ONE, ["a", "a"]), "at least 2 subjects, got 1"),
        (lambda: evaluation.subject_bootstrap(ONE, ONE, ["a"]), "1 subjects for 2 samples"),
        (lambda: evaluation.subject_bootstrap(ONE, ONE, ["a", None]), "row 1 has no subject"),
        (lambda: evaluation.subject_bootstrap(ONE, ONE, ["a", "b"], confidence=95), "confidence = 95"),
        (lambda: evaluation.subject_bootstrap(ONE, ONE, ["a", "b"], n_resamples=0), "n_resamples = 0"),
        (lambda: evaluation.subject_bootstrap(ONE, [ONE, [0, 2.5]], ["a", "b"]), "float64"),
        (lambda: evaluation.subject_bootstrap(ONE, np.ones((3, 4), int), ["a", "b"]), r"\(2,\) and \(4,\)"),
        (lambda: evaluation.subject_bootstrap(ONE, np.ones((0, 2), int), ["a", "b"]), r"\(2,\) and \(0, 2\)"),
        (lambda: evaluation.subject_mean([0.5, np.nan], ["a", "b"]), "finite"),
        (lambda: evaluation.subject_mean([0.5, 1], ["a", "a"]), "at least 2 subjects"),
        (lambda: evaluation.accuracy([0, 1], [0]), r"\(2,\) and \(1,\)"),
        (lambda: evaluation.accuracy([], []), "at least 1"),
        (lambda: evaluation.accuracy([0.0], [0]), "float64"),
        (lambda: evaluation.accuracy([-1], [0]), "count from 0"),
        (lambda: evaluation.confusion(ONE, ONE, n_classes=1), "n_classes = 1"),
        (lambda: evaluation.confusion(ONE, ONE, n_classes=2, normalise="pred"), "'pred'"),
        (lambda: evaluation.by_fold(ONE, ONE, [0, 0], metric="x"), "'x'"),
        (lambda: evaluation.by_fold(ONE, ONE, [0]), "1 folds for 2"),
        (lambda: evaluation.mean_over_folds([0.5, np.nan]), "nan"),
        (lambda: evaluation.holm([0.2, 1.2]), "1.2"),
        (lambda: evaluation.filter_quality([True], [np.nan], [True]), "NaN"),
        (lambda: evaluation.filter_quality([True], [0.1], [True, False]), "one length"),
        (lambda: evaluation.jaccard([True], [True, False]), "shapes"),
        (lambda: evaluation.spearman_interval([1, 1], [1, 2], [0, 1]), "x is constant"),
        (lambda: evaluation.spearman_interval([1, np.nan], [1, 2], [0, 1]), "finite"),
        (lambda: evaluation.spearman_interval([1, 2], [1, 2], [0, 0]), "2 clusters"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_signs_drawn_in_pieces_are_those_drawn_at_once(monkeypatch):
    whole = np.random.default_rng(5).choice((-1, 1), size=(101, 20))
    monkeypatch.setattr(resampling, "_CHUNK_CELLS", 20 * 13)
    pieces = list(resampling.sign_flips(20, False, 101, 5))
    assert len(pieces) == 8
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
