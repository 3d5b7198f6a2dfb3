"""How posteriors of M tables become one: each method learns from rows and returns a function of further rows.

A method is ``make(values [n, M, C], label [n], **options) -> Learned``, whose ``answer(values [m, M, C])`` is float64
[m, C] with rows that sum to 1. Values are posteriors, their logarithms or logits (`values_of`), and whole: what to do
where a table is missing is `fusing`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

INPUTS = ("log_posteriors", "posteriors", "logits")
SCALINGS = {"minmax": MinMaxScaler, "standard": StandardScaler, "none": FunctionTransformer}
FLOOR = 1e-12  # of a posterior before its logarithm: a 0 is no proof
PRIOR = 1.0  # how hard weights are held to equality: as much as one row to learn from holds them to itself
_LOG_SHARPNESS = (np.log(1e-2), np.log(1e2))
_STEPS, _STILL = 10_000, 1e-10  # of the mixture's weights

Answer = Callable[[np.ndarray], np.ndarray]


class Learned(NamedTuple):
    """An answer and what it says of the tables: weights float64 [M] on the simplex, None where it is not so simple."""

    answer: Answer
    weights: np.ndarray | None


def log_posteriors(posterior: np.ndarray) -> np.ndarray:
    """Logarithms of posteriors, not below that of `FLOOR`."""
    return np.log(np.maximum(posterior, FLOOR))


def values_of(posterior: np.ndarray, constant: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """What a fusion reads, float64 [n, M, C], by each table's kind of input.

    Parameters
    ----------
    posterior : float [n, M, C]
    constant : float [n, M], what a row's logits have more than its log posteriors; read for the kind "logits" only.
    """
    found = posterior.copy()
    for place, kind in enumerate(kinds):
        if kind != "posteriors":
            found[:, place] = log_posteriors(posterior[:, place])
        if kind == "logits":
            found[:, place] += constant[:, place, None]
    return found


def mean(values: np.ndarray, label: np.ndarray, *, inputs: Sequence[str]) -> Learned:
    """Mean of the posteriors, or their geometric mean (of their logarithms), normalised; learns nothing."""
    n_tables = values.shape[1]
    weights = np.full(n_tables, 1 / n_tables)
    return Learned(_pool(weights, logarithms=_are_logarithms("mean", inputs)), weights)


def weighted(values: np.ndarray, label: np.ndarray, *, inputs: Sequence[str]) -> Learned:
    """Weights on the simplex that make the labels likeliest.

    With log posteriors in two steps, each with one solution: a sharpness of all tables together, since a weighted mean
    of logarithms is too soft (or tables were); then a factor for each table, whose sum is a sharpness again and makes
    no other answer, only a surer one. A prior holds the sharpness to 1 and the factors to each other, as strongly as
    one row to learn from holds them: a few rows that one table gets right do not leave it alone, and endlessly sure.
    """
    if not _are_logarithms("weighted", inputs):
        weights = _mixture_weights(values, label)
        return Learned(_pool(weights, logarithms=False), weights)
    equal = np.full(values.shape[1], _sharpness(values.mean(axis=1), label) / values.shape[1])
    own = values[np.arange(len(label)), :, label]

    def loss(relative: np.ndarray) -> tuple[float, np.ndarray]:
        said = log_softmax(np.einsum("nmc,m->nc", values, relative * equal), axis=1)
        expected = np.einsum("nc,nmc->nm", np.exp(said), values)
        value = -said[np.arange(len(label)), label].sum() + PRIOR / 2 * np.square(relative - 1).sum()
        return value, (expected - own).sum(axis=0) * equal + PRIOR * (relative - 1)

    tight = {"ftol": 1e-14, "gtol": 1e-10}
    bounds = [(0, None)] * len(equal)
    found = minimize(loss, np.ones(len(equal)), jac=True, method="L-BFGS-B", bounds=bounds, options=tight)
    factor = found.x * equal
    weights = factor / factor.sum() if factor.any() else equal / equal.sum()  # all 0: no table says anything
    return Learned(_pool(factor, logarithms=True), weights)


def _sharpness(values: np.ndarray, label: np.ndarray) -> float:
    """The factor of logarithms [n, C] that makes the labels likeliest, held to 1 by the prior."""

    def loss(logarithm: float) -> float:
        said = log_softmax(np.exp(logarithm) * values, axis=1)
        return -said[np.arange(len(label)), label].sum() + PRIOR / 2 * logarithm**2

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_SHARPNESS, method="bounded", options={"xatol": 1e-9}).x))


def logistic_regression(
    values: np.ndarray, label: np.ndarray, *, inputs: Sequence[str], scaling: str, C: float, seed: int
) -> Learned:
    """A multinomial logistic regression (L2, `C`) on all tables' values side by side, scaled by the rows learned from.

    A class without a row to learn from gets posterior 0.
    """
    if len(np.unique(label)) < 2:
        raise ValueError(f"a regression needs rows of two classes or more, {len(label)} of one class received")
    model = make_pipeline(SCALINGS[scaling](), LogisticRegression(C=C, max_iter=2000, random_state=seed))
    model.fit(values.reshape(len(values), -1), label)

    def answer(given: np.ndarray) -> np.ndarray:
        found = np.zeros((len(given), given.shape[2]))
        found[:, model[-1].classes_] = model.predict_proba(given.reshape(len(given), -1))
        return found

    return Learned(answer, None)


METHODS: dict[str, Callable[..., Learned]] = {
    "mean": mean,
    "weighted": weighted,
    "logistic_regression": logistic_regression,
    "stacking": logistic_regression,
}


def _are_logarithms(method: str, inputs: Sequence[str]) -> bool:
    """Whether values are logarithms, as logits are but for a constant a row, which changes no sum's softmax."""
    found = {kind != "posteriors" for kind in inputs}
    if len(found) > 1:
        raise ValueError(f"inputs: {', '.join(inputs)} received, but {method!r} needs one kind for all tables")
    return found.pop()


def _pool(weights: np.ndarray, *, logarithms: bool) -> Answer:
    """Weighted sum of posteriors, or of their logarithms, normalised."""

    def answer(values: np.ndarray) -> np.ndarray:
        pooled = np.einsum("nmc,m->nc", values, weights)
        return softmax(pooled, axis=1) if logarithms else pooled / pooled.sum(axis=1, keepdims=True)

    return answer


def _mixture_weights(posterior: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Weights float64 [M] of a mixture by expectation maximisation, which climbs to the one maximum from within.

    The prior is a row for each table that only this table explains (a Dirichlet distribution).
    """
    own = np.maximum(posterior[np.arange(len(label)), :, label], FLOOR)
    n_rows, n_tables = own.shape
    weights = np.full(n_tables, 1 / n_tables)
    for _ in range(_STEPS):
        shares = own * weights
        explained = (shares / shares.sum(axis=1, keepdims=True)).sum(axis=0)
        after = (explained + PRIOR) / (n_rows + PRIOR * n_tables)
        if np.abs(after - weights).max() < _STILL:
            return after
        weights = after
    return weights
