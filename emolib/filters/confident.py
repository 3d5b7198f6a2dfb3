"""The filter `cleanlab`: frames whose label confident learning doubts are dropped, by the library itself."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from emolib.filters.judging import Judgement, check_range, own

# those that take `frac_noise`, and those that do not
PRUNING = ("prune_by_noise_rate", "prune_by_class", "both")
OTHERS = ("confident_learning", "predicted_neq_given", "low_normalized_margin", "low_self_confidence")


def cleanlab(
    frames: pd.DataFrame, values: np.ndarray, *, filter_by: str = "prune_by_noise_rate", frac_noise: float = 1.0
) -> Judgement:
    """Keep the frames in whose label `cleanlab.filter.find_label_issues` finds no issue.

    The posteriors should be out of sample: of a model that did not learn from the frame. The score is cleanlab's label
    quality, the (renormalised) posterior of the own class.

    Parameters
    ----------
    filter_by : str
        Of cleanlab: "prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given",
        "low_normalized_margin" or "low_self_confidence".
    frac_noise : float in 0..1
        Share of the issues that is dropped, the worst first; only the first three allow another than 1.

    Raises
    ------
    ValueError
        Values are not posteriors [N, C], a row has no mass, a class that occurs has no posterior, or all classes that
        occur share one column, so that there is nothing to be confused with.

    Notes
    -----
    Classes that share a column (calm and neutral, from a model of seven emotions) are one class to cleanlab: the model
    cannot tell them apart, and taken apart every confident calm frame would be counted as a mistaken neutral. A class
    that does not occur keeps its column, so that a frame may look like it; a column of NaN (the model cannot answer it)
    is left out. Then rows are renormalised to sum to 1.

    References
    ----------
    Northcutt, Jiang, Chuang: Confident learning, JAIR 70 (2021).
    """
    if filter_by not in (*PRUNING, *OTHERS):
        raise ValueError(f"filter option filter_by = {filter_by!r}: allowed are {', '.join((*PRUNING, *OTHERS))}")
    check_range("frac_noise", frac_noise, 0.0, 1.0)
    if filter_by in OTHERS and frac_noise != 1.0:
        raise ValueError(f"filter option frac_noise = {frac_noise}: filter_by = {filter_by!r} allows only 1")
    if values.ndim != 2:
        raise ValueError(f"filter 'cleanlab' needs posteriors [N, C], got shape {values.shape}")
    if not len(frames):
        return Judgement(np.zeros(0, dtype=bool), np.zeros(0), np.nan)
    label, posterior = _distinct(frames, values)
    with warnings.catch_warnings():
        for k in np.setdiff1d(np.arange(posterior.shape[1]), label):  # that it found no issue in them is no news
            warnings.filterwarnings("ignore", f"May not flag all label issues in class: {k},")
        issue = find_label_issues(label, posterior, filter_by=filter_by, frac_noise=frac_noise, n_jobs=1)
    return Judgement(~issue, get_label_quality_scores(label, posterior), np.nan)


def _distinct(frames: pd.DataFrame, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and posteriors over the columns that differ; rows sum to 1."""
    own(frames, values)  # every label has a column
    label = frames["label"].to_numpy()
    values = np.asarray(values, dtype=np.float64)
    answered = ~np.isnan(values).all(axis=0)
    if silent := sorted(set(label.tolist()) & set(np.flatnonzero(~answered).tolist())):
        raise ValueError(f"filter 'cleanlab': frames have labels {silent}, whose posteriors are all NaN")
    if not (np.isfinite(values[:, answered]).all() and (values[:, answered] >= 0).all()):
        raise ValueError("filter 'cleanlab': posteriors must be finite and 0 or more")
    first: list[int] = []  # columns kept; of equal ones the first
    place = np.full(values.shape[1], -1)
    for k in np.flatnonzero(answered):
        same = [j for j, column in enumerate(first) if np.array_equal(values[:, column], values[:, k])]
        place[k] = same[0] if same else len(first)
        first += [] if same else [int(k)]
    label, posterior = place[label], values[:, first]
    mass = posterior.sum(axis=1, keepdims=True)
    if not (mass > 0).all():
        raise ValueError(f"filter 'cleanlab': {(mass <= 0).sum()} frame(s) have a posterior of 0 in every column")
    if (found := np.unique(label)).size < 2:
        raise ValueError(
            f"filter 'cleanlab' needs labels of two classes that the posteriors tell apart; all labels here have "
            f"column {first[found[0]]}"
        )
    return label, posterior / mass
