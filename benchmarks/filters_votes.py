"""Filters and votes on a corpus of RAVDESS's size, against the pandas loops over rows and videos of system A.

    python benchmarks/filters_votes.py [--loop-videos 60]

160,000 frames x 8 classes and 17 action units in 1,440 videos, made up. The loops run on all of it (five minutes) or
on the first `--loop-videos` videos with their time scaled to all: that flatters them, since
`frames[frames.video == v]` grows with the corpus. Both answers are compared on the same videos: frame by frame, or
number by number where frames are drawn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import mahalanobis

from emolib import evaluation, filters, normals, voting
from emolib.action_units import UNITS

N_FRAMES, N_VIDEOS, N_CLASSES, N_SUBJECTS = 160_000, 1_440, 8, 24


def corpus(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A manifest (every 50th frame without a face), posteriors and action units, in video order as a store has them."""
    rng = np.random.default_rng(seed)
    video = np.sort(np.concatenate([np.arange(N_VIDEOS), rng.integers(0, N_VIDEOS, N_FRAMES - N_VIDEOS)]))
    frames = pd.DataFrame({"video": [f"01-01-{v:04d}" for v in video], "label": video % N_CLASSES})
    frames["subject"] = [f"{v // (N_VIDEOS // N_SUBJECTS) + 1:02d}" for v in video]
    frames["face_ok"] = np.arange(N_FRAMES) % 50 != 7
    frames["frame"] = frames.groupby("video").cumcount()
    frames["time_s"] = frames["frame"] / 30
    posterior = rng.dirichlet(np.full(N_CLASSES, 0.5), N_FRAMES).astype(np.float32)
    return frames, posterior, rng.gamma(0.5, 1.0, (N_FRAMES, len(UNITS))).astype(np.float32)


class Case(NamedTuple):
    """A filter, and the loop that does the same: what it reads of a row, what it keeps of a group's values."""

    name: str
    options: dict
    group: str
    read: Callable[[pd.Series], object]
    judge: Callable[[list], list]
    drawn: bool = False  # at random: only numbers can agree
    balanced: bool = False  # classes are subsampled to the smallest afterwards


def loop_filter(frames: pd.DataFrame, case: Case) -> np.ndarray:
    """A video (or class) at a time, a row at a time."""
    keep = {}
    for group in frames[case.group].unique():
        values, seen = [], []
        for i, row in frames[frames[case.group] == group].iterrows():
            keep[i] = False
            if row["face_ok"]:
                values.append(case.read(row))
                seen.append(i)
        keep.update(zip(seen, case.judge(values) if seen else [], strict=True))
    kept = pd.Series(keep).loc[frames.index].to_numpy(dtype=bool)
    if case.balanced:
        of_class = frames[kept].groupby("label")
        chosen = of_class.sample(int(of_class.size().min()), random_state=0).index
        kept = frames.index.isin(chosen)
    return kept


def own(row: pd.Series) -> float:
    return row[f"p_{row['label']}"]


def own_at(row: pd.Series) -> tuple[float, float]:
    return own(row), row["time_s"]


def top(row: pd.Series) -> float:
    return max(row[f"p_{c}"] for c in range(N_CLASSES))


def at_percentile(values: list) -> list:
    asked = np.percentile(values, 35)
    return [value >= asked for value in values]


def at_most_percentile(values: list) -> list:
    asked = np.percentile(values, 65)
    return [value <= asked for value in values]


def at_threshold(values: list) -> list:
    return [value >= np.float32(0.3) for value in values]


def at_threshold_or_best(values: list) -> list:
    kept = at_threshold(values)
    return kept if any(kept) else [k == int(np.argmax(values)) for k in range(len(values))]


def no_blink(values: list) -> list:
    return [value <= np.float32(0.75) for value in values]


def half_drawn(values: list) -> list:
    chosen = np.random.default_rng(0).permutation(len(values))[: max(1, int(0.5 * len(values) + 0.5))]
    return [k in chosen for k in range(len(values))]


def every_second(values: list) -> list:
    places = {frame: place for place, frame in enumerate(sorted(values))}
    return [places[frame] % 2 == 0 for frame in values]


def around_apex(values: list) -> list:
    """A second around the highest mean of the curve over 0.3 s, frame by frame."""
    score, time_s = (np.array(column, dtype=np.float64) for column in zip(*values, strict=True))
    smooth = []
    for moment in time_s:
        low, high = max(moment - 0.15, time_s[0]), min(moment + 0.15, time_s[-1])
        corners = np.unique([low, high, *(t for t in time_s if low < t < high)])
        smooth.append(np.trapezoid(np.interp(corners, time_s, score), corners) / max(high - low, 1e-12))
    return [abs(moment - time_s[int(np.argmax(smooth))]) <= 0.5 + 1e-6 for moment in time_s]


def cases(fitted: normals.Normals) -> list[Case]:
    """Every filter that judges, with the options of the benchmark."""
    inverse = np.linalg.inv(fitted.covariance)

    def distance(row: pd.Series) -> float:
        return mahalanobis([row[unit] for unit in UNITS], fitted.mean[row["label"]], inverse[row["label"]])

    by_class = {"percentile": 35.0, "scope": "class"}
    mvn = {"percentile": 65.0, "normals": fitted}
    return [
        Case("percentile", {"percentile": 35.0}, "video", own, at_percentile),
        Case("percentile", by_class, "label", own, at_percentile),
        Case("low_confidence", {"percentile": 35.0}, "video", own, at_most_percentile),
        Case("threshold", {"threshold": 0.3}, "video", own, at_threshold),
        Case("threshold", {"threshold": 0.3, "largest": True}, "video", top, at_threshold_or_best),
        Case("threshold_balanced", {"threshold": 0.3}, "video", own, at_threshold, drawn=True, balanced=True),
        Case("random", {"share": 0.5}, "video", own, half_drawn, drawn=True),
        Case("fps", {"every": 2}, "video", lambda row: row["frame"], every_second),
        Case("apex", {"window_s": 1.0}, "video", own_at, around_apex),
        Case("au45", {"threshold": 0.75}, "video", lambda row: row["AU45"], no_blink),
        Case("mvn", {**mvn, "scope": "corpus"}, "label", distance, at_most_percentile),
        Case("mvn", {**mvn, "scope": "video"}, "video", distance, at_most_percentile),
    ]


def loop_vote(frames: pd.DataFrame, method: str, mean: np.ndarray) -> list[int]:
    """A video at a time, a row at a time."""
    predicted = []
    for video in frames["video"].unique():
        count, top, summed = (np.zeros(N_CLASSES) for _ in range(3))
        rows = frames[frames["video"] == video]
        for _, row in rows.iterrows():
            posterior = np.array([row[f"p_{c}"] for c in range(N_CLASSES)])
            count[posterior.argmax()] += 1
            top[posterior.argmax()] += posterior.max()
            summed += posterior
        score = {
            "majority": count + 1e-6 * summed,  # the tie rule
            "weighted": 0.5 * top / np.maximum(count, 1) + 0.5 * count,
            "auc": summed,
            "auc_zscore": summed / len(rows) - mean,
        }[method]
        predicted.append(int(score.argmax()))
    return predicted


def best_of(call: Callable, repeats: int = 3) -> tuple[object, float]:
    """Result and the shortest of `repeats` times, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return result, min(times)


def report(name: str, seconds: float, loop_seconds: float, agree: bool) -> None:
    """A line of the table: both times, their ratio, and whether both gave the same answer."""
    if not agree:
        raise AssertionError(f"{name}: the loop gives another answer")
    print(f"{name:48s}{seconds:9.3f} s {loop_seconds:10.1f} s {loop_seconds / seconds:9.0f}x")


def agree(frames: pd.DataFrame, kept: np.ndarray, looped: np.ndarray, case: Case) -> bool:
    """Whether both kept the same frames; of those that are drawn as many of each video (balanced: of each class)."""
    if not case.drawn:
        return np.array_equal(kept, looped)
    group = frames["label" if case.balanced else "video"]
    return pd.Series(kept).groupby(group.to_numpy()).sum().equals(pd.Series(looped).groupby(group.to_numpy()).sum())


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop-videos", type=int, default=N_VIDEOS, help="videos that the loops run on (default: all)")
    n_loop = parser.parse_args().loop_videos
    frames, posterior, units = corpus()
    columns = pd.DataFrame(posterior, columns=[f"p_{c}" for c in range(N_CLASSES)])
    part = pd.concat([frames, columns, pd.DataFrame(units, columns=list(UNITS))], axis=1)
    part = part[part["video"].isin(frames["video"].unique()[:n_loop])]
    scale = N_VIDEOS / n_loop
    print(
        f"{N_FRAMES:,} frames x {N_CLASSES} classes, {N_VIDEOS:,} videos; loops on {n_loop} videos, scaled by {scale:g}"
    )
    print(f"{'':48s}{'emolib':>11s} {'loop':>12s} {'ratio':>10s}")

    fitted = normals.fit(units, frames["label"].to_numpy(), classes=[str(c) for c in range(N_CLASSES)])
    for case in cases(fitted):
        described = ", ".join(f"{key} {value}" for key, value in case.options.items() if key != "normals")
        values = units if filters.FILTERS[case.name].reads == "action_units" else posterior
        _, seconds = best_of(lambda c=case, v=values: filters.select(c.name, frames, v, **c.options))
        # columns that the loop does not read would only slow it down
        table = part.drop(columns=columns.columns if values is units else list(UNITS))
        start = time.perf_counter()
        looped = loop_filter(table, case)
        loop_seconds = time.perf_counter() - start
        kept = filters.select(case.name, part[frames.columns], values[: len(part)], **case.options).keep
        report(f"filter {case.name}: {described}", seconds, loop_seconds * scale, agree(part, kept, looped, case))
    for filter_by in ("prune_by_noise_rate", "confident_learning"):
        _, seconds = best_of(lambda f=filter_by: filters.select("cleanlab", frames, posterior, filter_by=f))
        print(f"{'filter cleanlab: ' + filter_by:48s}{seconds:9.3f} s")
    table = part.drop(columns=list(UNITS))

    face = frames["face_ok"].to_numpy()
    video, seen = frames["video"].to_numpy()[face], posterior[face]
    mean = voting.training_mean(video, seen)
    for method in voting.METHODS:
        votes, seconds = best_of(lambda m=method: voting.vote(video, seen, method=m, training_mean=mean))
        start = time.perf_counter()
        looped = loop_vote(table[table["face_ok"]], method, mean)
        same = looped == votes["predicted"].tolist()[:n_loop]
        report(f"vote {method}", seconds, (time.perf_counter() - start) * scale, same)

    label, subject = frames["label"].to_numpy(), frames["subject"].to_numpy()
    predicted = posterior.argmax(axis=1)
    _, seconds = best_of(lambda: evaluation.subject_bootstrap(label, predicted, subject, metric="macro_f1"))
    print(f"{'bootstrap of macro F1, 2,000 resamples':48s}{seconds:9.3f} s")
    other = np.roll(predicted, 1)
    _, seconds = best_of(lambda: evaluation.paired_test(label, predicted, other, subject))
    print(f"{'paired test, 10,000 sign flips':48s}{seconds:9.3f} s")


if __name__ == "__main__":
    main()
