"""Static models on folds: what is learned from, what is chosen by whom, who is answered by which model."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from emolib import folds, posteriors, static_fitting, static_models
from emolib.cross_fitting import Parts, cross_fit

CLASSES = ("a", "b", "c")
N, LABEL = 180, np.tile(np.arange(3), 60)
SUBJECT = np.repeat([f"{k:02d}" for k in range(1, 16)], 12)
PERFORMANCES = pd.DataFrame({"performance": [f"p{k}" for k in range(N)], "subject": SUBJECT, "label": LABEL})
VALUES = np.random.default_rng(0).normal(0, 1, (N, 4)) + np.eye(3, 4)[LABEL] * 1.5


def parts(protocol: str = "nested", fold: int = 0) -> Parts:
    one = folds.make_folds(PERFORMANCES, n_folds=5, protocol=protocol, seed=1)[fold]
    predict = np.union1d(np.union1d(one.train, one.validation), one.test)
    return Parts(one.train, one.validation, predict, 3)


def fit(given: Parts, **options):
    asked = {"model": "lda", "scaling": "standard"} | options
    return static_fitting.fit(given, values=VALUES, label=LABEL, subject=SUBJECT, n_classes=3, **asked)


def plain(rows: np.ndarray, asked: np.ndarray, **options) -> np.ndarray:
    how = {"model": "lda", "scaling": "standard"} | options
    return static_models.learn(VALUES[rows], LABEL[rows], n_classes=3, seed=3, **how)(VALUES[asked])


def test_validation_rows_are_answered_by_a_model_that_did_not_learn_from_them():
    given = parts()
    both = np.union1d(given.train, given.validation)
    said = fit(given).posterior
    of_validation = np.isin(given.predict, given.validation)
    np.testing.assert_allclose(said[~of_validation], plain(both, given.predict[~of_validation]), atol=1e-6)
    np.testing.assert_allclose(said[of_validation], plain(given.train, given.validation), atol=1e-6)
    alone = fit(given, learn_from="train").posterior
    np.testing.assert_allclose(alone, plain(given.train, given.predict), atol=1e-6)


def test_under_reference_only_training_rows_are_learned_from():
    given = parts("reference")
    np.testing.assert_allclose(fit(given).posterior, plain(given.train, given.predict), atol=1e-6)
    np.testing.assert_array_equal(static_fitting.learning_rows(given, "train_and_validation"), given.train)


def test_inner_fits_learn_from_both_parts_and_never_from_whom_they_answer():
    one = parts()
    inner = Parts(one.train[24:], one.validation, one.train[:24], 3)
    both = np.union1d(inner.train, inner.validation)
    np.testing.assert_array_equal(static_fitting.learning_rows(inner, "train_and_validation"), both)
    np.testing.assert_allclose(fit(inner).posterior, plain(both, inner.predict), atol=1e-6)


@pytest.mark.parametrize("model", ["lda", "knn", "adaptive_lda"])
def test_labels_of_those_who_are_asked_about_are_not_read(model):
    given, told = parts(), LABEL.copy()
    test = np.setdiff1d(np.arange(N), np.union1d(given.train, given.validation))
    told[test] = (told[test] + 1) % 3
    asked = {
        "model": model,
        "scaling": "standard",
        "n_classes": 3,
        "choices": {"scaling": ["none", "standard"], "components": [2, 0]},
    }
    first = static_fitting.fit(given, values=VALUES, label=LABEL, subject=SUBJECT, **asked)
    other = static_fitting.fit(given, values=VALUES, label=told, subject=SUBJECT, **asked)
    np.testing.assert_array_equal(first.posterior, other.posterior)


def test_choices_are_the_most_accurate_on_inner_subjects_or_on_validation_rows():
    given, choices = parts(), {"n_neighbors": [1, 15], "scaling": ["minmax", "standard"]}
    known = np.union1d(given.train, given.validation)
    inner = folds.subject_folds(SUBJECT[known], n_folds=4, seed=3)
    splits = {
        "inner_folds": [(known[inner != k], known[inner == k]) for k in range(4)],
        "validation": [(given.train, given.validation)],
    }
    for choose_by, expected in splits.items():
        table = fit(given, model="knn", choices=choices, choose_by=choose_by).tables["choices"]
        assert len(table) == 4 and table["chosen"].sum() == 1
        assert table.loc[table["chosen"], "accuracy"].item() == table["accuracy"].max()
        how = {"model": "knn", "options": {"n_neighbors": 15}, "scaling": "minmax"}
        right = np.concatenate([plain(a, b, **how).argmax(axis=1) == LABEL[b] for a, b in expected])
        row = table[table["choice"] == "n_neighbors 15, scaling minmax"]
        assert row["accuracy"].item() == pytest.approx(right.mean())


def test_what_was_chosen_is_what_answers():
    given = parts()
    fitted = fit(given, model="knn", choices={"n_neighbors": [1, 15]}, learn_from="train")
    chosen = int(fitted.tables["choices"].set_index("chosen").loc[True, "choice"].split()[-1])
    expected = plain(given.train, given.predict, model="knn", options={"n_neighbors": chosen})
    np.testing.assert_allclose(fitted.posterior, expected, atol=1e-6)


def test_a_model_that_adapts_is_asked_about_one_person_at_a_time():
    given = parts()
    said = fit(given, model="adaptive_lda", learn_from="train").posterior
    answer = static_models.learn(
        VALUES[given.train], LABEL[given.train], model="adaptive_lda", scaling="standard", n_classes=3, seed=3
    )
    for who in np.unique(SUBJECT):
        own = SUBJECT[given.predict] == who
        np.testing.assert_allclose(said[own], answer(VALUES[given.predict[own]]), atol=1e-6)
    mixed = answer(VALUES[given.predict])
    assert not np.allclose(said, mixed, atol=1e-3)
    members = {"members": [{"model": "lda"}, {"model": "adaptive_lda"}]}
    both = fit(given, model="ensemble", options=members, learn_from="train").posterior
    np.testing.assert_allclose(both, (said + fit(given, learn_from="train").posterior) / 2, atol=1e-6)


def test_calibration_is_the_temperature_of_validation_rows_and_keeps_the_answers():
    given = parts()
    raw = fit(given, model="ridge")
    fitted = fit(given, model="ridge", calibrate=True)
    temperature = fitted.tables["temperature"]["temperature"].item()
    log_said = np.log(plain(given.train, given.validation, model="ridge"))
    assert temperature == pytest.approx(posteriors.fit_temperature(log_said, LABEL[given.validation]), rel=1e-6)
    assert temperature < 0.7, "softmax of ridge margins is far too shy"
    np.testing.assert_array_equal(fitted.posterior.argmax(axis=1), raw.posterior.argmax(axis=1))

    def loss(posterior):
        unseen = np.setdiff1d(given.predict, given.train)
        return -np.log(posterior[np.isin(given.predict, unseen), LABEL[unseen]]).mean()

    assert loss(fitted.posterior) < loss(raw.posterior)


def test_an_inner_fit_that_answers_for_others_alone_is_calibrated_too():
    given = parts()
    asked = np.setdiff1d(given.predict, np.union1d(given.train, given.validation))
    inner = Parts(given.train, given.validation, asked, given.seed)
    said = fit(inner, model="svc", calibrate=True).posterior  # an SVC refuses to answer no rows at all
    np.testing.assert_allclose(said, fit(given, model="svc", calibrate=True).posterior[np.isin(given.predict, asked)])


def test_it_goes_through_cross_fit_with_processes_and_inner_folds():
    made = folds.make_folds(PERFORMANCES, n_folds=3, seed=1)
    one = partial(
        static_fitting.fit,
        values=VALUES,
        label=LABEL,
        subject=SUBJECT,
        n_classes=3,
        model="svc",
        choices={"C": [0.1, 1]},
    )
    asked = {"folds": made, "seeds": [1], "classes": CLASSES, "inner_folds": 2, "progress": False}
    first, second = (cross_fit(one, PERFORMANCES, workers=n, **asked) for n in (1, 2))
    pd.testing.assert_frame_equal(first.posteriors, second.posteriors)
    assert set(first.posteriors["subset"]) == {"train", "validation", "test", "out_of_fold"}
    assert len(first.tables["choices"]) == 3 * (1 + 2) * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learn_from": "all"}, "learn_from: 'all' received, train_and_validation, train are allowed"),
        ({"choose_by": "test", "choices": {"shrinkage": [0.1]}}, "choose_by: 'test' received, inner_folds, validation"),
        ({"choices": {"C": [1]}}, r"options of 'lda': \['C'\]"),
        ({"model": "x"}, "model: 'x'"),
    ],
)
def test_what_is_unknown_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit(parts(), **options)


@pytest.mark.parametrize(
    ("values", "message"), [(np.where(np.eye(N, 4) > 0, np.nan, 1.0), "row 0 is not"), (np.ones(N), r"shape \(180,\)")]
)
def test_values_that_are_not_finite_are_named(values, message):
    with pytest.raises(ValueError, match=f"values: {message}; finite numbers"):
        static_fitting.fit(parts(), values=values, label=LABEL, subject=SUBJECT, n_classes=3, model="lda")
