"""What a classifier is to answer: labels, the crowd's votes, both mixed; and how rare classes get their due.

FER+ let ten people choose among ten answers. Seven of them are classes of `fer7`; votes for contempt, unknown and
"not a face" have no class there: they are left out and the rest is taken as the whole. A picture of which no vote is
left, or that FER+ does not have, keeps its label as its target.

Source: Barsoum et al. 2016, doi 10.1145/2993148.2993165 (there: "probabilistic label drawing" and cross-entropy with
the distribution; here the latter).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emolib import corpora, labels
from emolib.corpora.fer2013 import VOTED


def one_hot(label: Sequence[int] | np.ndarray, n_classes: int) -> np.ndarray:
    """float32 [N, n_classes], 1 at each label; rows of zeros where the label is -1 (none: not to be learned from).

    Raises
    ------
    ValueError
        A label is outside of -1 to n_classes - 1.
    """
    label = np.asarray(label, dtype=np.int64)
    if len(wrong := np.flatnonzero((label < -1) | (label >= n_classes))):
        raise ValueError(f"label {label[wrong[0]]} in row {wrong[0]}: -1 to {n_classes - 1} are allowed")
    target = np.zeros((len(label), n_classes), dtype=np.float32)
    known = np.flatnonzero(label >= 0)
    target[known, label[known]] = 1
    return target


def vote_shares(manifest: pd.DataFrame, *, label_space: str) -> np.ndarray:
    """The crowd's distribution over `label_space`, float32 [N, C]; rows of NaN where no vote names a class of it.

    Raises
    ------
    ValueError
        The manifest lacks a column of votes, or a vote is negative.
    """
    columns = [f"votes_{answer}" for answer in VOTED]
    if missing := [name for name in columns if name not in manifest]:
        raise ValueError(f"soft_targets = 'votes': the manifest lacks column(s) {', '.join(missing)}")
    votes = np.nan_to_num(manifest[columns].to_numpy(dtype=np.float64), nan=0.0)
    if (votes < 0).any():
        row, column = np.argwhere(votes < 0)[0]
        raise ValueError(f"row {row}, {columns[column]}: {votes[row, column]} votes, 0 or more are allowed")
    counted = np.zeros((len(votes), len(labels.names(label_space))))
    for column, answer in enumerate(VOTED):
        class_of = _class_of(answer, label_space)
        if class_of is not None:
            counted[:, class_of] += votes[:, column]
    total = counted.sum(axis=1, keepdims=True)
    return np.divide(counted, total, out=np.full_like(counted, np.nan), where=total > 0).astype(np.float32)


def _class_of(answer: str, label_space: str) -> int | None:
    """The class that an answer of FER+ votes for; None where there is none."""
    if f"affectnet8->{label_space}" not in labels.MAPPINGS:
        return corpora.class_label(answer, label_space)
    emotion = corpora.class_label(answer, "affectnet8")  # which has FER+'s eight: several may be one class (valence)
    mapped = emotion if emotion is None else labels.map_labels([emotion], source="affectnet8", target=label_space)[0]
    return None if mapped in (None, labels.DROPPED) else int(mapped)


def soften(target: np.ndarray, shares: np.ndarray, *, votes_share: float) -> np.ndarray:
    """`votes_share` of the crowd's distribution and the rest of `target`; `target` alone where the crowd is silent."""
    voted = ~np.isnan(shares).any(axis=1, keepdims=True)
    mixed = votes_share * np.nan_to_num(shares) + (1 - votes_share) * target
    return np.where(voted, mixed, target).astype(np.float32)


def smooth(target: Tensor, share: float) -> Tensor:
    """`target` [B, C] with `share` of it spread evenly over the classes."""
    return target * (1 - share) + share / target.shape[1]


def class_weights(label: np.ndarray, n_classes: int, *, power: float) -> Tensor:
    """What a sample of each class weighs, float32 [n_classes]: count to the minus `power`, the mean sample 1.

    A class without samples has 0.
    """
    count = np.bincount(label, minlength=n_classes)
    weight = np.where(count > 0, np.maximum(count, 1.0) ** -power, 0.0)
    return torch.from_numpy((weight * count.sum() / (weight * count).sum()).astype(np.float32))


def balanced_order(label: Tensor, n_classes: int, *, power: float, generator: torch.Generator) -> Tensor:
    """Positions int64 [n] of an epoch of as many samples as `label` has, drawn with replacement by `class_weights`."""
    weight = class_weights(label.numpy(), n_classes, power=power)[label]
    return torch.multinomial(weight.double(), len(label), replacement=True, generator=generator)
