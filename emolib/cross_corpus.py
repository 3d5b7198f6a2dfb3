"""A classifier of stills, tested on video clips of another corpus: one answer a clip. The pure middle of notebook 15.

A clip's emotion is acted from and back to a neutral face, so most of its frames are no fair test of a classifier of
stills. The *apex* is: the frame that differs most from the clip's beginning. No rule here reads a label.

| rule | a clip's posterior is that of |
|---|---|
| `posterior_change` | the frame whose posterior is farthest (total variation) from that of the clip's beginning |
| `landmark_change` | the frame whose landmarks, put upright into the unit square, are farthest from the beginning's |
| `middle` | the frame in the middle of those with a face |
| `mean` | all frames: their mean posterior |

Emotions are matched by name (`labelled_pictures.counterparts`). *Matched* answers are among the classes that clips can
have; *free* ones among all classes of the classifier, so that "neutral" counts as a wrong answer to a clip of disgust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emolib import evaluation, intervals, landmarks
from emolib.labelled_pictures import counterparts

APEX_RULES = ("posterior_change", "landmark_change")
RULES = (*APEX_RULES, "middle", "mean")
ANSWERS = ("matched", "free")


def match(label: np.ndarray, *, video_classes: Sequence[str], classes: Sequence[str], label_space: str) -> np.ndarray:
    """Labels of videos in the numbering of a classifier.

    Parameters
    ----------
    label : int [N], numbers of `video_classes`, which are those of `label_space`.
    classes : the classifier's.

    Returns
    -------
    int64 [N]; -1 where the class has no counterpart.
    """
    found = counterparts(video_classes, classes, label_space=label_space)
    return np.array([found[name] for name in video_classes], dtype=np.int64)[np.asarray(label)]


def change(values: np.ndarray, frames: pd.DataFrame, *, start_s: float, smooth_s: float, total: bool) -> np.ndarray:
    """How far each frame is from the beginning of its clip.

    Parameters
    ----------
    values : float [N, D], of frames with a face.
    frames : `video`, `time_s`; sorted by them.
    start_s : the beginning lasts so long from the clip's first frame with a face; at least that frame.
    smooth_s : each column is first averaged over the frames within this window around each frame; 0: not.
    total : half the sum of the absolute differences (of posteriors: total variation, 0..1), else their Euclidean norm
        over the square root of D.

    Returns
    -------
    float64 [N], 0 or more.

    Raises
    ------
    ValueError
        Lengths differ, frames are not sorted, or a length of time is negative.
    """
    if len(values) != len(frames) or start_s < 0 or smooth_s < 0:
        raise ValueError(f"{len(values)} values, {len(frames)} frames, start_s {start_s}, smooth_s {smooth_s} received")
    result = np.empty(len(frames))
    for rows in _clips(frames):
        time = frames["time_s"].to_numpy()[rows]
        own = _smoothed(np.asarray(values[rows], dtype=np.float64), time, smooth_s)
        moved = own - own[time <= time[0] + start_s].mean(axis=0)
        result[rows] = np.abs(moved).sum(axis=1) / 2 if total else np.sqrt((moved**2).mean(axis=1))
    return result


def _clips(frames: pd.DataFrame) -> list[np.ndarray]:
    code = pd.factorize(frames["video"])[0]
    if (np.diff(code) < 0).any() or ((np.diff(frames["time_s"]) < 0) & (np.diff(code) == 0)).any():
        raise ValueError("frames: a clip's frames must lie together, in the order of time")
    return np.split(np.arange(len(frames)), np.flatnonzero(np.diff(code)) + 1)


def _smoothed(values: np.ndarray, time: np.ndarray, smooth_s: float) -> np.ndarray:
    half = smooth_s / 2 + 1e-9  # frame times are sums of frame periods
    first, last = np.searchsorted(time, time - half), np.searchsorted(time, time + half, side="right")
    summed = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    return (summed[last] - summed[first]) / (last - first)[:, None]


def upright(points: np.ndarray) -> np.ndarray:
    """Landmarks [N, 68, 2] in pixels as shares of the aligned crop, float64 [N, 136]: free of place, size and tilt."""
    moved = [landmarks.to_crop(one, landmarks.align(one), size_px=1) for one in points]
    return np.array(moved, dtype=np.float64).reshape(len(points), -1)


def apexes(
    frames: pd.DataFrame,
    posterior: np.ndarray,
    points: np.ndarray | None,
    *,
    start_s: float = 0.2,
    smooth_s: float = 0.2,
) -> dict[str, np.ndarray]:
    """The frame that each rule chooses.

    Parameters
    ----------
    frames : rows with a face: `video`, `time_s`; a clip's rows together, in the order of time.
    posterior : float [N, C].
    points : float [N, 68, 2], landmarks in pixels; None: no `landmark_change`.

    Returns
    -------
    dict : rule (all but `mean`) -> int64 [clips], positions in `frames`, in the clips' order.
    """
    clips = _clips(frames)
    how = {"start_s": start_s, "smooth_s": smooth_s}
    scores = {"posterior_change": change(posterior, frames, total=True, **how)}
    if points is not None:
        scores["landmark_change"] = change(upright(points), frames, total=False, **how)
    chosen = {name: np.array([rows[score[rows].argmax()] for rows in clips]) for name, score in scores.items()}
    return chosen | {"middle": np.array([rows[(len(rows) - 1) // 2] for rows in clips])}


def answers(frames: pd.DataFrame, posterior: np.ndarray, chosen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A posterior a clip by each rule: rule -> float64 [clips, C], the clips in the order of `frames`."""
    found = {name: np.asarray(posterior[rows], dtype=np.float64) for name, rows in chosen.items()}
    found["mean"] = np.array([posterior[rows].mean(axis=0, dtype=np.float64) for rows in _clips(frames)])
    return found


def predicted(posterior: np.ndarray, allowed: Sequence[int] | np.ndarray) -> np.ndarray:
    """The class of the largest posterior among those `allowed`, int64 [clips]."""
    allowed = np.asarray(allowed, dtype=np.int64)
    return allowed[posterior[:, allowed].argmax(axis=1)]


def clips_of(frames: pd.DataFrame) -> pd.DataFrame:
    """A row a clip, in the order of `frames` (which lie as `apexes` needs them): `video`, `subject`, `label`, and
    `posed` and `sex` where the corpus has them."""
    columns = ["video", "subject", "label", *(name for name in ("posed", "sex") if name in frames)]
    return frames.iloc[[rows[0] for rows in _clips(frames)]][columns].reset_index(drop=True)


def parts_of(clips: pd.DataFrame) -> dict[str, np.ndarray]:
    """Clips that are looked at on their own, name -> bool [clips]; a part needs two people at least."""
    parts = {"all": np.ones(len(clips), dtype=bool)}
    if "posed" in clips:
        posed = clips["posed"].to_numpy(dtype=bool)
        parts |= {"posed": posed, "genuine": ~posed}
    if "sex" in clips:
        parts |= {sex: (clips["sex"] == sex).to_numpy() for sex in sorted(clips["sex"].dropna().unique())}
    return {name: rows for name, rows in parts.items() if clips["subject"][rows].nunique() > 1}


def place(frames: pd.DataFrame, chosen: np.ndarray) -> np.ndarray:
    """Where in its clip each chosen frame lies, 0 (first with a face) to 1 (last); 0.5 where there is only one."""
    clips, time = _clips(frames), frames["time_s"].to_numpy()
    first, last = (time[[rows[k] for rows in clips]] for k in (0, -1))
    length = last - first
    return np.divide(time[chosen] - first, length, out=np.full(len(clips), 0.5), where=length > 0)


def scores(
    found: Mapping[str, np.ndarray],
    clips: pd.DataFrame,
    true: np.ndarray,
    *,
    matched: Sequence[int],
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy and UAR of every rule, both kinds of answers, and every part of the clips.

    Parameters
    ----------
    found : of `answers`.
    clips : of `clips_of`.
    true : int [clips], classes of the classifier.
    matched : the classes that clips can have, of the classifier's.

    Returns
    -------
    DataFrame: rule, answer, clips ("all" and the parts of `parts_of`), n, n_subjects, accuracy, accuracy_low,
    accuracy_high, uar, uar_low, uar_high (95 %, bootstrap over subjects), chance (1 / classes that may be answered).
    """
    rows = []
    for rule, posterior in found.items():
        for answer, allowed in zip(ANSWERS, (matched, range(posterior.shape[1])), strict=True):
            given = predicted(posterior, allowed)
            for part, rows_of in parts_of(clips).items():
                row = {"rule": rule, "answer": answer, "clips": part, "n": int(rows_of.sum())}
                subject = clips["subject"].to_numpy()[rows_of]
                for metric in ("accuracy", "uar"):
                    interval = intervals.subject_bootstrap(
                        true[rows_of], given[rows_of], subject, metric=metric, n_resamples=n_resamples, seed=seed
                    )
                    row |= {metric: interval.value, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
                rows.append(row | {"n_subjects": interval.n_subjects, "chance": 1 / len(allowed)})
    return pd.DataFrame(rows)


def against(
    found: Mapping[str, np.ndarray],
    true: np.ndarray,
    subject: np.ndarray,
    *,
    matched: Sequence[int],
    baseline: str = "middle",
    n_resamples: int = 10000,
    seed: int = 0,
) -> pd.DataFrame:
    """Is a rule more accurate than `baseline` (matched answers)? Paired over subjects, p-values corrected by Holm."""
    given = {rule: predicted(posterior, matched) for rule, posterior in found.items()}
    rows = []
    for rule in given:
        if rule != baseline:
            test = intervals.paired_test(
                true, given[rule], given[baseline], subject, n_resamples=n_resamples, seed=seed
            )
            rows.append({"rule": rule, "minus": baseline, **vars(test)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=evaluation.holm(table["p_value"]))
