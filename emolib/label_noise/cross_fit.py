"""Who learns from which still, and the judge of each one, which did not learn from it (cross-fitting).

Neither did it learn from a pixel-identical copy, nor from another still of the same person. Early stopping of every
model looks at one validation part of what is learned from, never at the test.

Source: Northcutt et al. 2021, arXiv 1911.00068 (confident learning asks for posteriors out of sample).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from emolib import filters, posteriors, stills, training


def divide(
    frames: pd.DataFrame,
    *,
    learn_split: str,
    test_split: str,
    max_pictures: int,
    validation_share: float,
    cross_fit_folds: int,
    seed: int,
) -> pd.DataFrame:
    """What each still is for: ``part`` ("train", "validation", "test" or "") and ``fold`` (of its judge; -1 without).

    Groups stay together. Stills of `learn_split` that share a group with the test are not used (part "").

    Parameters
    ----------
    frames : DataFrame with split, label, group
    max_pictures : 0 for all of `learn_split`; else so many of it, stratified by label, drawn by `seed`
    validation_share : of what is learned from: early stopping of every model, judges and variants, looks at it; a k-th,
        k = 1 / share rounded

    Raises
    ------
    ValueError
        A split without stills, or as `stills.stratified_folds`.
    """
    split, label, group = (frames[name].to_numpy() for name in ("split", "label", "group"))
    test = split == test_split
    learn = np.flatnonzero((split == learn_split) & ~np.isin(group, group[test]))
    if not test.any() or not len(learn):
        raise ValueError(f"splits {learn_split!r} and {test_split!r}: both are needed, there are {sorted(set(split))}")
    if 0 < max_pictures < len(learn):
        learn = np.sort(train_test_split(learn, train_size=max_pictures, stratify=label[learn], random_state=seed)[0])
    # every fold in as many slices, one of which validates: no judge is without validation stills
    slices = round(1 / validation_share)
    drawn = stills.stratified_folds(label[learn], n_folds=cross_fit_folds * slices, seed=seed, groups=group[learn])
    part, fold = np.full(len(frames), "", dtype=object), np.full(len(frames), -1)
    part[test], part[learn] = "test", np.where(drawn % slices == 0, "validation", "train")
    fold[learn] = drawn // slices
    return pd.DataFrame({"part": part, "fold": fold}, index=frames.index)


def judges(frames: pd.DataFrame, *, seed: int) -> list[training.Member]:
    """One member a fold of cross-fitting, which neither learns from its fold nor stops by it."""
    part, fold = frames["part"].to_numpy(), frames["fold"].to_numpy()
    row = frames.index.to_numpy()
    return [
        training.Member(
            name=f"judge{k}",
            train=row[(part == "train") & (fold != k)],
            validation=row[(part == "validation") & (fold != k)],
            seed=seed + int(k),
        )
        for k in np.unique(fold[fold >= 0])
    ]


def judge(
    frames: pd.DataFrame,
    trained: Sequence[training.Trained],
    images: np.ndarray,
    guides: np.ndarray | None,
    *,
    classes: Sequence[str],
    **network,
) -> pd.DataFrame:
    """Posterior table of every still with a fold, by the one judge that did not learn from it, in the order of rows."""
    tables = []
    for k, one in enumerate(trained):
        rows = frames.index.to_numpy()[frames["fold"].to_numpy() == k]
        posterior = posteriors.predict(images, guides, rows, n_classes=len(classes), state=one.state, **network)
        sample = frames.loc[rows, "sample"].to_numpy()
        tables.append(posteriors.table(sample, posterior, classes=classes, fold=k, subset="test"))
    return pd.concat(tables).sort_values("sample", ignore_index=True)


def select(
    compared: Mapping[str, Mapping], learn: pd.DataFrame, posterior: np.ndarray
) -> dict[str, filters.FrameSelection]:
    """What each filter keeps of the judged stills; `compared` is name -> {"filter": ..., "filter_options": {...}}.

    Raises
    ------
    ValueError
        As `filters.select`; a filter that reads action units has none here.

    Notes
    -----
    The filter `random` draws from each class: a share of the one frame of a still would be the still itself.
    """
    chosen = {}
    for name, asked in compared.items():
        random = asked["filter"] == "random"
        frames, values = (learn.assign(video=learn["label"]), None) if random else (learn, posterior)
        chosen[name] = filters.select(asked["filter"], frames, values, **asked.get("filter_options", {}))
    return chosen
