"""What every frame filter is made of: its answer, its entry in the table, groups of frames, percentiles, checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from emolib.action_units import UNITS

Reads = Literal["nothing", "posterior", "action_units"]


class Judgement(NamedTuple):
    """A filter's answer for the frames that it saw: kept or not, by which score, and the score that was asked for."""

    keep: np.ndarray
    score: np.ndarray
    threshold: np.ndarray | float


class Filter(NamedTuple):
    """A line of the table of filters.

    Attributes
    ----------
    function : `f(frames, values, *, options) -> Judgement`
        `frames` has `video` (int code), `video_name`, `label` and `columns`; rows are the frames that can be judged.
    reads : what `values` must be, see `filters.select`.
    columns : what the frame list must have besides `video`, `label` and `face_ok`.
    """

    function: Callable[..., Judgement]
    reads: Reads
    columns: tuple[str, ...] = ()


def judged_rows(name: str, reads: str, frames: pd.DataFrame, values: np.ndarray | None) -> np.ndarray:
    """Positions of the frames that filter `name` sees: those with a face and, where action units are read, measured.

    Raises
    ------
    ValueError
        `values` are missing, have a shape that does not fit, or a row has some action units only.
    """
    if values is None and reads != "nothing":
        raise ValueError(f"{name!r} judges frames by {reads}, and none was given")
    rows = np.flatnonzero(frames["face_ok"].to_numpy(dtype=bool))
    if reads != "action_units":
        if values is not None and (values.ndim not in (1, 2) or len(values) != len(frames)):
            raise ValueError(f"{name!r}: {len(frames)} frames, but posteriors of shape {values.shape}")
        return rows
    if values.shape != (len(frames), len(UNITS)):
        raise ValueError(f"{name!r}: action units {(len(frames), len(UNITS))} are needed, got shape {values.shape}")
    missing = np.isnan(values[rows])
    if (partly := missing.any(axis=1) & ~missing.all(axis=1)).any():
        raise ValueError(f"{name!r}: row {rows[partly][0]} has some action units, but not all {len(UNITS)}")
    return rows[~missing[:, 0]]


def own(frames: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """Score [N] of each frame's own class: `values` itself, or the column that the label names."""
    if values.ndim == 1:
        return values
    label = frames["label"].to_numpy()
    if outside := sorted(set(label[(label < 0) | (label >= values.shape[1])].tolist())):
        raise ValueError(f"labels {outside} have no column: there are columns 0..{values.shape[1] - 1}")
    return values[np.arange(len(label)), label]


def by_group(group: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows sorted by group code, then rising `key` (stable); each group's first position in that order; its size."""
    count = np.bincount(group)
    return np.lexsort((key, group)), np.cumsum(count) - count, count


def rank_in_group(group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Each row's place 0, 1, ... among the rows of its group, by rising `key` (stable)."""
    order, start, _ = by_group(group, key)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - start[group[order]]
    return rank


def codes(frames: pd.DataFrame, scope: str, *, scopes: dict[str, str]) -> np.ndarray:
    """Group codes 0..G-1 of the frames, by the column that `scopes` gives for `scope`."""
    if scope not in scopes:
        raise ValueError(f"filter option scope = {scope!r}: allowed are {sorted(scopes)}")
    return pd.factorize(frames[scopes[scope]])[0]


def group_percentile(score: np.ndarray, group: np.ndarray, percentile: float) -> np.ndarray:
    """The q-th percentile (0..100) of `score` in each frame's group, float64 [N].

    Interpolated linearly as `numpy.percentile` does.

    Notes
    -----
    The rank is (n - 1) q / 100 with the product first: numpy's (n - 1) (q / 100) gives 55.00000000000001 for the 55th
    percentile of 101 frames and asks for a hair more than the frame that *is* that percentile.
    """
    count = np.bincount(group)
    start, values = np.cumsum(count) - count, _sorted_in_groups(score, group)
    rank = (count - 1) * percentile / 100
    below = np.floor(rank).astype(np.int64)
    low, high = values[start + below], values[start + np.minimum(below + 1, count - 1)]
    part = rank - below
    # from the nearer end, as numpy does: exact where both are equal or the rank is whole
    asked = np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part))
    return asked[group]


def _sorted_in_groups(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """`score` sorted by group code, then rising: `lexsort` in half the time, as equal scores need no order."""
    order = np.argsort(score)
    small = group.astype(np.min_scalar_type(int(group.max(initial=0))))  # up to 16 bits numpy sorts by radix
    return score[order[np.argsort(small[order], kind="stable")]]


def check_range(option: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless option `value` is a number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise ValueError(f"filter option {option} = {value!r}: a number in [{low:g}, {high:g}] is allowed")


def check_whole(option: str, value: int, low: int, high: int | None = None) -> None:
    """Raise ValueError unless option `value` is an int from `low` to `high` (None: no upper end)."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        end = "" if high is None else f" to {high}"
        raise ValueError(f"filter option {option} = {value!r}: an int from {low}{end} is allowed")


def best_of_emptied(video: np.ndarray, keep: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The best frame (the first of equal ones) of each video that `keep` leaves empty: bool [N].

    `video` [N] are codes from 0, of which none is missing; higher `score` [N] is better.
    """
    emptied = np.flatnonzero((np.bincount(video, weights=keep) == 0)[video])
    best_first = emptied[np.lexsort((-score[emptied], video[emptied]))]
    mask = np.zeros(len(video), dtype=bool)
    mask[best_first[np.unique(video[best_first], return_index=True)[1]]] = True
    return mask
