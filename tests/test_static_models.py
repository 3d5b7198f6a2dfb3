"""Static models by name: against plain scikit-learn, their posteriors, options that are refused, published values."""

from __future__ import annotations

import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from emolib import folds, labels, performance_results, published_posteriors, static_fitting, static_models
from emolib.cross_fitting import cross_fit

REAL = Path(__file__).parents[1] / "../shared/data/ravdess_au_posteriors.zip"
SINGLE = tuple(name for name in static_models.MODELS if name != "ensemble")
X, Y = make_blobs(240, n_features=6, centers=4, cluster_std=4.0, random_state=0)
KNOWN, ASKED = slice(0, 160), slice(160, 240)


def answers(model: str, **given) -> np.ndarray:
    asked = {"n_classes": 4, "seed": 7, "scaling": "standard"} | given
    return static_models.learn(X[KNOWN], Y[KNOWN], model=model, **asked)(X[ASKED])


def test_system_c_has_eleven():
    assert len(static_models.SYSTEM_C) == 11 and set(static_models.SYSTEM_C) < set(static_models.MODELS)
    assert set(static_models.MARGINS) | set(static_models.RANDOM) < set(static_models.MODELS)


@pytest.mark.parametrize("model", SINGLE)
@pytest.mark.parametrize("scaling", static_models.SCALINGS)
def test_the_largest_posterior_is_what_the_estimator_itself_answers(model, scaling):
    said = answers(model, scaling=scaling)
    assert said.shape == (80, 4) and (said >= 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-9)
    pipeline = static_models.build(model, scaling=scaling, seed=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = pipeline.fit(X[KNOWN], Y[KNOWN]).predict(X[ASKED])
    tied = np.isclose(said, said.max(axis=1, keepdims=True)).sum(axis=1) > 1
    assert (said.argmax(axis=1) == predicted)[~tied].all() and tied.mean() < 0.2
    assert (predicted == Y[ASKED]).mean() > 0.5, "blobs that overlap are told apart better than by chance"


def test_margins_are_exchanged_where_votes_of_pairs_disagree_with_them():
    rng = np.random.default_rng(5)
    values, label = rng.normal(size=(300, 5)), rng.integers(0, 6, 300)  # noise, so that votes are often tied
    answer = static_models.learn(values, label, model="svc", scaling="none", n_classes=6, seed=0, options={"C": 50.0})
    other = rng.normal(size=(400, 5))
    estimator = SVC(C=50.0).fit(values, label)
    margins, predicted = estimator.decision_function(other), estimator.predict(other)
    disagree = margins.argmax(axis=1) != predicted
    assert disagree.any() and (answer(other).argmax(axis=1) == predicted).all()
    expected = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer(other)[~disagree], expected[~disagree])
    np.testing.assert_allclose(np.sort(answer(other)), np.sort(expected), err_msg="exchanged, not made up")


@pytest.mark.parametrize(("scaling", "scaler"), [("minmax", MinMaxScaler()), ("standard", StandardScaler())])
def test_scaling_is_fitted_on_the_rows_that_are_learned_from(scaling, scaler):
    plain = make_pipeline(scaler, MLPClassifier((80,), random_state=7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain.fit(X[KNOWN], Y[KNOWN])
    np.testing.assert_allclose(answers("mlp", scaling=scaling), plain.predict_proba(X[ASKED]))
    alone = [
        static_models.learn(X[KNOWN], Y[KNOWN], model="knn", scaling=scaling, n_classes=4, seed=0)(x[None])[0]
        for x in X[ASKED]
    ]
    np.testing.assert_array_equal(alone, answers("knn", scaling=scaling))


@pytest.mark.parametrize("model", SINGLE)
def test_a_class_without_a_training_row_gets_nothing_and_two_classes_work(model):
    two = np.isin(Y[KNOWN], [1, 3])
    answer = static_models.learn(X[KNOWN][two], Y[KNOWN][two], model=model, scaling="standard", n_classes=4, seed=0)
    own = np.isin(Y[ASKED], [1, 3])
    said = answer(X[ASKED][own])
    assert said.shape == (own.sum(), 4) and (said[:, [0, 2]] == 0).all()
    assert (said.argmax(axis=1) == Y[ASKED][own]).mean() > 0.7


@pytest.mark.parametrize("model", [*SINGLE, "ensemble"])
def test_a_seed_decides_random_models_and_no_others(model):
    options = (
        {"members": [{"model": "mlp", "options": {"max_iter": 5}}, {"model": "lda"}]} if model == "ensemble" else {}
    )
    if model == "perceptron":
        options = {"shuffle": True, "tol": None, "max_iter": 3}
    if model == "decision_tree":
        options = {"max_features": 2}  # else only ties are drawn
    first, same, other = (answers(model, seed=seed, options=options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert model in static_models.RANDOM or np.array_equal(first, other)
    if model in ("mlp", "random_forest", "extra_trees", "ensemble", "decision_tree"):
        assert not np.array_equal(first, other)


def test_an_ensemble_is_the_mean_of_its_members_and_twins_differ():
    members = [{"model": "lda", "scaling": "none"}, {"model": "svc", "options": {"C": 3.0}}]
    expected = (answers("lda", scaling="none") + answers("svc", options={"C": 3.0})) / 2
    np.testing.assert_allclose(answers("ensemble", options={"members": members}), expected)
    twins = answers("ensemble", options={"members": [{"model": "mlp"}] * 2})
    assert not np.allclose(twins, answers("mlp"))


def test_products_of_pairs_are_made_after_scaling():
    made = static_models.build("lda", features="pairwise", scaling="standard", seed=0).fit(X, Y)[:-1].transform(X)
    z = StandardScaler().fit_transform(X)
    pairs = [z[:, i] * z[:, j] for i in range(6) for j in range(i + 1, 6)]
    np.testing.assert_allclose(made, np.column_stack([z, *pairs]))


@pytest.mark.parametrize("components", [3, 10_000])
def test_principal_components_are_of_the_scaled_training_rows(components):
    scaler = StandardScaler().fit(X[KNOWN])
    axes = PCA(min(components, 6), svd_solver="full").fit(scaler.transform(X[KNOWN]))
    known, asked = (axes.transform(scaler.transform(X[rows])) for rows in (KNOWN, ASKED))
    plain = static_models.learn(known, Y[KNOWN], model="lda", scaling="none", n_classes=4, seed=7)
    np.testing.assert_allclose(answers("lda", components=components), plain(asked), atol=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "svc", "components": -1}, "components: -1 received, 0"),
        ({"model": "tabnet"}, "model: 'tabnet' received, svc, logistic_regression, ridge"),
        ({"model": "svc", "scaling": "max"}, "scaling: 'max' received, none, minmax, standard are allowed"),
        ({"model": "svc", "features": "cubic"}, "features: 'cubic' received, none, pairwise are allowed"),
        ({"model": "svc", "options": {"c": 1}}, r"options of 'svc': \['c'\] received, C, cache_size"),
        ({"model": "mlp", "options": {"random_state": 1}}, r"options of 'mlp': \['random_state'\]"),
        ({"model": "ensemble"}, "options of 'ensemble': {} received, a list 'members'"),
        ({"model": "ensemble", "options": {"members": [{"name": "svc"}]}}, r"member 0 has \['name'\], model, options"),
        ({"model": "ensemble", "options": {"members": [{"model": "x"}]}}, "model: 'x' received"),
        ({"model": "ensemble", "options": {"members": [{"scaling": "none"}]}}, "member 0 names no model"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_allowed(given, message):
    with pytest.raises(ValueError, match=message):
        answers(**given)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Published means and the folder of the published posteriors."""
    if not REAL.is_file():
        pytest.skip("../shared/data/ravdess_au_posteriors.zip is not here")
    folder = tmp_path_factory.mktemp("published")
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(folder, [n for n in archive.namelist() if n.startswith(("au_mean", "au_mlp"))])
    return folder


REPRODUCED = [
    *(("mlp", "minmax", 60.22), ("mlp", "none", 58.93), ("svc", "minmax", 59.93), ("svc", "none", 54.88)),
    *(("knn", "minmax", 55.40), ("knn", "none", 50.20)),
]


@pytest.mark.parametrize(("model", "scaling", "accuracy"), REPRODUCED)
def test_the_published_systems_numbers_are_reproduced(published, model, scaling, accuracy):
    known, values, _ = published_posteriors.mean_action_units(published / "au_mean/df_average_AUs_total.csv")
    parts = folds.make_folds(known, n_folds=5, protocol="reference", seed=2020, folds=folds.RAVDESS_FOLDS)
    classes = labels.names("ravdess8")
    fit = partial(
        static_fitting.fit,
        values=values.astype(np.float64),
        label=known["label"].to_numpy(),
        subject=known["subject"].to_numpy(),
        n_classes=8,
        model=model,
        scaling=scaling,
    )
    fitted = cross_fit(fit, known, folds=parts, seeds=[2020], classes=classes, workers=1, progress=False)
    results = performance_results.summary(fitted.posteriors, known, classes=classes).set_index("metric")
    assert round(100 * results.loc["accuracy", "mean_of_folds"], 2) == accuracy
    if (model, scaling) == ("mlp", "minmax"):
        theirs = published_posteriors.read(published, "au_mlp")
        both = pd.merge(fitted.posteriors, theirs, on=["performance", "fold", "subset"])
        assert len(both) == 7200
        ours = both[[f"p_{name}_x" for name in classes]].to_numpy()
        apart = np.abs(ours - both[[f"p_{name}_y" for name in classes]].to_numpy())
        assert apart.max() < 0.01 and apart.mean() < 1e-4, "means are float32 here and float64 there"
