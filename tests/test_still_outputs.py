"""What a run on stills leaves: tables that can be read again, and numbers that scikit-learn finds as well."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from emolib import models, posteriors, runs, still_outputs

CLASSES = ("neutral", "positive", "negative")
N = 60


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))
    return runs.begin(stage="pretraining", variant="main", study="mini", params={"seed": 1})


def made(seed=0):
    rng = np.random.default_rng(seed)
    manifest = pd.DataFrame({"sample": np.arange(N), "subject": [f"s{k}" for k in range(N)]})
    label = rng.integers(0, 3, N)
    label[50:] = -1  # no counterpart: in no part
    rows = rng.permutation(50)
    posterior = rng.dirichlet(np.ones(3), 50).astype(np.float32)
    return manifest, label, {"test": (rows, posterior, np.arange(50) % 5), "validation": (rows, posterior, 0)}


def test_the_tables_are_read_again_and_the_numbers_are_those_of_scikit_learn(run):
    manifest, label, judged = made()
    results = still_outputs.save(run, **judged, manifest=manifest, label=label, classes=CLASSES, seed=1)
    rows, posterior, fold = judged["test"]
    table = posteriors.read(run.folder / "predictions.parquet", classes=CLASSES).set_index("sample").loc[rows]
    np.testing.assert_allclose(table[[f"p_{name}" for name in CLASSES]], posterior)
    assert table["fold"].tolist() == fold.tolist() and set(table["subset"]) == {"test"}
    assert set(posteriors.read(run.folder / "validation.parquet", classes=CLASSES)["subset"]) == {"validation"}
    stills = run.table("stills").set_index("sample")
    assert stills.loc[rows, "label"].tolist() == label[rows].tolist() and len(stills) == 50
    known, answer = results.set_index("metric"), posterior.argmax(1)
    assert known.loc["accuracy", "value"] == pytest.approx(metrics.accuracy_score(label[rows], answer))
    assert known.loc["uar", "value"] == pytest.approx(metrics.balanced_accuracy_score(label[rows], answer))
    assert known.loc["macro_f1", "value"] == pytest.approx(metrics.f1_score(label[rows], answer, average="macro"))
    of_folds = [np.mean(answer[fold == k] == label[rows][fold == k]) for k in range(5)]
    assert known.loc["accuracy", "mean_of_folds"] == pytest.approx(np.mean(of_folds))
    assert known.loc["accuracy", "sd_of_folds"] == pytest.approx(np.std(of_folds, ddof=1))
    assert (known["low"] <= known["value"]).all() and (known["value"] <= known["high"]).all()


def test_groups_are_duplicates_where_they_are_known_and_make_intervals_wider(run):
    manifest, label, judged = made()
    alone = still_outputs.save(run, **judged, manifest=manifest, label=label, classes=CLASSES, seed=1)
    grouped = manifest.assign(duplicate_group=np.arange(N) // 10)
    together = still_outputs.save(run, **judged, manifest=grouped, label=label, classes=CLASSES, seed=1)
    assert alone["n_groups"].tolist() == [50] * 3 and together["n_groups"].tolist() == [5] * 3
    assert run.table("stills")["group"].nunique() == 5
    np.testing.assert_allclose(alone["value"], together["value"])


def test_a_still_may_validate_several_folds_but_is_tested_once(run):
    manifest, label, judged = made()
    rows, posterior, _ = judged["test"]
    twice = (np.tile(rows, 2), np.tile(posterior, (2, 1)), np.repeat([0, 1], 50))
    options = {"manifest": manifest, "label": label, "classes": CLASSES, "seed": 1}
    still_outputs.save(run, test=judged["test"], validation=twice, **options)
    assert run.table("validation")["fold"].value_counts().to_dict() == {0: 50, 1: 50}
    with pytest.raises(ValueError, match=f"row {rows[0]} of the manifest is tested 2 times"):
        still_outputs.save(run, test=twice, validation=twice, **options)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"test": (np.array([0, 55]), np.full((2, 3), 1 / 3), 0)}, r"test: label\(s\) \[-1\]"),
        ({"test": (np.array([0, 1]), np.ones((2, 3)), 0)}, "sums to 3"),
        ({"test": (np.array([0, 1]), np.full((2, 2), 0.5), 0)}, r"\(2, 2\) received"),
    ],
)
def test_what_is_no_prediction_is_refused(run, change, says):
    manifest, label, judged = made()
    with pytest.raises(ValueError, match=says):
        still_outputs.save(run, **(judged | change), manifest=manifest, label=label, classes=CLASSES, seed=1)


def test_metrics_survive_the_run(run):
    manifest, label, judged = made()
    results = still_outputs.save(run, **judged, manifest=manifest, label=label, classes=CLASSES, seed=1)
    numbers = {"label_space": "valence3", "n_parameters": 7, "best_epochs": [3], "train_seconds": [1.5]}
    run.finish(metrics=still_outputs.metrics(results, **numbers, more="x"))
    read = runs.load("mini", "pretraining").metrics
    assert {name: read[name] for name in numbers} == numbers and read["more"] == "x"
    assert read["test_accuracy"]["value"] == results["value"].iloc[0] and set(read["test_uar"]) == {
        "value",
        "low",
        "high",
    }


@pytest.mark.parametrize("model", ["baseline", "guided"])
def test_the_number_of_parameters_is_that_of_the_network(model):
    network = models.build(model, 7)
    assert still_outputs.n_parameters(model, 7) == sum(one.numel() for one in network.parameters())
