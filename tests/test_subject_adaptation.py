"""Class means that follow a person: EM against one written out, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.utils.estimator_checks import parametrize_with_checks

from emolib.subject_adaptation import AdaptiveDiscriminant


def people(n: int, *, own_way: float, seed: int, n_each: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [n * 4 * n_each, 5], classes, people: means of classes, moved for each person by `own_way` normals."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(0).normal(0, 1.6, (4, 5))
    values, label, who = [], [], []
    for person in range(n):
        moved = means + own_way * rng.normal(size=means.shape)
        code = np.repeat(np.arange(4), n_each)
        values.append(moved[code] + rng.normal(0, 1, (len(code), 5)))
        label.append(code)
        who.append(np.full(len(code), person))
    return np.concatenate(values), np.concatenate(label), np.concatenate(who)


def accuracy(model: AdaptiveDiscriminant, values: np.ndarray, label: np.ndarray, who: np.ndarray) -> float:
    return float(np.mean([np.mean(model.predict(values[who == p]) == label[who == p]) for p in np.unique(who)]))


@parametrize_with_checks([AdaptiveDiscriminant(n_iterations=0)])
def test_it_is_an_estimator_as_scikit_learn_wants_one(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("relevance", "sharpness", "n_iterations"), [(4.0, 0.5, 3), (1.0, 1.0, 1), (8.0, 0.7, 0)])
def test_em_is_the_one_written_out_by_hand(relevance, sharpness, n_iterations):
    values, label, _ = people(5, own_way=0.5, seed=1)
    asked = people(1, own_way=0.5, seed=2)[0]
    model = AdaptiveDiscriminant(relevance=relevance, sharpness=sharpness, n_iterations=n_iterations).fit(values, label)
    means = np.array([values[label == k].mean(axis=0) for k in range(4)])
    covariance = ledoit_wolf(values - means[label], assume_centered=True)[0]

    def posterior(at: np.ndarray) -> np.ndarray:
        density = np.stack([multivariate_normal(one, covariance).logpdf(asked) for one in at], axis=1)
        share = np.exp(sharpness * density) * np.bincount(label) / len(label)
        return share / share.sum(axis=1, keepdims=True)

    at = means
    for _ in range(n_iterations):
        p = posterior(at)
        at = np.stack([(relevance * means[k] + p[:, k] @ asked) / (relevance + p[:, k].sum()) for k in range(4)])
    np.testing.assert_allclose(model.predict_proba(asked), posterior(at), atol=1e-8)


def test_it_gains_where_people_differ_and_loses_little_where_they_do_not():
    plain, adaptive = AdaptiveDiscriminant(n_iterations=0), AdaptiveDiscriminant()
    gains = {}
    for own_way in (0.0, 1.0):
        known, label, _ = people(20, own_way=own_way, seed=3)
        other = people(20, own_way=own_way, seed=4)
        found = [accuracy(one.fit(known, label), *other) for one in (plain, adaptive)]
        gains[own_way] = found[1] - found[0]
    assert gains[1.0] > 0.03 and gains[0.0] > -0.02, gains


def test_rows_of_a_person_are_answered_alike_in_any_order_and_far_relevance_is_no_adaptation():
    values, label, _ = people(5, own_way=0.5, seed=5)
    asked = people(1, own_way=0.5, seed=6)[0]
    model = AdaptiveDiscriminant().fit(values, label)
    order = np.random.default_rng(0).permutation(len(asked))
    np.testing.assert_allclose(model.predict_proba(asked[order]), model.predict_proba(asked)[order], atol=1e-9)
    far = AdaptiveDiscriminant(relevance=1e9).fit(values, label).predict_proba(asked)
    np.testing.assert_allclose(
        far, AdaptiveDiscriminant(n_iterations=0).fit(values, label).predict_proba(asked), atol=1e-6
    )


@pytest.mark.parametrize("change", [{"relevance": 0}, {"sharpness": -1.0}, {"n_iterations": -1}])
def test_a_parameter_out_of_range_is_named(change):
    values, label, _ = people(2, own_way=0.5, seed=5)
    with pytest.raises(ValueError, match=f"{next(iter(change))}: {next(iter(change.values()))!r} received"):
        AdaptiveDiscriminant(**change).fit(values, label)
