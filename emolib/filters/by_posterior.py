"""Filters that judge a frame by its posterior: a fixed threshold, percentiles, and the opposite choice."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.filters.judging import (
    Judgement,
    best_of_emptied,
    check_range,
    check_whole,
    codes,
    group_percentile,
    own,
    rank_in_group,
)

SCOPES = {"video": "video", "class": "label"}


def none(frames: pd.DataFrame, values: np.ndarray | None) -> Judgement:
    """Keep every frame with a face. The score is that of the own class, NaN without `values`."""
    score = np.full(len(frames), np.nan) if values is None else own(frames, values)
    return Judgement(np.ones(len(frames), dtype=bool), score, np.nan)


def fixed_threshold(
    frames: pd.DataFrame, values: np.ndarray, *, threshold: float, keep_best: bool = False, largest: bool = False
) -> Judgement:
    """Keep frames whose posterior of the video's own class is at least `threshold` (system A).

    Parameters
    ----------
    threshold : float in 0..1
        Compared in the precision of `values`, so that a float32 posterior of 0.7 reaches 0.7.
    keep_best : bool
        A video that would lose every frame keeps its best one (the first of equal ones); otherwise it is emptied.
    largest : bool
        The variant for test frames, whose label must not be used: judge the *largest* posterior of the frame, and keep
        the best frame where none reaches `threshold` (it implies `keep_best`). Needs posteriors [N, C].
    """
    check_range("threshold", threshold, 0.0, 1.0)
    if largest and values.ndim != 2:
        raise ValueError(f"filter 'threshold': largest=True needs posteriors [N, C], got shape {values.shape}")
    score = values.max(axis=1) if largest else own(frames, values)
    keep = score >= threshold
    if keep_best or largest:
        keep |= best_of_emptied(frames["video"].to_numpy(), keep, score)
    return Judgement(keep, score, threshold)


def balanced_threshold(
    frames: pd.DataFrame, values: np.ndarray, *, threshold: float, keep_best: bool = False, seed: int = 0
) -> Judgement:
    """The filter `threshold`, then every class subsampled to the frames of the smallest one (system A).

    A class that lost every frame stays empty and is no "smallest one": the account shows it with 0 frames kept.

    Parameters
    ----------
    threshold : float in 0..1
    keep_best : bool
        As for the filter `threshold`, before the subsampling; which may take a video's last frame again.
    seed : int
        Of the draw, which is uniform over the class's frames, without replacement and in the order of rows.
    """
    check_whole("seed", seed, 0)
    passed = fixed_threshold(frames, values, threshold=threshold, keep_best=keep_best)
    rows = np.flatnonzero(passed.keep)
    class_code = pd.factorize(frames["label"].to_numpy()[rows])[0]
    place = rank_in_group(class_code, np.random.default_rng(seed).random(len(frames))[rows])
    smallest = np.bincount(class_code).min(initial=len(rows))
    keep = np.zeros(len(frames), dtype=bool)
    keep[rows[place < smallest]] = True
    return Judgement(keep, passed.score, passed.threshold)


def percentile(frames: pd.DataFrame, values: np.ndarray, *, percentile: float, scope: str = "video") -> Judgement:
    """Keep the frames at or above the q-th percentile of their video ("quartile" in system A) or of their class.

    Every video (or class) keeps at least its best frame; 0 keeps all, 100 the best one (and its equals).

    Parameters
    ----------
    percentile : float in 0..100
        q; interpolated linearly as `numpy.percentile` does, in float64.
    scope : "video" or "class"
        Over which frames the percentile is taken: each video's own, or all of the class; the latter is for stills,
        where a still is its own video.
    """
    check_range("percentile", percentile, 0.0, 100.0)
    score = np.asarray(own(frames, values), dtype=np.float64)
    return _at_least(score, codes(frames, scope, scopes=SCOPES), percentile)


def low_confidence(frames: pd.DataFrame, values: np.ndarray, *, percentile: float, scope: str = "video") -> Judgement:
    """The opposite of `percentile`: keep the frames that the model doubts most, and about as many at the same q.

    Kept are frames at or below the (100 - q)-th percentile of the own class's posterior; the score is that posterior,
    negated.

    Parameters
    ----------
    percentile : float in 0..100
        q; 0 keeps all, 100 the most doubtful frame (and its equals).
    scope : "video" or "class"
        As for the filter `percentile`.
    """
    check_range("percentile", percentile, 0.0, 100.0)
    # the (100 - q)-th percentile, negated, is the q-th of the negated: the same rank and so the same number of frames
    score = -np.asarray(own(frames, values), dtype=np.float64)
    return _at_least(score, codes(frames, scope, scopes=SCOPES), percentile)


def _at_least(score: np.ndarray, group: np.ndarray, percentile: float) -> Judgement:
    asked = group_percentile(score, group, percentile)
    return Judgement(score >= asked, score, asked)
