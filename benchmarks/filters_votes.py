"""Filters and votes on a corpus of RAVDESS's size, against the pandas loops over rows and videos of system A.

    python benchmarks/filters_votes.py [--loop-videos 60]

160,000 frames x 8 classes in 1,440 videos, made up. The loops run on the first `--loop-videos` videos and their time
is scaled to all: that flatters them, since `frames[frames.video == v]` grows with the corpus. Both answers are
compared on those videos first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from emolib import evaluation, filters, voting

N_FRAMES, N_VIDEOS, N_CLASSES, N_SUBJECTS = 160_000, 1_440, 8, 24


def corpus(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A manifest (every 50th frame without a face) and posteriors, in video order as a store has them."""
    rng = np.random.default_rng(seed)
    video = np.sort(np.concatenate([np.arange(N_VIDEOS), rng.integers(0, N_VIDEOS, N_FRAMES - N_VIDEOS)]))
    frames = pd.DataFrame({"video": [f"01-01-{v:04d}" for v in video], "label": video % N_CLASSES})
    frames["subject"] = [f"{v // (N_VIDEOS // N_SUBJECTS) + 1:02d}" for v in video]
    frames["face_ok"] = np.arange(N_FRAMES) % 50 != 7
    return frames, rng.dirichlet(np.full(N_CLASSES, 0.5), N_FRAMES).astype(np.float32)


def loop_filter(frames: pd.DataFrame, judge: Callable[[list, list], list]) -> np.ndarray:
    """A video at a time, a row at a time."""
    keep = []
    for video in frames["video"].unique():
        own, top, face = [], [], []
        for _, row in frames[frames["video"] == video].iterrows():
            own.append(row[f"p_{row['label']}"])
            top.append(max(row[f"p_{c}"] for c in range(N_CLASSES)))
            face.append(row["face_ok"])
        judged = iter(
            judge([v for v, f in zip(own, face, strict=True) if f], [v for v, f in zip(top, face, strict=True) if f])
        )
        keep += [bool(f and next(judged)) for f in face]
    return np.array(keep)


def at_percentile(own: list, top: list) -> list:
    asked = np.percentile(own, 35) if own else 0
    return [value >= asked for value in own]


def at_threshold(own: list, top: list) -> list:
    return [value >= np.float32(0.3) for value in own]


def at_threshold_of_largest(own: list, top: list) -> list:
    kept = [value >= np.float32(0.3) for value in top]
    return kept if any(kept) or not top else [k == int(np.argmax(top)) for k in range(len(top))]


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


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop-videos", type=int, default=60, help="videos that the loops run on (default 60)")
    n_loop = parser.parse_args().loop_videos
    frames, posterior = corpus()
    columns = pd.DataFrame(posterior, columns=[f"p_{c}" for c in range(N_CLASSES)])
    table = pd.concat([frames, columns], axis=1)
    part = table[table["video"].isin(frames["video"].unique()[:n_loop])]
    scale = N_VIDEOS / n_loop
    print(
        f"{N_FRAMES:,} frames x {N_CLASSES} classes, {N_VIDEOS:,} videos; loops on {n_loop} videos, scaled by {scale:g}"
    )
    print(f"{'':48s}{'emolib':>11s} {'loop':>12s} {'ratio':>10s}")

    for name, options, judge in [
        ("percentile", {"percentile": 35.0}, at_percentile),
        ("threshold", {"threshold": 0.3}, at_threshold),
        ("threshold", {"threshold": 0.3, "largest": True}, at_threshold_of_largest),
    ]:
        described = ", ".join(f"{option} {value}" for option, value in options.items())
        selection, seconds = best_of(lambda n=name, o=options: filters.select(n, frames, posterior, **o))
        start = time.perf_counter()
        looped = loop_filter(part, judge)
        agree = np.array_equal(selection.keep[: len(part)], looped)
        report(f"filter {name}: {described}", seconds, (time.perf_counter() - start) * scale, agree)

    face = frames["face_ok"].to_numpy()
    video, seen = frames["video"].to_numpy()[face], posterior[face]
    mean = voting.training_mean(video, seen)
    for method in voting.METHODS:
        votes, seconds = best_of(lambda m=method: voting.vote(video, seen, method=m, training_mean=mean))
        start = time.perf_counter()
        looped = loop_vote(part[part["face_ok"]], method, mean)
        agree = looped == votes["predicted"].tolist()[:n_loop]
        report(f"vote {method}", seconds, (time.perf_counter() - start) * scale, agree)

    label, subject = frames["label"].to_numpy(), frames["subject"].to_numpy()
    predicted = posterior.argmax(axis=1)
    _, seconds = best_of(lambda: evaluation.subject_bootstrap(label, predicted, subject, metric="macro_f1"))
    print(f"{'bootstrap of macro F1, 2,000 resamples':48s}{seconds:9.3f} s")
    other = np.roll(predicted, 1)
    _, seconds = best_of(lambda: evaluation.paired_test(label, predicted, other, subject))
    print(f"{'paired test, 10,000 sign flips':48s}{seconds:9.3f} s")


if __name__ == "__main__":
    main()
