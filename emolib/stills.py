"""Folds and parts of stills, stratified by class; samples that belong together stay together. Public in `folds`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

# Least correlations of two stills of one photograph: of 32 pairs of FER-2013 that these found, drawn at random, all are
# one photograph to the eye.
NEAR_THUMBNAIL, NEAR_PIXELS = 0.97, 0.9
_AT_ONCE = 1024  # stills compared with all others, and pairs looked at, at a time


class MissingClassWarning(UserWarning):
    """A part of a fold has no sample of a class that the corpus has."""


@dataclass(frozen=True)
class StillSplit:
    """Row positions (int64, rising) of the parts of a corpus of stills; `part` names each row's, "" if it has none."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    part: np.ndarray


def group_of(manifest: pd.DataFrame) -> np.ndarray:
    """What stays together, [len(manifest)]: `duplicate_group` where the manifest has it, else `subject`."""
    return manifest["duplicate_group" if "duplicate_group" in manifest else "subject"].to_numpy()


def pixel_digests(images: Iterable[np.ndarray]) -> list[str]:
    """A short text for each uint8 image of one size, equal where all pixels are."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images]


def near_copies(images: np.ndarray) -> np.ndarray:
    """Pairs of stills that show one photograph, encoded, shifted or marked differently: int [P, 2], each once.

    Two are a pair where their thumbnails (12 x 12 means) correlate by at least `NEAR_THUMBNAIL`, and all their pixels
    by at least `NEAR_PIXELS`. All pairs are compared: 32,000 stills take five seconds.

    Parameters
    ----------
    images : uint8 [N, H, W]; one that is of a single grey has no copy.
    """
    thumbnails = _standardised([cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA) for image in images])
    found = []
    for first in range(0, len(images), _AT_ONCE):
        alike = thumbnails[first : first + _AT_ONCE] @ thumbnails[first:].T
        one, other = (where + first for where in np.nonzero(np.triu(alike >= NEAR_THUMBNAIL, k=1)))
        for part in range(0, len(one), _AT_ONCE):
            pair = one[part : part + _AT_ONCE], other[part : part + _AT_ONCE]
            same = (_standardised(images[pair[0]]) * _standardised(images[pair[1]])).sum(axis=1) >= NEAR_PIXELS
            found.append(np.stack(pair, axis=1)[same])
    return np.concatenate([np.empty((0, 2), np.int64), *found])


def _standardised(images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """float32 [N, pixels], mean 0 and length 1, so that a product is a correlation; zeros for a single grey."""
    flat = np.asarray(images, np.float32).reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def still_groups(images: np.ndarray, subject: Sequence[str], *, near: bool = False) -> np.ndarray:
    """Code of each still's group, int [N]: pixel-identical stills and stills of one subject are in one.

    Parameters
    ----------
    images : uint8 [N, H, W], of stills with a face (all others are equally black)
    near : `near_copies` are in one group, too.
    """
    person = pd.factorize(np.asarray(subject))[0]
    pixels = pd.factorize(np.array(pixel_digests(images)))
    size = person.max() + 1 + len(pixels[1])
    pairs = np.stack([person, person.max() + 1 + pixels[0]], axis=1)
    if near:
        pairs = np.concatenate([pairs, person[near_copies(images)]])
    linked = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(size, size))
    return connected_components(linked, directed=False)[1][person]


def stratified_folds(
    labels: Sequence[int] | np.ndarray, *, n_folds: int, seed: int, groups: Sequence | np.ndarray | None = None
) -> np.ndarray:
    """Test fold of each row, int64 [N], shuffled, each class spread evenly over the folds: for stills (system B).

    Parameters
    ----------
    labels : int [N]
    groups : [N], optional
        Rows of one group (exact duplicates, one person) stay in one fold; classes are then spread as evenly as that
        allows.

    Raises
    ------
    ValueError
        A class (or the groups) with fewer members than folds.
    """
    labels = np.asarray(labels)
    classes, count = np.unique(labels, return_counts=True)
    if n_folds < 2 or not len(labels) or count.min() < n_folds:
        smallest = (
            f"; class {classes[count.argmin()]} has {count.min()} samples" if len(labels) else "; no samples given"
        )
        raise ValueError(f"n_folds = {n_folds}: at least 2 and no more than the samples of any class{smallest}")
    if groups is not None and len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups for {len(labels)} labels")
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    fold = np.empty(len(labels), dtype=np.int64)
    for k, (_, test) in enumerate(splitter(n_folds, shuffle=True, random_state=seed).split(labels, labels, groups)):
        fold[test] = k
    return fold


def dealt_folds(label: np.ndarray, group: np.ndarray, *, n_folds: int, seed: int) -> np.ndarray:
    """Test fold of each row, int64 [N]: groups are dealt, the largest first, each to the fold that lacks its classes.

    For tens of thousands of small groups, such as pictures and their copies: seconds, where scikit-learn's
    StratifiedGroupKFold takes more than a minute. Groups of one row come last and even out what the others left.

    Parameters
    ----------
    label : int [N], from 0
    group : [N]

    Raises
    ------
    ValueError
        Fewer than 2 folds, or a class with fewer rows than folds.
    """
    label, code = np.asarray(label), pd.factorize(np.asarray(group))[0]
    n_classes = int(label.max()) + 1 if len(label) else 0
    if n_folds < 2 or not len(label) or (of_class := np.bincount(label))[of_class > 0].min() < n_folds:
        raise ValueError(f"n_folds = {n_folds}: at least 2 and no more than the samples of any class")
    size = np.bincount(code * n_classes + label, minlength=(code.max() + 1) * n_classes).reshape(-1, n_classes)
    shuffled = np.random.default_rng(seed).permutation(len(size))
    largest_first = shuffled[np.argsort(-size[shuffled].sum(axis=1), kind="stable")]
    per_row = 1 / np.maximum(of_class, 1)  # a rare class weighs as much as a frequent one
    taken, fold_of = np.zeros((n_folds, n_classes)), np.empty(len(size), dtype=np.int64)
    for one in largest_first:
        share = taken * per_row
        # filled least with the group's classes; among equal ones, least in all
        to = np.lexsort((share.sum(axis=1), share @ size[one]))[0]
        fold_of[one] = to
        taken[to] += size[one]
    return fold_of[code]


def split_stills(
    manifest: pd.DataFrame,
    label: np.ndarray,
    usable: np.ndarray,
    *,
    validation_share: float,
    test_share: float,
    seed: int,
) -> StillSplit:
    """One train, validation and test part of stills: the corpus's own `split`, and what it lacks taken out of the rest.

    A part that the corpus does not name is taken out of its training rows (of all rows, where it names none),
    stratified by class, about its share of them: a k-th, k = 1 / share rounded. Rows of one `duplicate_group` (where
    the manifest has it) or else of one `subject` stay together; training rows whose group is also in a held-out part
    of the corpus's own split are not used, nor are validation rows whose group is in the test part.

    Parameters
    ----------
    manifest : DataFrame
        `split` and `subject` (or `duplicate_group`).
    label : int [N]
    usable : bool [N]
        Rows that may be used: a face was found, the class exists in the model's label space.
    validation_share, test_share : float in (0, 0.5]
    seed : int

    Raises
    ------
    ValueError
        Share out of range, lengths that differ, some usable rows with a split and some without, or a class too small.
    """
    shares = {"test": test_share, "validation": validation_share}
    label, usable = np.asarray(label), np.asarray(usable, dtype=bool)
    if not (len(label) == len(usable) == len(manifest)) or not all(0 < share <= 0.5 for share in shares.values()):
        raise ValueError(
            f"{len(manifest)} rows, {len(label)} labels, {len(usable)} usable, shares {shares}: "
            "equal lengths and shares in (0, 0.5] are needed"
        )
    part = np.where(usable, manifest["split"].to_numpy(dtype=object), "")
    if (part[usable] == "").all():
        part[usable] = "train"
    elif (part[usable] == "").any():
        row = np.flatnonzero(usable & (part == ""))[0]
        raise ValueError(f"row {row} has no split while others have: all usable rows must have one, or none")
    group = pd.factorize(group_of(manifest))[0]
    for name, share in shares.items():
        if (part == name).any():
            continue
        rest = np.flatnonzero(part == "train")
        groups = group[rest] if len(np.unique(group[rest])) < len(rest) else None  # alone in its group: much faster
        if groups is not None and len(np.unique(label[rest])) == 1:  # nothing to stratify: a second, not a minute
            fold = dealt_folds(label[rest], groups, n_folds=round(1 / share), seed=seed)
        else:
            fold = stratified_folds(label[rest], n_folds=round(1 / share), seed=seed, groups=groups)
        part[rest[fold == 0]] = name
    part[(part == "validation") & np.isin(group, group[part == "test"])] = ""
    part[(part == "train") & np.isin(group, group[(part == "test") | (part == "validation")])] = ""
    rows = {name: np.flatnonzero(part == name) for name in ("train", "validation", "test")}
    warn_of_missing_classes("stills", rows, label[usable], label)
    return StillSplit(**rows, part=part.astype(str))


def warn_of_missing_classes(what: str, parts: dict[str, np.ndarray], wanted: np.ndarray, label: np.ndarray) -> None:
    """Name the classes of `wanted` that a part has no sample of, in a MissingClassWarning."""
    for name, rows in parts.items():
        if missing := np.setdiff1d(wanted, label[rows]).tolist():
            warnings.warn(f"{what}: {name} has no sample of class(es) {missing}", MissingClassWarning, stacklevel=3)
