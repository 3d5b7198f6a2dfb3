"""Which still is learned from, validates and tests, where the corpus's own parts are put to another use.

FER-2013's PublicTest is its "validation": to test on it, the validation has to come out of Training. Its PrivateTest,
the unseen test, can be left out by name; its copies in Training are left out with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from emolib import folds

PARTS = ("train", "validation", "test")
UNUSED = "unused"


def divide(
    manifest: pd.DataFrame,
    label: np.ndarray,
    usable: np.ndarray,
    *,
    splits_as: Mapping[str, str],
    validation_share: float,
    test_share: float,
    max_training: int = 0,
    seed: int,
) -> folds.StillSplit:
    """Parts of the stills; what the manifest groups (`duplicate_group`, else `subject`) stays together.

    Parameters
    ----------
    manifest : DataFrame with split and duplicate_group or subject.
    label, usable, validation_share, test_share, seed : as for `folds.split_stills`.
    splits_as : the corpus's split -> "train", "validation", "test" or "unused"; splits that it does not name stay. What
        is in a group with an unused still is neither learned from nor validates; of the corpus's test it stays.
    max_training : 0 for all training stills; else so many of them, stratified by class, drawn by `seed`.

    Raises
    ------
    ValueError
        `splits_as` names something else, or as `folds.split_stills`.
    """
    for place, other in splits_as.items():
        if place not in PARTS or other not in (*PARTS, UNUSED):
            raise ValueError(f"splits_as: {place!r} as {other!r} received; {', '.join((*PARTS, UNUSED))} are allowed")
    named = manifest.assign(split=manifest["split"].replace(dict(splits_as)))
    unused, group = (named["split"] == UNUSED).to_numpy(), folds.group_of(named)
    copy = pd.Index(group).isin(group[unused]) & (named["split"] != "test").to_numpy()
    usable = np.asarray(usable, dtype=bool) & ~copy  # an unused still is a copy of itself
    shares = {"validation_share": validation_share, "test_share": test_share}
    split = folds.split_stills(named, label, usable, seed=seed, **shares)
    if not 0 < max_training < len(split.train):
        return split
    label = np.asarray(label)[split.train]
    chosen = np.sort(train_test_split(split.train, train_size=max_training, stratify=label, random_state=seed)[0])
    left_out = np.isin(np.arange(len(manifest)), np.setdiff1d(split.train, chosen))
    return replace(split, train=chosen, part=np.where(left_out, "", split.part))
