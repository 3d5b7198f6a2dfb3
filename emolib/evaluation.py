"""Metrics of predictions and of filters. Intervals and tests over subjects come from `intervals` and are public here
too.

| convention | |
|---|---|
| classes | integers from 0; a prediction of -1 is "no answer" (a video without a face) and always wrong |
| UAR | unweighted average recall = balanced accuracy: the mean recall over the classes that occur in the truth |
| macro F1 | mean F1 over the classes that occur in the truth or in the predictions |
| filter quality | positive = a frame that does *not* show its label; a dropped frame is predicted positive |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import metrics
from statsmodels.stats.multitest import multipletests

from emolib.intervals import (
    METRICS,
    Interval,
    PairedTest,
    check_labels,
    paired_test,
    spearman_interval,
    subject_bootstrap,
    subject_mean,
)

__all__ = [
    "METRICS",
    "FoldMean",
    "Interval",
    "PairedTest",
    "accuracy",
    "by_fold",
    "confusion",
    "filter_quality",
    "holm",
    "jaccard",
    "macro_f1",
    "mean_over_folds",
    "paired_test",
    "per_class",
    "spearman_interval",
    "subject_bootstrap",
    "subject_mean",
    "uar",
]


class FoldMean(NamedTuple):
    """Mean over folds, each counting once; SD with n - 1, NaN from a single fold."""

    mean: float
    sd: float
    n_folds: int


def accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of samples whose class was predicted, 0..1."""
    return float(metrics.accuracy_score(*check_labels(true, predicted)))


def uar(true: np.ndarray, predicted: np.ndarray) -> float:
    """Unweighted average recall (balanced accuracy), 0..1: the mean over classes that occur in `true`."""
    true, predicted = check_labels(true, predicted)
    return float(metrics.recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0))


def macro_f1(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that occur in `true` or `predicted`, 0..1."""
    true, predicted = check_labels(true, predicted)
    occurring = np.union1d(true, predicted[predicted >= 0])
    return float(metrics.f1_score(true, predicted, labels=occurring, average="macro", zero_division=0))


def confusion(true: np.ndarray, predicted: np.ndarray, *, n_classes: int, normalise: str | None = None) -> np.ndarray:
    """Confusion matrix, rows = truth, columns = prediction.

    Parameters
    ----------
    true, predicted : int [N]
    n_classes : int
    normalise : None or "true"
        "true" divides each row by the samples of its class (NaN where it has none): the diagonal is the recall. A
        sample without an answer is in no column, so its row sums to less than 1.

    Returns
    -------
    int64 [n_classes, n_classes], or float64 where normalised
    """
    true, predicted = check_labels(true, predicted)
    if normalise not in (None, "true"):
        raise ValueError(f"normalise = {normalise!r}: None or 'true' is allowed")
    if max(true.max(), predicted.max()) >= n_classes:
        raise ValueError(f"classes up to {max(true.max(), predicted.max())} found, n_classes = {n_classes} allows less")
    matrix = metrics.confusion_matrix(true, predicted, labels=np.arange(n_classes))
    if normalise is None:
        return matrix
    count = np.bincount(true, minlength=n_classes)[:, None].astype(np.float64)
    return np.divide(matrix, count, out=np.full(matrix.shape, np.nan), where=count > 0)


def per_class(true: np.ndarray, predicted: np.ndarray, *, classes: Sequence[str]) -> pd.DataFrame:
    """Precision, recall, F1 and number of samples of every class, in index order; columns class, precision, recall,
    f1, n.

    NaN where undefined: precision of a class never predicted, recall of a class that does not occur.
    """
    true, predicted = check_labels(true, predicted)
    precision, recall, f1, n = metrics.precision_recall_fscore_support(
        true, predicted, labels=np.arange(len(classes)), zero_division=np.nan
    )
    return pd.DataFrame({"class": list(classes), "precision": precision, "recall": recall, "f1": f1, "n": n})


def by_fold(true: np.ndarray, predicted: np.ndarray, fold: np.ndarray, *, metric: str = "accuracy") -> pd.Series:
    """The metric ("accuracy", "uar" or "macro_f1") in each fold: index `fold`, rising."""
    functions = {"accuracy": accuracy, "uar": uar, "macro_f1": macro_f1}
    if metric not in functions:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(functions)}")
    true, predicted = check_labels(true, predicted)
    fold = np.asarray(fold)
    if len(fold) != len(true):
        raise ValueError(f"{len(fold)} folds for {len(true)} samples")
    values = {k: functions[metric](true[fold == k], predicted[fold == k]) for k in np.unique(fold)}
    return pd.Series(values, name=metric, dtype=np.float64).rename_axis("fold")


def mean_over_folds(values: Sequence[float] | np.ndarray | pd.Series) -> FoldMean:
    """Mean and spread of one value a fold, as the published systems report it."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"one finite value a fold is needed, got {values.tolist()}")
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return FoldMean(float(values.mean()), sd, len(values))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values adjusted for their number (Holm 1979, step-down), float64 in the order given."""
    p_values = np.asarray(p_values, dtype=np.float64)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p-values in 0..1 are needed, got {p_values.tolist()}")
    return multipletests(p_values, method="holm")[1] if p_values.size else p_values


def filter_quality(keep: np.ndarray, score: np.ndarray | None, shows_label: np.ndarray) -> dict[str, float]:
    """How right a filter is where the truth of every frame is known. Positive = the frame does *not* show its label.

    Parameters
    ----------
    keep : bool [N]
        A frame that is not kept is predicted positive. Leave frames without a face out.
    score : float [N] or None
        Higher = kept rather; None where the filter judges nothing.
    shows_label : bool [N]

    Returns
    -------
    dict
        | key | | NaN where |
        |---|---|---|
        | `precision` | of the dropped frames, the share that does not show its label | nothing was dropped |
        | `recall` | of the frames that do not show their label, the share dropped | every frame shows its label |
        | `f1` | their harmonic mean, 2 TP / (2 TP + FP + FN) | neither exists |
        | `auc` | area under the ROC curve of -score, whatever was dropped | `score` is None, or all frames are of one
        kind |
        | `share_dropped` | share of the frames dropped | |
        | `base_rate` | share that does not show its label = the precision of dropping blindly | |
        | `n_frames` | N | |

    Raises
    ------
    ValueError
        Lengths that differ, no frame, or a score that is NaN (a frame without a face).
    """
    dropped, positive = ~np.asarray(keep, dtype=bool), ~np.asarray(shows_label, dtype=bool)
    if dropped.ndim != 1 or dropped.shape != positive.shape or not dropped.size:
        raise ValueError(f"keep {dropped.shape} and shows_label {positive.shape} must have one length, at least 1")
    auc = np.nan
    if score is not None:
        score = np.asarray(score, dtype=np.float64)
        if score.shape != dropped.shape or np.isnan(score).any():
            raise ValueError(
                f"score {score.shape}, {np.isnan(score).sum()} of it NaN: {dropped.shape} without NaN needed"
            )
        if 0 < positive.sum() < len(positive):
            auc = metrics.roc_auc_score(positive, -score)
    hit, n_dropped, n_positive = (dropped & positive).sum(), dropped.sum(), positive.sum()
    return {
        "precision": _share(hit, n_dropped),
        "recall": _share(hit, n_positive),
        "f1": _share(2 * hit, n_dropped + n_positive),
        "auc": float(auc),
        "share_dropped": _share(n_dropped, len(dropped)),
        "base_rate": _share(n_positive, len(dropped)),
        "n_frames": len(dropped),
    }


def jaccard(keep_a: np.ndarray, keep_b: np.ndarray) -> float:
    """Overlap of two filters: frames that both keep over frames that either keeps, 0..1; NaN if neither keeps any."""
    keep_a, keep_b = np.asarray(keep_a, dtype=bool), np.asarray(keep_b, dtype=bool)
    if keep_a.shape != keep_b.shape:
        raise ValueError(f"two masks over the same frames are needed, got shapes {keep_a.shape} and {keep_b.shape}")
    return _share((keep_a & keep_b).sum(), (keep_a | keep_b).sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
