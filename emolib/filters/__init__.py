"""Frame filters: which frames of a labelled video should a model learn from? Values in, a mask and its account out.

A filter is one function `f(frames, values, *, options) -> Judgement` and one line in `FILTERS`. `select` is the only
door: it checks the input once, hides the frames that cannot be judged (never kept, never counted) and writes the
account, so that a filter sees clean, aligned rows only.

| name | keeps | reads |
|---|---|---|
| `none` | every frame with a face | nothing |
| `threshold` | posterior of the own class at least t | posterior |
| `threshold_balanced` | the same, then each class as many as the smallest | posterior |
| `percentile` | own posterior at or above the q-th percentile of the video or class | posterior |
| `low_confidence` | the opposite: at or below the (100 - q)-th | posterior |
| `cleanlab` | label not doubted by confident learning | posterior |
| `apex` | a window in time around the video's peak | posterior |
| `random` | as many as asked for, drawn: the control | nothing |
| `fps` | every k-th frame of a video | nothing |
| `au45` | no blink | action_units |
| `mvn` | near to the own emotion's normal | action_units |
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.filters import by_action_units, by_posterior, confident, in_time, sampling
from emolib.filters.assumed import assumed_labels
from emolib.filters.judging import Filter, Judgement, best_of_emptied, judged_rows

__all__ = ["FILTERS", "Filter", "FrameSelection", "Judgement", "account", "assumed_labels", "best_of_emptied", "select"]

FILTERS: dict[str, Filter] = {
    "none": Filter(by_posterior.none, "nothing"),
    "threshold": Filter(by_posterior.fixed_threshold, "posterior"),
    "threshold_balanced": Filter(by_posterior.balanced_threshold, "posterior"),
    "percentile": Filter(by_posterior.percentile, "posterior"),
    "low_confidence": Filter(by_posterior.low_confidence, "posterior"),
    "cleanlab": Filter(confident.cleanlab, "posterior"),
    "apex": Filter(in_time.apex, "posterior", ("time_s",)),
    "random": Filter(sampling.random, "nothing"),
    "fps": Filter(sampling.fps, "nothing", ("frame",)),
    "au45": Filter(by_action_units.au45, "action_units"),
    "mvn": Filter(by_action_units.mvn, "action_units"),
}


@dataclass(frozen=True)
class FrameSelection:
    """What a filter kept.

    Attributes
    ----------
    keep : bool [N]
    score : float32 [N]
        The quantity that was judged, higher = kept rather; NaN where there is no face or no measurement.
    account : DataFrame, a row a class that occurs
        `label, frames, kept, kept_share, videos, videos_emptied, threshold`. Frames and videos count where there was
        something to judge. `threshold` is the score that had to be reached: the median over the class's videos where
        each has its own, NaN where the filter asks for none.
    """

    keep: np.ndarray
    score: np.ndarray
    account: pd.DataFrame


def select(name: str, frames: pd.DataFrame, values: np.ndarray | None, **options) -> FrameSelection:
    """Apply filter `name` to a frame list.

    Parameters
    ----------
    name : str
        A key of `FILTERS`.
    frames : DataFrame
        Rows of the manifest; `video`, `label` and `face_ok` are used, and what the filter's `columns` name (`frame`,
        `time_s`). All frames of a video have one label.
    values : float array aligned with `frames`, or None
        What `FILTERS[name].reads` says. Rows of frames without a face are not looked at.
        "posterior": [N, C] in the label space of `frames["label"]`, or [N], the score of each frame's own class.
        "action_units": [N, 17], intensities in the order of `action_units.UNITS`; a row of NaN was not measured, and
        such a frame is treated as one without a face. "nothing": may be None.
    **options
        Options of the filter, see its function.

    Raises
    ------
    ValueError
        Unknown filter, option out of range, lengths that differ, a video with two labels, a score that is not finite.
    TypeError
        Unknown or missing option.
    """
    chosen = _filter(name, options)
    if missing := {"video", "label", "face_ok", *chosen.columns} - set(frames.columns):
        raise ValueError(f"filter {name!r}: the frame list lacks column(s) {sorted(missing)}")
    values = None if values is None else np.asarray(values)
    rows = judged_rows(name, chosen.reads, frames, values)
    seen = frames[["video", "label", *chosen.columns]].iloc[rows]
    video, video_names = pd.factorize(seen["video"])
    label = seen["label"].to_numpy(dtype=np.int64)
    _check_one_label(video, label, video_names)

    clean = seen.rename(columns={"video": "video_name"}).assign(video=video, label=label).reset_index(drop=True)
    judged = chosen.function(clean, None if values is None else values[rows], **options)
    if values is not None and not np.isfinite(judged.score).all():
        row = rows[np.flatnonzero(~np.isfinite(judged.score))[0]]
        raise ValueError(f"filter {name!r}: frame in row {row} has a face, but no finite score")
    keep, score = np.zeros(len(frames), dtype=bool), np.full(len(frames), np.nan, dtype=np.float32)
    keep[rows], score[rows] = judged.keep, judged.score
    return FrameSelection(keep, score, account(video, label, judged))


def _filter(name: str, options: dict) -> Filter:
    if name not in FILTERS:
        raise ValueError(f"unknown filter {name!r}; known: {sorted(FILTERS)}")
    parameters = inspect.signature(FILTERS[name].function).parameters.values()
    allowed = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    described = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in allowed) or "none"
    if unknown := set(options) - {p.name for p in allowed}:
        raise TypeError(f"filter {name!r} has no option {sorted(unknown)}; its options: {described}")
    if missing := [p.name for p in allowed if p.default is p.empty and p.name not in options]:
        raise TypeError(f"filter {name!r} needs option {missing}; its options: {described}")
    return FILTERS[name]


def account(video: np.ndarray, label: np.ndarray, judged: Judgement) -> pd.DataFrame:
    """What a filter kept of each class, as in `FrameSelection`; `video` [N] are codes from 0, `label` [N] classes."""
    frames = np.bincount(video)
    first = np.empty(len(frames), dtype=np.int64)
    first[video[::-1]] = np.arange(len(video))[::-1]  # the last one written, a video's first frame, stays
    kept = np.bincount(video, weights=judged.keep).astype(np.int64)
    threshold = np.broadcast_to(judged.threshold, video.shape)[first]
    per_video = pd.DataFrame({"label": label[first], "frames": frames, "kept": kept, "threshold": threshold})
    per_video["emptied"] = per_video["kept"] == 0
    per_class = per_video.groupby("label").agg(
        frames=("frames", "sum"),
        kept=("kept", "sum"),
        videos=("frames", "size"),
        videos_emptied=("emptied", "sum"),
        threshold=("threshold", "median"),
    )
    per_class.insert(2, "kept_share", per_class["kept"] / per_class["frames"])
    return per_class.reset_index()


def _check_one_label(video: np.ndarray, label: np.ndarray, video_names: pd.Index) -> None:
    first = np.empty(len(video_names), dtype=np.int64)
    first[video[::-1]] = label[::-1]
    if (other := np.flatnonzero(label != first[video])).size:
        code = video[other[0]]
        raise ValueError(
            f"video {video_names[code]!r} has frames labelled {first[code]} and {label[other[0]]}: one label is allowed"
        )
