"""Answers aligned over seeds whatever the order of rows, metrics against scikit-learn, and what a run leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from emolib import cross_fitting, performance_outputs, performance_results, performances, published, runs

CLASSES = ["neutral", "positive", "negative"]


@pytest.fixture
def asked():
    rng = np.random.default_rng(0)
    n = 60
    ids = [f"p{k:02d}" for k in rng.permutation(n)]
    people = pd.DataFrame(
        {"performance": ids, "subject": [f"s{k % 6}" for k in range(n)], "label": rng.integers(0, 3, n)}
    )
    fold = np.array([int(name[1:]) % 3 for name in people["subject"]])
    tables, said = [], rng.dirichlet(np.ones(3), size=(2, n)).astype(np.float32)
    for seed in (0, 1):
        for k in range(3):
            rows = rng.permutation(np.flatnonzero(fold == k))  # rows of a table have no order that counts
            tables.append(
                performances.posterior_table(
                    people["performance"].iloc[rows], said[seed][rows], classes=CLASSES, fold=k, subset="test",
                    seed=seed + 7,
                )
            )  # fmt: skip
    return people, pd.concat(tables, ignore_index=True), said, fold


def test_answers_are_in_the_order_of_the_performances(asked):
    people, table, said, fold = asked
    found = performance_results.answers(table, people, classes=CLASSES)
    np.testing.assert_array_equal(found.posterior, said)
    np.testing.assert_array_equal(found.fold, fold)
    assert found.seeds == (7, 8) and found.performance.tolist() == people["performance"].tolist()


def test_the_summary_is_that_of_scikit_learn_over_seeds_and_folds(asked):
    people, table, said, fold = asked
    true, predicted = people["label"].to_numpy(), said.argmax(axis=2)
    found = performance_results.summary(table, people, classes=CLASSES).set_index("metric")
    metrics = {"accuracy": accuracy_score, "uar": balanced_accuracy_score}
    metrics["macro_f1"] = lambda t, p: f1_score(t, p, average="macro")
    for name, metric in metrics.items():
        assert found.loc[name, "value"] == pytest.approx(np.mean([metric(true, one) for one in predicted]))
        by_fold = [[metric(true[fold == k], one[fold == k]) for k in range(3)] for one in predicted]
        assert found.loc[name, "mean_of_folds"] == pytest.approx(np.mean(by_fold))
        assert found.loc[name, "sd_of_folds"] == pytest.approx(np.std(np.mean(by_fold, axis=0), ddof=1))
        assert found.loc[name, "low"] <= found.loc[name, "value"] <= found.loc[name, "high"]
    assert found.loc["accuracy", ["n", "n_subjects", "n_seeds"]].tolist() == [60, 6, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[1:], "0 answers"),
        (lambda table: table.replace({"performance": {"p00": "other"}}), "'other' is answered"),
        (lambda table: table.assign(subset="train"), "no row"),
        (lambda table: table.assign(fold=np.where(table["seed"] == 7, 1, table["fold"])), "different folds"),
        (lambda table: pd.concat([table, table.assign(fold=9)], ignore_index=True), "2 answers"),
    ],
)
def test_answers_that_are_not_one_a_seed_are_refused(asked, change, message):
    people, table, _, _ = asked
    with pytest.raises(ValueError, match=message):
        performance_results.answers(change(table).reset_index(drop=True), people, classes=CLASSES)


def test_a_run_is_loaded_as_it_was_saved(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))
    people, table, _, _ = asked
    run = runs.begin(stage="action_units", variant="main", study="made", params={})
    fitted = cross_fitting.CrossFitted(table, {"history": pd.DataFrame({"epoch": [1]})})
    named = {"label_space": "valence3", "protocol": "nested"}
    results = performance_outputs.save(run, fitted, people, seed=1, beside="ravdess_fusion", scaling="none", **named)
    run.finish(metrics=performance_outputs.metrics(results, **named, n_features=17))
    loaded = performance_outputs.load(runs.load("made", "action_units"))
    pd.testing.assert_frame_equal(loaded.posteriors, table)
    assert loaded.label_space == "valence3" and loaded.protocol == "nested"
    summary = runs.load("made", "action_units").table("summary").iloc[0]
    assert summary["accuracy"] == results["value"][0] and summary["scaling"] == "none"
    assert len(runs.load("made", "action_units").table("history")) == 1
    theirs = published.performance_table("ravdess_fusion")
    pd.testing.assert_frame_equal(runs.load("made", "action_units").table("summary_published"), theirs)


def test_a_table_of_a_fit_must_not_replace_one_of_the_run(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))
    people, table, _, _ = asked
    run = runs.begin(stage="action_units", variant="main", study="made", params={})
    fitted = cross_fitting.CrossFitted(table, {"results": pd.DataFrame()})
    with pytest.raises(ValueError, match="results"):
        performance_outputs.save(run, fitted, people, label_space="valence3", protocol="nested", seed=1)
