"""Static models: one vector a performance in, posteriors out; scikit-learn estimators by name behind a scaling.

| name | estimator, with what differs from its defaults | posterior |
|---|---|---|
| `svc`, `nu_svc`, `linear_svc` | SVC (RBF), NuSVC, LinearSVC | margins |
| `ridge`, `perceptron`, `nearest_centroid` | RidgeClassifier, Perceptron, NearestCentroid | margins |
| `logistic_regression`, `knn` | LogisticRegression (`max_iter` 2000), KNeighborsClassifier (`n_neighbors` 40) | own |
| `decision_tree`, `random_forest`, `mlp` | their classifiers; the MLP with one layer of 80 | own |
| `lda`, `extra_trees` | beyond system C's eleven | own |
| `adaptive_lda` | `subject_adaptation.AdaptiveDiscriminant`: to be asked about one person at a time | own |
| `ensemble` | mean of the posteriors of `members`: each has model, and may have the other arguments of `learn` | own |

*Margins* are the softmax of `decision_function` (of the negative distances for `nearest_centroid`). They rank classes
and are no probabilities until a temperature is fitted (`static_fitting.fit`). The largest is always the class that the
estimator itself answers: where SVC's and NuSVC's votes of pairs of classes disagree with their summed margins, the two
classes' margins are exchanged.

Reproduced on RAVDESS's published mean action units (35 columns, rows in the file's order), seed 2020, protocol
`reference`, mean of the 5 folds: `mlp` 60.22 % with `minmax` (the published posteriors themselves, to rounding) and
58.93 % with `none`; `svc` 59.93 and 54.88; `knn` 55.40 and 50.20; all with the options above (C = 1, 200 epochs).
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier

from emolib.subject_adaptation import AdaptiveDiscriminant

_PAIRS = {"decision_function_shape": "ovo"}  # margins of pairs of classes; `_of_pairs` makes the classes' of them
_ESTIMATORS: dict[str, tuple[type[BaseEstimator], dict[str, Any]]] = {
    "svc": (SVC, _PAIRS),
    "logistic_regression": (LogisticRegression, {"max_iter": 2000}),
    "ridge": (RidgeClassifier, {}),
    "perceptron": (Perceptron, {}),
    "nu_svc": (NuSVC, _PAIRS),
    "linear_svc": (LinearSVC, {}),
    "knn": (KNeighborsClassifier, {"n_neighbors": 40}),
    "nearest_centroid": (NearestCentroid, {}),
    "decision_tree": (DecisionTreeClassifier, {}),
    "random_forest": (RandomForestClassifier, {}),
    "mlp": (MLPClassifier, {"hidden_layer_sizes": (80,)}),
    "lda": (LinearDiscriminantAnalysis, {}),
    "extra_trees": (ExtraTreesClassifier, {}),
    "adaptive_lda": (AdaptiveDiscriminant, {}),
}
SYSTEM_C = tuple(_ESTIMATORS)[:11]  # the eleven of the reference system
MODELS = (*_ESTIMATORS, "ensemble")
MARGINS = ("svc", "nu_svc", "linear_svc", "ridge", "perceptron", "nearest_centroid")
RANDOM = ("perceptron", "linear_svc", "decision_tree", "random_forest", "mlp", "extra_trees", "ensemble")  # by seed
SCALINGS = ("none", "minmax", "standard")
FEATURES = ("none", "pairwise")  # pairwise: the products of any two features too
_NOT_ASKED = {"random_state", "probability", "verbose", "decision_function_shape", "break_ties"}
_SEED_STEP = 1000  # between the members of an ensemble
_MEMBER_KEYS = ("model", "options", "scaling", "components", "features")
Answer = Callable[[np.ndarray], np.ndarray]  # float [n, F] -> posterior float64 [n, C]


def adapts(model: str, options: Mapping[str, Any] | None = None) -> bool:
    """Whether a model's answers depend on which other rows it is asked about, which must be those of one person."""
    members = (options or {}).get("members", ())
    return model == "adaptive_lda" or any(adapts(one.get("model", ""), one.get("options")) for one in members)


def learn(
    values: np.ndarray,
    label: np.ndarray,
    *,
    model: str,
    n_classes: int,
    seed: int,
    options: Mapping[str, Any] | None = None,
    scaling: str = "minmax",
    components: int = 0,
    features: str = "none",
) -> Answer:
    """Train a static model on all rows given. Returns what answers other rows.

    Parameters
    ----------
    values : float [n, F], finite.
    label : int [n], 0 .. `n_classes` - 1; a class that is not among them gets a posterior of 0.
    model : one of `MODELS`.
    options : of the estimator; unknown ones are refused.
    scaling : one of `SCALINGS`, fitted on these rows.
    components : principal components of the scaled values, fitted on these rows, that the model reads: so many, at most
        as there are rows or columns; 0: the values themselves.
    features : one of `FEATURES`, made last.

    Raises
    ------
    ValueError
        A name is unknown; those that are allowed are listed. `components` is negative.
    """
    if model == "ensemble":
        shared = {"n_classes": n_classes, "seed": seed, "scaling": scaling}
        shared |= {"components": components, "features": features}
        return _ensemble(values, label, options or {}, shared=shared)
    n_components = min(components, *values.shape)
    pipeline = build(model, options=options, scaling=scaling, components=n_components, features=features, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # how many steps are made is part of the model
        pipeline.fit(values, label)

    def answer(other: np.ndarray) -> np.ndarray:
        posterior = np.zeros((len(other), n_classes))
        posterior[:, pipeline.classes_] = _posterior(pipeline, other, model)
        return posterior

    return answer


def build(
    model: str,
    *,
    options: Mapping[str, Any] | None = None,
    scaling: str = "minmax",
    components: int = 0,
    features: str = "none",
    seed: int,
) -> Pipeline:
    """The pipeline of a model (no `ensemble`), see `learn`: scaling, components, features, estimator."""
    if components < 0:
        raise ValueError(f"components: {components} received, 0 (none) or more are allowed")
    for name, given, allowed in (
        ("model", model, _ESTIMATORS),
        ("scaling", scaling, SCALINGS),
        ("features", features, FEATURES),
    ):
        if given not in allowed:
            raise ValueError(f"{name}: {given!r} received, {', '.join(allowed)} are allowed")
    estimator, defaults = _ESTIMATORS[model]
    known = set(inspect.signature(estimator).parameters) - _NOT_ASKED
    if unknown := set(options or {}) - known:
        raise ValueError(f"options of {model!r}: {sorted(unknown)} received, {', '.join(sorted(known))} are allowed")
    given = {**defaults, **(options or {})}
    if "random_state" in inspect.signature(estimator).parameters:
        given["random_state"] = seed
    scaler = {"none": FunctionTransformer, "minmax": MinMaxScaler, "standard": StandardScaler}[scaling]
    made = PolynomialFeatures(2, interaction_only=True, include_bias=False) if features == "pairwise" else "passthrough"
    axes = PCA(components, svd_solver="full") if components else "passthrough"
    steps = [("scaling", scaler()), ("components", axes), ("features", made), ("model", estimator(**given))]
    return Pipeline(steps)


def _ensemble(values: np.ndarray, label: np.ndarray, options: Mapping[str, Any], *, shared: Mapping) -> Answer:
    members = options.get("members")
    if set(options) != {"members"} or not isinstance(members, Sequence) or not members:
        raise ValueError(f"options of 'ensemble': {dict(options)} received, a list 'members' is allowed")
    for number, one in enumerate(members):
        if unknown := set(one) - set(_MEMBER_KEYS):
            found, allowed = sorted(unknown), ", ".join(_MEMBER_KEYS)
            raise ValueError(f"options of 'ensemble': member {number} has {found}, {allowed} are allowed")
        if "model" not in one:
            raise ValueError(f"options of 'ensemble': member {number} names no model")
    answers = []
    for number, one in enumerate(members):
        seed = shared["seed"] + _SEED_STEP * number  # two members of one model shall differ
        answers.append(learn(values, label, **{**shared, **one, "seed": seed}))
    return lambda other: np.mean([answer(other) for answer in answers], axis=0)


def _posterior(pipeline: Pipeline, values: np.ndarray, model: str) -> np.ndarray:
    """Posteriors over the classes that were learned, float64 [n, classes]."""
    if model not in MARGINS:
        return pipeline.predict_proba(values)
    estimator, ready = pipeline["model"], pipeline[:-1].transform(values)
    if model in ("svc", "nu_svc"):
        return softmax(_of_pairs(estimator.decision_function(ready), len(pipeline.classes_)), axis=1)
    if model == "nearest_centroid":
        margins = -pairwise_distances(ready, estimator.centroids_, metric=estimator.metric)
    else:
        margins = estimator.decision_function(ready)
    if margins.ndim == 1:  # of two classes
        margins = np.stack([-margins, margins], axis=1)
    return softmax(_naming(margins, np.searchsorted(pipeline.classes_, estimator.predict(ready))), axis=1)


def _of_pairs(margins: np.ndarray, n_classes: int) -> np.ndarray:
    """Margins of classes [n, classes] from those of pairs of classes, as scikit-learn sums them: one pass, not two.

    A class's votes, and the sum of its margins squeezed to less than half a vote; the answer is the first class of most
    votes.
    """
    if n_classes == 2:
        return np.stack([-margins, margins], axis=1)
    votes, sums = np.zeros((2, len(margins), n_classes))
    for column, (first, second) in zip(margins.T, itertools.combinations(range(n_classes), 2), strict=True):
        votes[:, first] += column > 0
        votes[:, second] += column <= 0
        sums[:, first] += column
        sums[:, second] -= column
    return _naming(votes + sums / (3 * (np.abs(sums) + 1)), votes.argmax(axis=1))


def _naming(margins: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Margins whose largest is that of the class `named` [n]: where it is another's, the two are exchanged."""
    rows, largest = np.arange(len(margins)), margins.argmax(axis=1)
    exchanged = margins.copy()
    exchanged[rows, named], exchanged[rows, largest] = margins[rows, largest], margins[rows, named]
    return exchanged
