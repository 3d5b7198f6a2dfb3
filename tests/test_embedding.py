"""Embedding of test frames, its projections, and agreement of neighbours against scikit-learn and known geometry."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from emolib import embedding, models, posteriors

CLASSES = ["neutral", "positive", "negative"]


@pytest.fixture
def trained(tmp_path):
    """A run of two folds over 40 frames, each fold's model with its own weights, and the store's arrays."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 256, (40, 48, 48), dtype=np.uint8) for name in ("image", "guide/saliency")}
    frames = pd.DataFrame({"sample": np.arange(100, 140)})  # a sample is no position
    states = {}
    options = {"second_dropout": 0.5}
    for k in (0, 1):
        torch.manual_seed(k)
        states[k] = models.build("guided", 3, **options).state_dict()
        path = tmp_path / f"fold{k}.safetensors"
        models.save_weights(path, states[k], model="guided", classes=CLASSES, options=options)
    predictions = pd.DataFrame({"sample": frames["sample"], "fold": np.arange(40) // 30, "subset": "test"})
    run = SimpleNamespace(folder=tmp_path, params={"guide": "saliency"}, table={"predictions": predictions}.get)
    return run, SimpleNamespace(array=arrays.get), frames, states


def test_test_frames_of_a_fold_are_embedded_by_the_model_of_that_fold(trained):
    run, store, frames, states = trained
    features, rows = embedding.of_variant(run, store, frames, fold=1, n_frames=7, seed=0)
    assert features.shape == (7, 50) and (np.diff(rows) > 0).all() and rows.min() >= 30
    expected = posteriors.embed(
        store.array("image"), store.array("guide/saliency"), rows, model="guided", n_classes=3, state=states[1]
    )
    np.testing.assert_allclose(features, expected, atol=1e-6)
    again, same = embedding.of_variant(run, store, frames, fold=1, n_frames=7, seed=0)
    np.testing.assert_array_equal(again, features)
    np.testing.assert_array_equal(same, rows)
    assert embedding.of_variant(run, store, frames, fold=1, n_frames=99, seed=0)[1].tolist() == list(range(30, 40))


def test_a_fold_that_is_not_there_is_refused(trained):
    run, store, frames, _ = trained
    with pytest.raises(ValueError, match="no test frame in fold 2; folds are \\[0, 1\\]"):
        embedding.of_variant(run, store, frames, fold=2, n_frames=5, seed=0)
    with pytest.raises(ValueError, match="10 test frames of fold 1 are not among"):
        embedding.of_variant(run, store, frames[:30], fold=1, n_frames=5, seed=0)
    with pytest.raises(ValueError, match="n_frames: 0"):
        embedding.of_variant(run, store, frames, fold=1, n_frames=0, seed=0)
    (run.folder / "fold1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="fold1"):
        embedding.of_variant(run, store, frames, fold=1, n_frames=5, seed=0)


def clusters(centres, n=30, spread=0.1, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(centre, spread, (n, len(centre))) for centre in centres])


def test_pca_is_the_projection_with_the_largest_variance():
    features = np.random.default_rng(0).normal(size=(80, 10)) * np.linspace(3, 0.5, 10)
    points = embedding.project(features, seed=0)
    values = np.linalg.eigvalsh(np.cov(features.T))
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[:-3:-1], rtol=1e-4)
    np.testing.assert_allclose(pdist(points), pdist(PCA(2).fit_transform(features)), rtol=1e-3)


@pytest.mark.parametrize("n", [4, 10, 150])
@pytest.mark.parametrize("method", embedding.METHODS)
def test_projections_are_deterministic_and_centred(method, n):
    features = np.random.default_rng(1).normal(size=(n, 6))
    points = embedding.project(features, method=method, seed=5)
    assert points.shape == (n, 2) and points.dtype == np.float32
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_array_equal(points, embedding.project(features, method=method, seed=5))


def test_tsne_keeps_far_clusters_apart():
    points = embedding.project(clusters(np.eye(3) * 10), method="tsne", seed=0)
    group = np.repeat(range(3), 30)
    nearest = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points, return_distance=False)
    assert (group[nearest] == group[:, None]).all()


def test_neighbours_without_exclusion_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    features, group = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    nearest = NearestNeighbors(n_neighbors=7).fit(features).kneighbors(return_distance=False)
    found = embedding.neighbours(features, group, apart=np.arange(60), k=7)  # only itself is left out
    assert found["agreement"] == pytest.approx((group[nearest] == group[:, None]).mean())
    count = np.bincount(group)
    assert found["chance"] == pytest.approx((count * (count - 1)).sum() / (60 * 59))
    assert found["n_frames"] == 60


def test_agreement_of_random_features_is_chance():
    rng = np.random.default_rng(3)
    found = embedding.neighbours(rng.normal(size=(900, 4)), rng.integers(0, 4, 900), apart=np.arange(900) // 30)
    assert found["agreement"] == pytest.approx(found["chance"], abs=0.03)


def test_separation_tells_emotion_from_person():
    # 4 subjects x 2 emotions, a video each: frames of a video lie together, videos of an emotion lie near each other
    labels, subjects = np.repeat([0, 1] * 4, 20), np.repeat(np.arange(4), 40)
    frames = pd.DataFrame({"label": labels, "subject": subjects, "video": subjects * 10 + labels})
    by_emotion = clusters([[10 * label, subject] for subject in range(4) for label in (0, 1)], n=20)
    table = embedding.separation(by_emotion, frames).set_index(["group", "apart"])
    assert table.loc[("label", "subject"), "agreement"] == 1 and table.loc[("label", "subject"), "chance"] == 0.5
    assert table.loc[("label", "video"), "agreement"] == 1
    assert table.loc[("subject", "video"), "agreement"] == 0
    by_person = clusters([[label, 10 * subject] for subject in range(4) for label in (0, 1)], n=20)
    table = embedding.separation(by_person, frames).set_index(["group", "apart"])
    assert table.loc[("subject", "video"), "agreement"] == 1
    assert table.loc[("subject", "video"), "chance"] == pytest.approx(20 / 140)
    assert table.loc[("label", "video"), "agreement"] == 0


def test_where_no_frame_can_have_a_neighbour_there_is_no_number():
    frames = pd.DataFrame({"label": [0, 1] * 4, "subject": "a", "video": np.arange(8)})
    table = embedding.separation(np.random.default_rng(0).normal(size=(8, 3)), frames, k=3).set_index(
        ["group", "apart"]
    )
    assert np.isnan(table.loc[("label", "subject"), "agreement"]) and table.loc[("label", "subject"), "n_frames"] == 0
    assert table.loc[("subject", "video"), "agreement"] == table.loc[("subject", "video"), "chance"] == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: embedding.project(np.zeros((3, 5)), seed=0), r"\(3, 5\)"),
        (lambda: embedding.project(np.full((9, 5), np.nan), seed=0), "finite"),
        (lambda: embedding.project(np.zeros((9, 5)), method="umap", seed=0), "'umap'.*pca, tsne"),
        (lambda: embedding.neighbours(np.zeros((9, 5)), np.zeros(8), apart=np.zeros(9)), r"group \(8,\)"),
        (lambda: embedding.neighbours(np.zeros((9, 5)), np.zeros(9), apart=np.zeros(9), k=0), "k = 0"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
