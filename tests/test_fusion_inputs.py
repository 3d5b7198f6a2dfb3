"""What is fused: runs opened by name, published tables beside them, and no performance described in two ways."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emolib import fusion, fusion_inputs, performance_outputs, published, runs
from emolib.cross_fitting import Fitted, Parts, cross_fit
from emolib.folds import make_folds
from emolib.labels import names

REAL = Path(__file__).parents[1] / "../shared/data/ravdess_au_posteriors.zip"


def people(n=48) -> pd.DataFrame:
    table = pd.DataFrame({"performance": [f"01-{1 + k % 8:02d}-{k:02d}" for k in range(n)], "label": np.arange(n) % 8})
    return table.assign(subject=[f"{1 + k // 8:02d}" for k in range(n)], intensity="normal")


def guess(parts: Parts, label: np.ndarray, seed: int) -> Fitted:
    rng = np.random.default_rng([seed, parts.seed, *parts.predict[:3]])
    said = rng.dirichlet(np.ones(8), len(parts.predict)) + 0.4 * np.eye(8)[label[parts.predict]]
    return Fitted(said / said.sum(axis=1, keepdims=True))


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Makes finished runs on performances."""
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))

    def make(stage: str, table: pd.DataFrame, *, space="ravdess8", protocol="nested", seeds=(1,)) -> runs.Upstream:
        run = runs.begin(stage=stage, variant="main", study="mini", params={})
        folds = make_folds(table, n_folds=3, protocol=protocol, seed=1)
        fit = partial(guess, label=table["label"].to_numpy(), seed=len(stage))
        of = {"folds": folds, "seeds": seeds, "classes": names(space), "workers": 1, "progress": False}
        done = cross_fit(fit, table, inner_folds=2, **of)
        shared = {"label_space": space, "protocol": protocol}
        results = performance_outputs.save(run, done, table, seed=1, **shared)
        run.finish(
            metrics=performance_outputs.metrics(
                results, **shared, normalisation="transductive", known_of_test_person="nothing"
            )
        )
        return runs.load("mini", stage)

    return make


def test_runs_are_opened_and_fused_whatever_the_order_of_their_rows(finished):
    table = people()
    opened = {"face": finished("face", table, seeds=(1, 2)), "voice": finished("voice", table)}
    found = fusion_inputs.collect(opened)
    assert found.label_space == "ravdess8" and set(found.protocols.values()) == {"nested"}
    assert list(found.performances.columns) == ["performance", "subject", "label"]
    assert found.performances["performance"].tolist() == sorted(table["performance"])
    overview = found.overview().set_index("table")
    assert overview["seeds"].to_dict() == {"face": 2, "voice": 1} and (overview["test"] == 48).all()
    assert (overview["normalisation"] == "transductive").all() and (overview["known_of_test_person"] == "nothing").all()
    assert (overview["out_of_fold"] == 48).all() and (overview["folds"] == 3).all()
    joined = fusion.join(found.tables, found.performances, classes=names("ravdess8"))
    for method in fusion.METHODS:
        done = fusion.fuse(joined, method=method).posteriors
        assert (done["subset"] == "test").sum() == 2 * 48


def test_tables_that_do_not_fit_are_named(finished):
    table = people()
    face = finished("face", table)
    other = finished("other", table.assign(label=(table["label"] + 1) % 8))
    with pytest.raises(ValueError, match="'01-01-00' is described in two ways .face: subject 01, label 0, other: subj"):
        fusion_inputs.collect({"face": face, "other": other})
    elsewhere = finished("elsewhere", table, space="mmer8")
    with pytest.raises(ValueError, match="label spaces differ"):
        fusion_inputs.collect({"face": face, "elsewhere": elsewhere})
    with pytest.raises(ValueError, match="nothing to fuse"):
        fusion_inputs.collect({})


def test_published_tables_stand_beside_runs(tmp_path):
    if not REAL.is_file():
        pytest.skip("../shared/data/ravdess_au_posteriors.zip is not here")
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(tmp_path)
    found = fusion_inputs.collect({}, published=["wav2vec", "au_mlp"], root=tmp_path)
    assert len(found.performances) == 1440 and found.label_space == "ravdess8"
    assert found.protocols == {"wav2vec": "reference", "au_mlp": "reference"}
    assert set(found.normalisations.values()) == {"none"}
    assert found.overview().set_index("table").loc["wav2vec", ["test", "train"]].tolist() == [1440, 1440]


def test_published_numbers_by_name():
    table = published.performance_table("ravdess_fusion")
    assert table["value"].max() == pytest.approx(0.867) and (table["low"] < table["value"]).all()
    assert published.performance_table("").empty and list(published.performance_table("").columns) == list(
        table.columns
    )
    with pytest.raises(ValueError, match="'x': one of ravdess_fusion, or '' for none"):
        published.performance_table("x")


@pytest.mark.parametrize(
    ("runs_named", "expected"),
    [
        (["action_units/main", "speech/main"], ["action_units/main", "speech/main"]),
        (["a/action_units/face", "b/speech/voice"], ["face", "voice"]),
        (["a/action_units/cnn", "b/speech/cnn"], ["action_units/cnn", "speech/cnn"]),
        (["a/speech/cnn", "b/speech/cnn"], ["a/speech/cnn", "b/speech/cnn"]),
        (["x/au_mlp", "y/face"], ["x/au_mlp", "y/face"]),
    ],
)
def test_runs_are_called_by_the_shortest_end_that_tells_them_apart(runs_named, expected):
    assert list(fusion_inputs.short_names(runs_named, taken=["au_mlp"]).values()) == expected


def test_a_run_is_fused_once():
    with pytest.raises(ValueError, match="'a/b' is named 2 times"):
        fusion_inputs.short_names(["a/b", "c/d", "a/b"])
