"""How well filters find wrong labels, where the truth is known: precision, recall, ROC and average precision.

| convention | |
|---|---|
| positive | a still whose label is wrong; one that a filter drops is predicted positive |
| ranking | by falling ``-score``: what a filter would keep rather is suspected less; ties share their rank |
| interval | percentile bootstrap over groups (pixel-identical stills, stills of one person), not over stills |

One draw of groups serves every filter and every class. A resample is a row of weights, so hundreds of them are a few
cumulative sums. Average precision is the step-wise sum of scikit-learn: no interpolation between the points.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval over clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emolib.filters import FrameSelection

METRICS = ("kept_share", "precision", "recall", "auc", "average_precision")
ALL_CLASSES = "all"
_CHUNK_CELLS = 4_000_000  # resample x still weights held at once: 32 MB


def quality(
    selections: Mapping[str, FrameSelection],
    wrong: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    *,
    classes: Sequence[str],
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Each filter as a finder of wrong labels, over all stills and over those given each class.

    Parameters
    ----------
    selections : filter's name -> what it kept of the N stills, with finite scores
    wrong : bool [N]
    label : int [N], as given: the class that a still is counted in
    group : [N], stills that are resampled together
    classes : class names in index order

    Returns
    -------
    DataFrame
        filter, class (`ALL_CLASSES` or a name), n (stills), base_rate (share that is wrong), and each of `METRICS`
        with _low and _high. NaN where undefined: precision where nothing is dropped, the others where no still (or
        every one) is wrong.

    Raises
    ------
    ValueError
        Lengths that differ, no still, or a score that is not finite.
    """
    wrong, label = np.asarray(wrong, dtype=bool), np.asarray(label)
    lengths = {len(wrong), len(label), len(group), *(len(one.keep) for one in selections.values())}
    if len(lengths) != 1 or not len(wrong):
        raise ValueError(f"selections, wrong, label and group must have one length, at least 1; got {sorted(lengths)}")
    for name, one in selections.items():
        if not np.isfinite(one.score).all():
            raise ValueError(f"filter {name!r}: {(~np.isfinite(one.score)).sum()} stills have no finite score")
    parts = {ALL_CLASSES: np.arange(len(wrong))}
    parts |= {name: rows for k, name in enumerate(classes) if len(rows := np.flatnonzero(label == k))}
    cells = [(name, part) for name in selections for part in parts]
    resampled = {cell: [] for cell in cells}
    for weight in _weights(group, n_resamples, seed):
        for name, part in cells:
            resampled[name, part].append(_of(selections[name], wrong, parts[part], weight))
    once, tail = np.ones((1, len(wrong))), (1 - confidence) / 2
    rows = []
    for name, part in cells:
        [found] = _of(selections[name], wrong, parts[part], once)
        row = {"filter": name, "class": part, "n": len(parts[part]), "base_rate": wrong[parts[part]].mean()}
        for value, metric, draws in zip(found, METRICS, np.concatenate(resampled[name, part]).T, strict=True):
            limits = np.nanquantile(draws, [tail, 1 - tail]) if np.isfinite(value) else (np.nan, np.nan)
            row |= {metric: value, f"{metric}_low": limits[0], f"{metric}_high": limits[1]}
        rows.append(row)
    return pd.DataFrame(rows)


def known_only(selections: Mapping[str, FrameSelection], known: np.ndarray) -> dict[str, FrameSelection]:
    """The selections over the stills whose truth is `known` (bool [N]); accounts stay those of all stills."""
    return {name: FrameSelection(one.keep[known], one.score[known], one.account) for name, one in selections.items()}


def _weights(group: np.ndarray, n_resamples: int, seed: int):
    """Chunks [r, N] of how often each still was drawn with its group, `n_resamples` rows in all."""
    code, unique = pd.factorize(np.asarray(group), sort=True)
    if len(unique) < 2 or n_resamples < 1:
        raise ValueError(f"{len(unique)} group(s), n_resamples = {n_resamples}: at least 2 and 1 are needed")
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // len(code))
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        drawn = rng.multinomial(len(unique), np.full(len(unique), 1 / len(unique)), size=size)
        yield drawn.astype(np.float64)[:, code]


def _of(one: FrameSelection, wrong: np.ndarray, rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`METRICS` of a filter over `rows`, each weighted: float64 [R, 5] from weight [R, N]."""
    order = rows[np.argsort(one.score[rows], kind="stable")]  # the most suspicious first
    weight, is_wrong, dropped = weight[:, order], wrong[order], ~one.keep[order]
    first_of_tie = np.flatnonzero(np.diff(one.score[order], prepend=-np.inf))
    positive = np.add.reduceat(weight * is_wrong, first_of_tie, axis=1)
    negative = np.add.reduceat(weight * ~is_wrong, first_of_tie, axis=1)
    hit, false = positive.cumsum(axis=1), negative.cumsum(axis=1)
    n_positive, n_negative = hit[:, -1], false[:, -1]
    n_dropped, found = weight @ dropped, weight @ (dropped & is_wrong)
    ranked_above = (positive * (n_negative[:, None] - false + negative / 2)).sum(axis=1)
    stepwise = (positive * _share(hit, hit + false, empty=0.0)).sum(axis=1)
    return np.column_stack(
        [
            _share(n_positive + n_negative - n_dropped, n_positive + n_negative),
            _share(found, n_dropped),
            _share(found, n_positive),
            _share(ranked_above, n_positive * n_negative),
            _share(stepwise, np.where(n_negative > 0, n_positive, 0)),
        ]
    )


def _share(part: np.ndarray, whole: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), empty), where=np.asarray(whole) > 0)
