"""Folds: which subjects train, validate and test a model. No subject is ever in two parts of a fold.

| protocol | validation rows (early stopping and every choice) |
|---|---|
| `nested` | subjects taken out of the training subjects; the test subjects are seen once |
| `reference` | the test rows themselves, as the published systems did: only for comparison with their numbers |

Of stills, where samples stand for themselves, `still_folds` are stratified by class; what groups and parts there are
comes from `stills` and is public here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.stills import (
    MissingClassWarning,
    StillSplit,
    dealt_folds,
    group_of,
    near_copies,
    pixel_digests,
    split_stills,
    still_groups,
    stratified_folds,
    warn_of_missing_classes,
)

__all__ = [
    "NAMED_FOLDS",
    "PROTOCOLS",
    "RAVDESS_FOLDS",
    "Fold",
    "MissingClassWarning",
    "StillSplit",
    "dealt_folds",
    "group_of",
    "make_folds",
    "split_stills",
    "still_folds",
    "pixel_digests",
    "near_copies",
    "still_groups",
    "stratified_folds",
    "subject_folds",
]

PROTOCOLS = ("nested", "reference")

# test actors of the subject-wise 5-fold split of RAVDESS that the published systems share
RAVDESS_FOLDS: tuple[tuple[str, ...], ...] = (
    ("02", "05", "14", "15", "16"),
    ("03", "06", "07", "13", "18"),
    ("10", "11", "12", "19", "20"),
    ("08", "17", "21", "23", "24"),
    ("01", "04", "09", "22"),
)

NAMED_FOLDS: dict[str, tuple[tuple[str, ...], ...] | None] = {"": None, "ravdess": RAVDESS_FOLDS}  # "": drawn by seed


@dataclass(frozen=True)
class Fold:
    """Row positions (int64, rising) of one fold in its manifest; under `reference` validation and test are the same."""

    fold: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def subject_folds(subjects: Sequence[str] | np.ndarray, *, n_folds: int, seed: int) -> np.ndarray:
    """Test fold of each row, int64 [N]: every subject in one fold, folds balanced in subjects *and* in rows.

    Subjects are dealt out in rounds of `n_folds`, those with most rows first (equal ones shuffled by `seed`), the
    largest of a round to the fold with fewest rows so far: the numbers of subjects differ by at most one.
    (scikit-learn's GroupKFold balances either of the two.)

    Raises
    ------
    ValueError
        Fewer subjects than folds, fewer than 2 folds, or an empty subject.
    """
    code, unique = _subjects(subjects)
    if not 2 <= n_folds <= len(unique):
        raise ValueError(f"n_folds = {n_folds}: {len(unique)} subjects allow 2..{len(unique)} folds")
    count = np.bincount(code)
    shuffled = np.random.default_rng(seed).permutation(len(unique))
    largest_first = shuffled[np.argsort(-count[shuffled], kind="stable")]
    fold_of = np.empty(len(unique), dtype=np.int64)
    rows_in = np.zeros(n_folds, dtype=np.int64)
    for start in range(0, len(unique), n_folds):
        dealt = largest_first[start : start + n_folds]
        to = np.argsort(rows_in, kind="stable")[: len(dealt)]
        fold_of[dealt] = to
        rows_in[to] += count[dealt]
    return fold_of[code]


def make_folds(
    manifest: pd.DataFrame,
    *,
    n_folds: int,
    protocol: str = "nested",
    seed: int,
    validation_subjects_share: float = 0.2,
    folds: Sequence[Sequence[str]] | None = None,
) -> list[Fold]:
    """Train, validation and test rows of every fold, by subject.

    Parameters
    ----------
    manifest : DataFrame
        `subject` and `label` are used. Only the rows given are in the folds, by their position: leave out what is not
        to be used, or select from the positions afterwards.
    n_folds : int
    protocol : "nested" or "reference"
    seed : int
        Draws the folds (where `folds` does not give them) and each fold's validation subjects.
    validation_subjects_share : float in (0, 1)
        Of the training subjects of a fold, rounded, at least one; under `nested`.
    folds : sequence of n_folds sequences of subjects, optional
        Test subjects of each fold, such as `RAVDESS_FOLDS`. Subjects that the manifest lacks are passed over; each one
        that it has must be in exactly one fold.

    Warns
    -----
    MissingClassWarning
        A part of a fold has no sample of a class of the manifest.

    Raises
    ------
    ValueError
        Unknown protocol, too few subjects, a share out of range, or `folds` that do not fit the manifest.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if not 0 < validation_subjects_share < 1:
        raise ValueError(f"validation_subjects_share = {validation_subjects_share}: a share between 0 and 1 is allowed")
    code, unique = _subjects(manifest["subject"])
    if folds is None:
        fold_of_row = subject_folds(manifest["subject"].to_numpy(), n_folds=n_folds, seed=seed)
        fold_of = np.empty(len(unique), dtype=np.int64)
        fold_of[code] = fold_of_row
    else:
        fold_of = _given(folds, unique, n_folds)
    made = []
    for k in range(n_folds):
        training = np.flatnonzero(fold_of != k)
        held_out = np.flatnonzero(fold_of == k)
        if protocol == "nested":
            n_validation = max(1, round(validation_subjects_share * len(training)))
            if n_validation >= len(training):
                raise ValueError(
                    f"fold {k}: of {len(training)} training subjects {n_validation} would validate and none be left"
                )
            held_out = np.random.default_rng([seed, k]).choice(training, n_validation, replace=False)
            training = np.setdiff1d(training, held_out)
        parts = (np.isin(code, training), np.isin(code, held_out), fold_of[code] == k)
        made.append(Fold(k, *(np.flatnonzero(part) for part in parts)))
        label = manifest["label"].to_numpy()
        rows = {part: getattr(made[-1], part) for part in ("train", "validation", "test")}
        warn_of_missing_classes(f"fold {k}", rows, label, label)
    return made


def still_folds(
    label: np.ndarray,
    usable: np.ndarray,
    *,
    n_folds: int,
    protocol: str = "nested",
    seed: int,
    validation_share: float = 0.1,
    groups: np.ndarray | None = None,
) -> list[Fold]:
    """Train, validation and test rows of every fold of stills, stratified by class and shuffled (system B).

    Parameters
    ----------
    label : int [N]
    usable : bool [N]
        All others are in no fold.
    n_folds, seed : as for `stratified_folds` (`dealt_folds` where there are groups).
    protocol : "nested" or "reference"
    validation_share : float in (0, 0.5]
        Under `nested`, of each fold's training rows: a k-th, k = 1 / share rounded.
    groups : [N], optional
        Rows of one group are never in two parts of a fold (`still_groups`). None: duplicates may be, as published.

    Raises
    ------
    ValueError
        Unknown protocol, a share out of range, or a class too small for so many folds.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if not 0 < validation_share <= 0.5:
        raise ValueError(f"validation_share = {validation_share}: a share above 0 and up to 0.5 is allowed")
    label, rows, made = np.asarray(label), np.flatnonzero(usable), []

    def drawn(rows: np.ndarray, n: int) -> np.ndarray:
        if groups is None:
            return stratified_folds(label[rows], n_folds=n, seed=seed)
        return dealt_folds(label[rows], groups[rows], n_folds=n, seed=seed)

    fold = drawn(rows, n_folds)
    for k in range(n_folds):
        training, test = rows[fold != k], rows[fold == k]
        validation = test
        if protocol == "nested":
            held_out = drawn(training, round(1 / validation_share)) == 0
            training, validation = training[~held_out], training[held_out]
        made.append(Fold(k, training, validation, test))
        parts = {"train": training, "validation": validation, "test": test}
        warn_of_missing_classes(f"fold {k}", parts, label[rows], label)
    return made


def _subjects(subjects) -> tuple[np.ndarray, np.ndarray]:
    """Subjects as codes in sorted order, so that the order of the rows does not change the folds."""
    subjects = np.asarray(subjects, dtype=object)
    nameless = [row for row, subject in enumerate(subjects) if not isinstance(subject, str) or subject == ""]
    if nameless:
        raise ValueError(
            f"row {nameless[0]}: subject {subjects[nameless[0]]!r}; a non-empty text is needed for folds by subject"
        )
    unique, code = np.unique(subjects.astype(str), return_inverse=True)
    return code, unique


def _given(folds: Sequence[Sequence[str]], unique: np.ndarray, n_folds: int) -> np.ndarray:
    if len(folds) != n_folds:
        raise ValueError(f"n_folds = {n_folds}, but folds names the test subjects of {len(folds)}")
    fold_of = np.full(len(unique), -1, dtype=np.int64)
    for k, tested in enumerate(folds):
        here = np.isin(unique, list(tested))
        if twice := unique[here & (fold_of >= 0)].tolist():
            raise ValueError(f"folds: subject(s) {twice} are tested in fold {k} and in an earlier one")
        if not here.any():
            raise ValueError(f"folds: none of fold {k}'s test subjects {list(tested)} is in the manifest")
        fold_of[here] = k
    if without := unique[fold_of < 0].tolist():
        raise ValueError(f"folds: subject(s) {without} of the manifest are in no fold")
    return fold_of
