"""Intervals and tests whose unit is the subject: frames and videos of one person are no independent samples.

Every resample is a sum of per-subject statistics (a confusion matrix, a count), so 2,000 resamples of 160,000 frames
are one matrix product. `evaluation` re-exports what is public here.

Seeds: answers may be [N] or [S, N], the same variant trained S times. Its value is the mean over seeds, and subjects
are resampled for all seeds at once: the interval speaks of other *people*, for the mean of these S trainings. It
narrows with S only as far as the seeds' errors differ. `resample_seeds=True` draws seeds too, for other people and
other trainings; with the usual 3 seeds that is coarse, so tables show the spread over seeds beside the interval.

References: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval over clusters; Good,
Permutation Tests (2000), sign flips for paired designs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emolib.resampling import limits, resamples, seed_weights, sign_flips, units

MAX_SUBJECTS_EXACT = 14  # 2^14 = 16,384 sign flips are enumerated


@dataclass(frozen=True)
class Interval:
    """A value with its confidence limits, from `n_subjects` resampled subjects."""

    value: float
    low: float
    high: float
    n_subjects: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class PairedTest:
    """Difference a - b in accuracy on the same samples, its two-sided p-value and 95 % interval over subjects.

    `exact` says whether all sign flips were enumerated (otherwise they were drawn).
    """

    difference: float
    p_value: float
    low: float
    high: float
    n_subjects: int
    exact: bool


def subject_bootstrap(
    true: np.ndarray,
    predicted: np.ndarray,
    subject: np.ndarray,
    *,
    metric: str = "accuracy",
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    resample_seeds: bool = False,
) -> Interval:
    """Percentile bootstrap interval of a metric, resampling *subjects* with replacement.

    Parameters
    ----------
    true : int [N]
        Classes from 0.
    predicted : int [N], or [S, N] for S seeds
        A prediction of -1 (no answer) is wrong. The metric is the mean of the seeds' metrics.
    subject : [N]
    metric : "accuracy", "uar" or "macro_f1"
        As in `evaluation`. Classes that a resample lacks are left out of its mean.
    n_resamples, confidence (0..1), seed : of the bootstrap
    resample_seeds : draw the S seeds with replacement too (see above)

    Raises
    ------
    ValueError
        Unknown metric, arrays that do not fit, or fewer than two subjects: one person gives no interval.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    true, predicted = _check_seeds(true, predicted)
    code, n_subjects = units(subject, len(true), "subject")
    n_classes = int(max(true.max(), predicted.max())) + 1
    # column n_classes counts "no answer"
    cell = (code * n_classes + true) * (n_classes + 1) + np.where(predicted < 0, n_classes, predicted)
    size = n_classes * (n_classes + 1)
    counted = [np.bincount(one, minlength=n_subjects * size).reshape(n_subjects, size) for one in cell]
    confusion = np.stack(counted).astype(np.float64)  # seed, subject, cell

    def of(sums: np.ndarray) -> np.ndarray:
        return METRICS[metric](sums.reshape(-1, n_classes, n_classes + 1)).reshape(len(confusion), -1).T

    weight = seed_weights(len(confusion), n_resamples, seed, resample_seeds)
    by_seed = np.concatenate([of(counts @ confusion) for counts in resamples(n_subjects, n_resamples, seed)])
    low, high = limits((by_seed * weight).mean(axis=1), confidence)
    return Interval(float(of(confusion.sum(axis=1)).mean()), low, high, n_subjects)


def subject_mean(
    values: np.ndarray, subject: np.ndarray, *, n_resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of any value a sample, such as a gain, float [N], with its bootstrap interval over subjects.

    Raises
    ------
    ValueError
        Values that are not finite, arrays that do not fit, or fewer than two subjects.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"finite values [N] are needed, got shape {values.shape}")
    code, n_subjects = units(subject, len(values), "subject")
    sums, n_samples = np.bincount(code, weights=values), np.bincount(code)
    resampled = [(c @ sums) / (c @ n_samples) for c in resamples(n_subjects, n_resamples, seed)]
    low, high = limits(np.concatenate(resampled), confidence)
    return Interval(float(sums.sum() / n_samples.sum()), low, high, n_subjects)


def paired_test(
    true: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    subject: np.ndarray,
    *,
    n_resamples: int = 10000,
    seed: int = 0,
) -> PairedTest:
    """Is variant a more accurate than b on the same samples? Sign flips over subjects, two-sided.

    Under the null hypothesis a subject's two sets of answers may be exchanged, which flips the sign of its difference.
    All flips are enumerated where at most 14 subjects differ at all; otherwise `n_resamples` are drawn and the
    observed one counts as one of them, so that p is never 0. The interval is a 95 % bootstrap over subjects.

    Answers are int [N], or [S, N] for S seeds, as many as each variant has: a subject's difference is that of its mean
    accuracies over seeds. ValueError as in `subject_bootstrap`.
    """
    true, predicted_a = _check_seeds(true, predicted_a)
    _, predicted_b = _check_seeds(true, predicted_b)
    code, n_subjects = units(subject, len(true), "subject")
    scale = len(predicted_a) * len(predicted_b)
    right_a, right_b = (predicted_a == true).sum(axis=0), (predicted_b == true).sum(axis=0)
    gain = right_a * len(predicted_b) - right_b * len(predicted_a)  # whole numbers: `scale` times the mean over seeds
    difference = np.round(np.bincount(code, weights=gain, minlength=n_subjects))

    moved = difference[difference != 0]  # flipping a zero changes nothing
    exact = len(moved) <= MAX_SUBJECTS_EXACT
    flipped = np.concatenate([signs @ moved for signs in sign_flips(len(moved), exact, n_resamples, seed)])
    extreme = np.abs(flipped) >= abs(moved.sum())  # whole numbers: no tolerance needed
    p_value = extreme.mean() if exact else (1 + extreme.sum()) / (1 + n_resamples)
    mean = subject_mean(gain / scale, subject, n_resamples=n_resamples, seed=seed)
    return PairedTest(mean.value, float(p_value), mean.low, mean.high, n_subjects, exact)


def spearman_interval(
    x: np.ndarray,
    y: np.ndarray,
    cluster: np.ndarray,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Spearman's rank correlation (mid-ranks for ties) with a bootstrap interval over clusters, usually subjects.

    Parameters
    ----------
    x, y : float [N], finite
    cluster : [N]

    Each resample is ranked anew; one in which x or y is constant has no correlation and is left out of the limits.

    Raises
    ------
    ValueError
        Arrays that do not fit or are not finite, a constant x or y, or fewer than two clusters.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"x and y must be finite and of one length, got shapes {x.shape} and {y.shape}")
    code, n_clusters = units(cluster, len(x), "cluster")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(f"a rank correlation needs two values or more: {'x' if np.ptp(x) == 0 else 'y'} is constant")
    rank_x, rank_y = _weighted_ranks(x), _weighted_ranks(y)

    def of(weight: np.ndarray) -> np.ndarray:
        total = weight.sum(axis=1, keepdims=True)
        a, b = rank_x(weight), rank_y(weight)
        a -= (weight * a).sum(axis=1, keepdims=True) / total
        b -= (weight * b).sum(axis=1, keepdims=True) / total
        spread = np.sqrt((weight * a * a).sum(axis=1) * (weight * b * b).sum(axis=1))
        return np.divide((weight * a * b).sum(axis=1), spread, out=np.full(len(weight), np.nan), where=spread > 0)

    chunks = resamples(n_clusters, n_resamples, seed, n_cells=len(x))
    resampled = np.concatenate([of(counts[:, code]) for counts in chunks])
    low, high = limits(resampled[np.isfinite(resampled)], confidence)
    return Interval(float(of(np.ones((1, len(x))))[0]), low, high, n_clusters)


def _weighted_ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Function of weights [R, N] -> mid-ranks [R, N] of `values` where row i occurs weight[r, i] times."""
    _, tie = np.unique(values, return_inverse=True)
    order = np.argsort(tie, kind="stable")
    start = np.flatnonzero(np.diff(tie[order], prepend=-1))

    def ranks(weight: np.ndarray) -> np.ndarray:
        size = np.add.reduceat(weight[:, order], start, axis=1)
        return (np.cumsum(size, axis=1) - (size - 1) / 2)[:, tie]

    return ranks


def _accuracy(confusion: np.ndarray) -> np.ndarray:
    return np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2))


def _uar(confusion: np.ndarray) -> np.ndarray:
    right, true = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    return _mean_where(right, true, true > 0)


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    right = np.diagonal(confusion, axis1=1, axis2=2)
    both = confusion.sum(axis=2) + confusion.sum(axis=1)[:, :-1]
    return _mean_where(2 * right, both, both > 0)


def _mean_where(part: np.ndarray, whole: np.ndarray, where: np.ndarray) -> np.ndarray:
    share = np.divide(part, whole, out=np.zeros_like(part), where=where)
    return share.sum(axis=1) / where.sum(axis=1)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"accuracy": _accuracy, "uar": _uar, "macro_f1": _macro_f1}


def check_labels(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 [N], N >= 1, true >= 0, predicted >= -1; ValueError otherwise."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.ndim != 1 or true.shape != predicted.shape or not true.size:
        raise ValueError(f"true and predicted must have one length, at least 1; got {true.shape} and {predicted.shape}")
    if true.dtype.kind not in "iu" or predicted.dtype.kind not in "iu":
        raise ValueError(f"true and predicted must be integers, got {true.dtype} and {predicted.dtype}")
    if true.min() < 0 or predicted.min() < -1:
        raise ValueError(f"classes count from 0 (predicted: -1 = no answer); got {true.min()} and {predicted.min()}")
    return true.astype(np.int64), predicted.astype(np.int64)


def _check_seeds(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`check_labels` for answers [N] or [S, N]: int64 [N] and [S, N], S >= 1."""
    predicted = np.asarray(predicted)
    seeds = predicted if predicted.ndim == 2 and len(predicted) else predicted[None]
    checked = [check_labels(true, one) for one in seeds]
    return checked[0][0], np.stack([one for _, one in checked])
