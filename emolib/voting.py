"""Votes: the posteriors of a video's frames make one answer for the video (the four votes of system A)."""

from __future__ import annotations

import numpy as np
import pandas as pd

METHODS = ("majority", "weighted", "auc", "auc_zscore")


def vote(
    video: np.ndarray, posterior: np.ndarray, *, method: str = "majority", training_mean: np.ndarray | None = None
) -> pd.DataFrame:
    """One predicted class a video.

    Parameters
    ----------
    video : [N]
        Video id of each frame, in any order.
    posterior : float [N, C]
    method : str
        | method | score of class c |
        |---|---|
        | `majority` | number of frames whose largest posterior is c's (the first class, where two are equally large) |
        | `weighted` | 0.5 x mean top posterior of those frames + 0.5 x their number; 0 where there are none |
        | `auc` | sum of c's posterior over the frames: the area under its curve |
        | `auc_zscore` | mean of c's posterior over the frames, minus `training_mean[c]` |
    training_mean : float [C], optional
        Only `auc_zscore` uses it, and needs it: `training_mean` of the training videos.

    Returns
    -------
    DataFrame
        Index `video` in order of first appearance; `predicted` (int64) and `score_0` .. `score_{C-1}`. The largest
        score wins; equal scores are decided by the larger summed posterior, then by the lower class index.

    Raises
    ------
    ValueError
        Unknown method, shapes that do not fit, posteriors that are not finite, or `auc_zscore` without its mean.
    """
    if method not in METHODS:
        raise ValueError(f"unknown vote {method!r}; known: {', '.join(METHODS)}")
    code, videos, posterior = _checked(video, posterior)
    summed = _sums(code, posterior, len(videos))
    if method in ("majority", "weighted"):
        score = _votes(code, posterior, len(videos), weighted=method == "weighted")
    elif method == "auc":
        score = summed
    else:
        if np.shape(training_mean) != (posterior.shape[1],):
            raise ValueError(
                f"auc_zscore needs training_mean of shape ({posterior.shape[1]},), got "
                f"{'none' if training_mean is None else np.shape(training_mean)}"
            )
        score = summed / np.bincount(code)[:, None] - np.asarray(training_mean)
    best = score == score.max(axis=1, keepdims=True)
    predicted = np.where(best, summed, -np.inf).argmax(axis=1)
    table = pd.DataFrame(
        score, columns=[f"score_{c}" for c in range(score.shape[1])], index=pd.Index(videos, name="video")
    )
    table.insert(0, "predicted", predicted.astype(np.int64))
    return table


def training_mean(video: np.ndarray, posterior: np.ndarray) -> np.ndarray:
    """Mean over the training videos of each video's mean posterior, float64 [C]: what `auc_zscore` subtracts.

    Every video counts once, however many frames it has.
    """
    code, videos, posterior = _checked(video, posterior)
    return (_sums(code, posterior, len(videos)) / np.bincount(code)[:, None]).mean(axis=0)


def _votes(code: np.ndarray, posterior: np.ndarray, n_videos: int, *, weighted: bool) -> np.ndarray:
    n_classes = posterior.shape[1]
    cell = code * n_classes + posterior.argmax(axis=1)
    count = np.bincount(cell, minlength=n_videos * n_classes).reshape(n_videos, n_classes).astype(np.float64)
    if not weighted:
        return count
    top = np.bincount(cell, weights=posterior.max(axis=1), minlength=n_videos * n_classes).reshape(n_videos, n_classes)
    mean_top = np.divide(top, count, out=np.zeros_like(top), where=count > 0)
    return 0.5 * mean_top + 0.5 * count


def _sums(code: np.ndarray, posterior: np.ndarray, n_videos: int) -> np.ndarray:
    """Summed posteriors a video, float64 [n_videos, C]."""
    return np.stack([np.bincount(code, weights=column, minlength=n_videos) for column in posterior.T], axis=1)


def _checked(video: np.ndarray, posterior: np.ndarray) -> tuple[np.ndarray, pd.Index, np.ndarray]:
    posterior = np.asarray(posterior)
    if posterior.ndim != 2 or len(posterior) != len(video) or not len(posterior):
        raise ValueError(f"{len(video)} frames need posteriors [{len(video)}, C], at least one; got {posterior.shape}")
    if not np.isfinite(posterior).all():
        row = np.flatnonzero(~np.isfinite(posterior).all(axis=1))[0]
        raise ValueError(f"posterior in row {row} is not finite; leave frames without a face out")
    code, videos = pd.factorize(np.asarray(video))
    if (code < 0).any():
        raise ValueError(f"row {np.flatnonzero(code < 0)[0]} has no video id")
    return code, videos, posterior
