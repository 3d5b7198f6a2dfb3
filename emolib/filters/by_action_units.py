"""Filters that judge a frame by its action units: no blink, and near to the own emotion's multivariate normal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib import normals as multivariate
from emolib.action_units import UNITS
from emolib.filters.judging import Judgement, check_range, codes, group_percentile

BLINK = UNITS.index("AU45")
MAX_INTENSITY = 5.0


def au45(frames: pd.DataFrame, values: np.ndarray, *, threshold: float = 0.75) -> Judgement:
    """Drop blinks: keep frames whose intensity of AU45 is at most `threshold` (system A). The score is it, negated.

    Parameters
    ----------
    threshold : float in 0..5
        Compared in the precision of `values`.
    """
    check_range("threshold", threshold, 0.0, MAX_INTENSITY)
    return Judgement(values[:, BLINK] <= threshold, -values[:, BLINK], -threshold)


def mvn(
    frames: pd.DataFrame,
    values: np.ndarray,
    *,
    percentile: float,
    scope: str = "corpus",
    normals: multivariate.Normals | None = None,
) -> Judgement:
    """Keep frames that are near to their emotion's normal over the action units ("GMM" of system A).

    Kept are frames at or below the q-th percentile of the Mahalanobis distance to the own emotion's normal; the score
    is that distance, negated.

    Parameters
    ----------
    percentile : float in 0..100
        q; 100 keeps all, 0 the nearest frame (and its equals).
    scope : "corpus" or "video"
        Over which frames the percentile is taken: all of the emotion, or each video's own.
    normals : Normals over the label space of the frames, or None
        None: fitted on the given frames, which are then their own yardstick.
    """
    check_range("percentile", percentile, 0.0, 100.0)
    group = codes(frames, scope, scopes={"corpus": "label", "video": "video"})
    label = frames["label"].to_numpy()
    if normals is None:
        label, found = pd.factorize(label)
        normals = multivariate.fit(values, label, classes=[str(k) for k in found])
    distance = _own_distance(values, label, normals)
    # the q-th percentile of the distance, negated, is the (100 - q)-th of the score
    asked = group_percentile(-distance, group, 100.0 - percentile)
    return Judgement(-distance >= asked, -distance, asked)


def _own_distance(values: np.ndarray, label: np.ndarray, normals: multivariate.Normals) -> np.ndarray:
    """Distance [N] of each frame to its own class's normal, a class at a time: an eighth of the work of all eight."""
    n_classes = len(normals.classes)
    found = np.unique(label)
    if len(outside := found[(found < 0) | (found >= n_classes)]):
        raise ValueError(f"labels {outside.tolist()} have no normal: there are {n_classes}, {list(normals.classes)}")
    distance = np.empty(len(label))
    for k in found:
        one = slice(k, k + 1)
        of_class = multivariate.Normals(
            normals.classes[one], normals.mean[one], normals.covariance[one], normals.n[one]
        )
        distance[label == k] = multivariate.distances(values[label == k], of_class)[:, 0]
    return distance
