"""The right label of a still, where it is known: from FER+'s crowd votes, or from the embedded corpus itself.

| truth | the right label of a still is |
|---|---|
| `crowd` | the plurality of its ten FER+ votes; a tie for the first place has none |
| `true_label` | written in the manifest: the embedded corpus makes its wrong labels itself |

| kind | known | wrong |
|---|---|---|
| `class` | yes | where that class is not the label given |
| `other answer`: the plurality is contempt, unknown or "not a face" | yes | always: no class of the corpus is right |
| `tie`, `no votes` | no: filtered and learned from like any other, but no evidence for or against a filter | no |

Source: Barsoum et al. 2016, doi 10.1145/2993148.2993165 (FER+).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib import corpora
from emolib.corpora.fer2013 import VOTED

TRUTHS = ("crowd", "true_label")
NO_CLASS = -1


def truth(manifest: pd.DataFrame, *, source: str, label_space: str) -> pd.DataFrame:
    """The right label of every row: ``true`` (int, `NO_CLASS`), ``kind``, ``known`` and ``wrong`` (see the module).

    Raises
    ------
    ValueError
        Unknown `source`, or the manifest lacks the columns that it needs.
    """
    if source not in TRUTHS:
        raise ValueError(f"unknown truth {source!r}; known: {', '.join(TRUTHS)}")
    needed = ["true_label"] if source == "true_label" else [f"votes_{answer}" for answer in VOTED]
    if missing := [name for name in needed if name not in manifest]:
        raise ValueError(f"truth {source!r}: the manifest lacks column(s) {missing}")
    if source == "true_label":
        true, kind = manifest["true_label"].to_numpy(dtype=np.int64), np.full(len(manifest), "class", dtype=object)
    else:
        true, kind = _plurality(manifest[needed].to_numpy(dtype=np.float64), label_space)
    known = np.isin(kind, ("class", "other answer"))
    wrong = known & (true != manifest["label"].to_numpy())
    return pd.DataFrame({"true": true, "kind": kind, "known": known, "wrong": wrong}, index=manifest.index)


def _plurality(votes: np.ndarray, label_space: str) -> tuple[np.ndarray, np.ndarray]:
    class_of = [corpora.class_label(answer, label_space) for answer in VOTED]
    class_of = np.array([NO_CLASS if label is None else label for label in class_of])
    voted = ~np.isnan(votes).any(axis=1)
    votes = np.where(voted[:, None], votes, 0)
    tie = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    true = np.where(voted & ~tie, class_of[votes.argmax(axis=1)], NO_CLASS)
    kind = np.select([~voted, tie, true == NO_CLASS], ["no votes", "tie", "other answer"], "class")
    return true.astype(np.int64), kind.astype(object)
