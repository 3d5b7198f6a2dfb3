"""Do two filters keep the same frames? Jaccard index and shares of any two frame lists, fold by fold, beside chance."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

VALUES = ["jaccard", "share_of_a", "share_of_b", "by_chance"]
MEAN_OF_FOLDS = -1
_REACH_SD = 12  # beyond so many standard deviations a hypergeometric count has no mass that a float64 sum would show


def table(keeps: Mapping[str, pd.DataFrame], *, candidates: np.ndarray | None = None) -> pd.DataFrame:
    """Overlap of the kept frames of every two frame lists.

    Parameters
    ----------
    keeps : name -> DataFrame
        Frame lists: `sample` (int), `fold` (int), `keep` (bool), in any order; the same samples and folds in each.
    candidates : int [n], optional
        Samples that a filter could keep at all, such as those with a face; `by_chance` is drawn from these. All rows
        where it is None.

    Returns
    -------
    DataFrame, a row a pair (in the order of `keeps`) and fold, then a row a pair with `fold` = -1: the mean over folds
        | column | |
        |---|---|
        | `a`, `b`, `fold` | names and fold |
        | `jaccard` | frames that both keep over frames that either keeps, 0..1 |
        | `share_of_a` | share of a's kept frames that b keeps too, 0..1; `share_of_b` the other way round |
        | `by_chance` | expected Jaccard of two independent random choices of these sizes from the fold's candidates |

        NaN where the list that a share is of keeps nothing; a mean over such a fold is NaN too.

    Raises
    ------
    ValueError
        Fewer than two lists; a list that lacks a column, has a sample twice in a fold, covers other samples or folds
        than the first, or keeps a frame that is no candidate.

    Notes
    -----
    Chance knows nothing of videos and classes: two filters that both keep more of the same class overlap more than it
    says, though neither may know a good frame.
    """
    if len(keeps) < 2:
        raise ValueError(f"an overlap is of two frame lists or more, {len(keeps)} received")
    lists = {name: _ordered(name, frames) for name, frames in keeps.items()}
    first, index = next((name, frames.index) for name, frames in lists.items())
    for name, frames in lists.items():
        if not frames.index.equals(index):
            fold, sample = frames.index.symmetric_difference(index)[0]
            raise ValueError(
                f"frame list {name!r} has {len(frames)} rows, {first!r} {len(index)}; sample {sample} of fold {fold} "
                "is in one of them only: only lists over the same frames and folds can be compared"
            )
    keep = np.stack([frames["keep"].to_numpy() for frames in lists.values()])
    fold, sample = (index.get_level_values(level).to_numpy() for level in ("fold", "sample"))
    allowed = np.ones(len(sample), dtype=bool) if candidates is None else np.isin(sample, candidates)
    if (outside := (keep & ~allowed).any(axis=1)).any():
        raise ValueError(f"frame list {list(lists)[int(outside.argmax())]!r} keeps frames that are no candidates")
    result = pd.concat([_of_fold(list(lists), keep[:, fold == k], allowed[fold == k], k) for k in np.unique(fold)])
    mean = result.groupby(["a", "b"], sort=False)[VALUES].agg(lambda column: column.mean(skipna=False)).reset_index()
    return pd.concat([result, mean.assign(fold=MEAN_OF_FOLDS)], ignore_index=True)[["a", "b", "fold", *VALUES]]


def jaccard_by_chance(n_a: int, n_b: int, n: int) -> float:
    """Expected Jaccard index of two independent random choices of `n_a` and `n_b` out of `n` frames, 0..1.

    The frames in both follow a hypergeometric distribution; NaN where both choices are empty.

    Raises
    ------
    ValueError
        A choice is larger than `n` or negative.
    """
    if not (0 <= n_a <= n and 0 <= n_b <= n):
        raise ValueError(f"choices of {n_a} and {n_b} out of {n} frames received, 0 to {n} are allowed")
    if n_a == 0 and n_b == 0:
        return float("nan")
    middle = n_a * n_b / n
    sd = np.sqrt(middle * (1 - n_a / n) * (1 - n_b / n) * n / max(1, n - 1))
    low = max(0, n_a + n_b - n, int(middle - _REACH_SD * sd - 1))
    count = np.arange(low, min(n_a, n_b, int(middle + _REACH_SD * sd) + 1) + 1)
    mass = stats.hypergeom.pmf(count, n, n_a, n_b)
    return float((mass * count / (n_a + n_b - count)).sum() / mass.sum())


def _ordered(name: str, frames: pd.DataFrame) -> pd.DataFrame:
    """The list's `keep` by (fold, sample), sorted."""
    if missing := {"sample", "fold", "keep"} - set(frames.columns):
        raise ValueError(f"frame list {name!r} lacks column(s) {sorted(missing)}; it has {list(frames.columns)}")
    if frames["keep"].dtype != bool:
        raise ValueError(f"frame list {name!r}: column keep is {frames['keep'].dtype}, bool is allowed")
    ordered = frames.set_index(["fold", "sample"])[["keep"]].sort_index()
    if not ordered.index.is_unique:
        fold, sample = ordered.index[ordered.index.duplicated()][0]
        raise ValueError(f"frame list {name!r}: sample {sample} is twice in fold {fold}")
    return ordered


def _of_fold(names: list[str], keep: np.ndarray, allowed: np.ndarray, fold: int) -> pd.DataFrame:
    counts = keep.astype(np.float32) @ keep.T.astype(np.float32)  # whole numbers below 2^24: exact
    n_kept, n = np.diag(counts).astype(int), int(allowed.sum())
    rows = []
    for i, j in combinations(range(len(names)), 2):
        both, of_a, of_b = int(counts[i, j]), n_kept[i], n_kept[j]
        values = [_share(both, of_a + of_b - both), _share(both, of_a), _share(both, of_b)]
        rows.append([names[i], names[j], fold, *values, jaccard_by_chance(of_a, of_b, n)])
    return pd.DataFrame(rows, columns=["a", "b", "fold", *VALUES])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
