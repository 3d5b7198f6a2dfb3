"""Frame filters: which frames of a labelled video should a model learn from? Posteriors in, a mask and its account out.

A filter is one function `f(frames, values, *, options) -> Judgement` and one line in `FILTERS`. `select` is the only
door: it checks the input once, hides the frames without a face (never kept, never counted) and writes the account, so
that a filter sees clean, aligned rows only. `values` is what the filter judges by: posteriors [N, C] in the frames'
label space, or already the score [N] of each frame's own class.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class FrameSelection:
    """What a filter kept.

    Attributes
    ----------
    keep : bool [N]
    score : float32 [N]
        The quantity that was judged, higher = kept rather; NaN where there is no face.
    account : DataFrame, a row a class that occurs
        `label, frames, kept, kept_share, videos, videos_emptied, threshold`. Frames and videos count where a face was
        found. `threshold` is the score that had to be reached: the median over the class's videos where each has its
        own.
    """

    keep: np.ndarray
    score: np.ndarray
    account: pd.DataFrame


class Judgement(NamedTuple):
    """A filter's answer for the frames with a face: kept or not, by which score, and the score that was asked for."""

    keep: np.ndarray
    score: np.ndarray
    threshold: np.ndarray | float


def select(name: str, frames: pd.DataFrame, posterior: np.ndarray | None, **options) -> FrameSelection:
    """Apply filter `name` to a frame list.

    Parameters
    ----------
    name : str
        A key of `FILTERS`.
    frames : DataFrame
        Rows of the manifest; `video`, `label` and `face_ok` are used. All frames of a video have one label.
    posterior : float [N, C] or [N], or None
        Aligned with `frames`; [N, C] in their label space, [N] the score of each frame's own class. Rows of frames
        without a face are not looked at. None only for filters that judge nothing (`none`).
    **options
        Options of the filter, see its function.

    Raises
    ------
    ValueError
        Unknown filter, option out of range, lengths that differ, a video with two labels, a score that is not finite.
    TypeError
        Unknown or missing option.
    """
    function = _filter(name, options)
    if missing := {"video", "label", "face_ok"} - set(frames.columns):
        raise ValueError(f"filter {name!r}: the frame list lacks column(s) {sorted(missing)}")
    values = None if posterior is None else np.asarray(posterior)
    if values is not None and (values.ndim not in (1, 2) or len(values) != len(frames)):
        raise ValueError(f"filter {name!r}: {len(frames)} frames, but posteriors of shape {values.shape}")
    face = frames["face_ok"].to_numpy(dtype=bool)
    seen = frames.loc[face, ["video", "label"]]
    video, video_names = pd.factorize(seen["video"])
    label = seen["label"].to_numpy(dtype=np.int64)
    _check_one_label(video, label, video_names)

    judged = function(
        pd.DataFrame({"video": video, "label": label}), None if values is None else values[face], **options
    )
    if values is not None and not np.isfinite(judged.score).all():
        row = np.flatnonzero(face)[np.flatnonzero(~np.isfinite(judged.score))[0]]
        raise ValueError(f"filter {name!r}: frame in row {row} has a face, but no finite score")
    keep, score = np.zeros(len(frames), dtype=bool), np.full(len(frames), np.nan, dtype=np.float32)
    keep[face], score[face] = judged.keep, judged.score
    return FrameSelection(keep, score, _account(video, label, judged))


def none(frames: pd.DataFrame, values: np.ndarray | None) -> Judgement:
    """Keep every frame with a face. The score is that of the own class, NaN without `values`."""
    score = np.full(len(frames), np.nan) if values is None else _own(frames, values)
    return Judgement(np.ones(len(frames), dtype=bool), score, np.nan)


def threshold(
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
    _check_range("threshold", threshold, 0.0, 1.0)
    if largest and np.ndim(values) != 2:
        raise ValueError(f"filter 'threshold': largest=True needs posteriors [N, C], got shape {np.shape(values)}")
    score = values.max(axis=1) if largest else _own(frames, values)
    keep = score >= threshold
    if keep_best or largest:
        video = frames["video"].to_numpy()
        emptied = np.flatnonzero((np.bincount(video, weights=keep) == 0)[video])
        best_first = emptied[np.lexsort((-score[emptied], video[emptied]))]
        keep[best_first[np.unique(video[best_first], return_index=True)[1]]] = True
    return Judgement(keep, score, threshold)


def percentile(frames: pd.DataFrame, values: np.ndarray, *, percentile: float) -> Judgement:
    """Keep, in each video, the frames at or above that video's own q-th percentile ("quartile" in system A).

    Every video keeps at least its best frame; 0 keeps all, 100 the best one (and its equals).

    Parameters
    ----------
    percentile : float in 0..100
        q; interpolated linearly as `numpy.percentile` does, in float64.

    Notes
    -----
    The rank is (n - 1) q / 100 with the product first: numpy's (n - 1) (q / 100) gives 55.00000000000001 for the 55th
    percentile of 101 frames and asks for a hair more than the frame that *is* that percentile.
    """
    _check_range("percentile", percentile, 0.0, 100.0)
    score = np.asarray(_own(frames, values), dtype=np.float64)
    video = frames["video"].to_numpy()
    order, start, count = _by_video(video, score)
    rank = (count - 1) * percentile / 100
    below = np.floor(rank).astype(np.int64)
    low = score[order[start + below]]
    high = score[order[start + np.minimum(below + 1, count - 1)]]
    part = rank - below
    # from the nearer end, as numpy does: exact where both are equal or the rank is whole
    asked = np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part))
    return Judgement(score >= asked[video], score, asked[video])


FILTERS: dict[str, Callable[..., Judgement]] = {"none": none, "threshold": threshold, "percentile": percentile}


def _filter(name: str, options: dict) -> Callable[..., Judgement]:
    if name not in FILTERS:
        raise ValueError(f"unknown filter {name!r}; known: {sorted(FILTERS)}")
    allowed = [p for p in inspect.signature(FILTERS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    described = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in allowed) or "none"
    if unknown := set(options) - {p.name for p in allowed}:
        raise TypeError(f"filter {name!r} has no option {sorted(unknown)}; its options: {described}")
    if missing := [p.name for p in allowed if p.default is p.empty and p.name not in options]:
        raise TypeError(f"filter {name!r} needs option {missing}; its options: {described}")
    return FILTERS[name]


def _own(frames: pd.DataFrame, values: np.ndarray | None) -> np.ndarray:
    """Score of each frame's own class: `values` itself, or the column that the label names."""
    if values is None:
        raise ValueError("this filter judges frames by their posterior, and none was given")
    if values.ndim == 1:
        return values
    label = frames["label"].to_numpy()
    if outside := sorted(set(label[(label < 0) | (label >= values.shape[1])].tolist())):
        raise ValueError(f"labels {outside} have no column: posteriors have columns 0..{values.shape[1] - 1}")
    return values[np.arange(len(label)), label]


def _by_video(video: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows sorted by video, then rising `key` (stable); each video's first position in that order, and its frames."""
    count = np.bincount(video)
    return np.lexsort((key, video)), np.cumsum(count) - count, count


def _account(video: np.ndarray, label: np.ndarray, judged: Judgement) -> pd.DataFrame:
    frames = pd.DataFrame({"label": label, "video": video, "kept": judged.keep, "threshold": judged.threshold})
    per_video = frames.groupby("video").agg(
        label=("label", "first"), frames=("kept", "size"), kept=("kept", "sum"), threshold=("threshold", "first")
    )
    per_video["emptied"] = per_video["kept"] == 0
    account = per_video.groupby("label").agg(
        frames=("frames", "sum"),
        kept=("kept", "sum"),
        videos=("frames", "size"),
        videos_emptied=("emptied", "sum"),
        threshold=("threshold", "median"),
    )
    account.insert(2, "kept_share", account["kept"] / account["frames"])
    return account.reset_index()


def _check_one_label(video: np.ndarray, label: np.ndarray, video_names: pd.Index) -> None:
    first = np.empty(len(video_names), dtype=np.int64)
    first[video[::-1]] = label[::-1]
    if (other := np.flatnonzero(label != first[video])).size:
        code = video[other[0]]
        raise ValueError(
            f"video {video_names[code]!r} has frames labelled {first[code]} and {label[other[0]]}: one label is allowed"
        )


def _check_range(option: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise ValueError(f"filter option {option} = {value!r}: a number in [{low:g}, {high:g}] is allowed")
