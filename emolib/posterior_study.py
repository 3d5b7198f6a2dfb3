"""What a model that was never trained on the videos says about them. The pure middle of notebook 03."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emolib import intervals, posteriors, voting


def untrained_accuracy(frames: pd.DataFrame, true: np.ndarray, posterior: np.ndarray, *, seed: int) -> pd.DataFrame:
    """Accuracy of frames and of videos, of the posteriors as they are and z-scored over the corpus (system A, item 4).

    Parameters
    ----------
    frames : DataFrame [N] with video and subject
    true : int [N], labels in the model's label space
    posterior : float [N, C]

    Returns
    -------
    DataFrame: posterior ("as it is" or "z-scored"), judged ("frames", "videos, majority", "videos, auc"), accuracy,
    low, high (95 %, bootstrap over subjects), chance (share of the largest class), n.
    """
    of_video = frames.assign(true=true).groupby("video", sort=False)[["subject", "true"]].first()
    rows = []
    for kind, values in (("as it is", posterior), ("z-scored", posteriors.zscore(posterior))):
        judged = {"frames": (true, values.argmax(1), frames["subject"].to_numpy())}
        for method in ("majority", "auc"):
            voted = voting.vote(frames["video"].to_numpy(), values, method=method)["predicted"]
            known = of_video.loc[voted.index]
            judged[f"videos, {method}"] = (known["true"].to_numpy(), voted.to_numpy(), known["subject"].to_numpy())
        for what, (right, predicted, subject) in judged.items():
            interval = intervals.subject_bootstrap(right, predicted, subject, metric="accuracy", seed=seed)
            rows.append(
                {
                    "posterior": kind,
                    "judged": what,
                    "accuracy": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "chance": np.bincount(right).max() / len(right),
                    "n": len(right),
                }
            )
    return pd.DataFrame(rows)


def example_videos(frames: pd.DataFrame, *, n: int) -> list[str]:
    """`n` videos to look at: different classes, then different subjects; chosen by name alone, not by result."""
    videos = frames.groupby("video")[["label", "subject"]].first().sort_values(["label", "subject"])
    turn = videos.groupby("label").cumcount()
    by_turn = videos.assign(turn=turn).sort_values(["turn", "label"], kind="stable")
    evenly = np.linspace(0, min(len(by_turn), max(n, videos["label"].nunique())) - 1, n).round().astype(int)
    return by_turn.index[np.unique(evenly)].tolist()


def of_video(
    frames: pd.DataFrame, posterior: np.ndarray, true: np.ndarray, video: str, *, classes: Sequence[str]
) -> dict:
    """What `plots.posterior_over_time` draws of one video: time_s, posterior, own and, where known, true_intensity."""
    rows = np.flatnonzero(frames["video"] == video)
    one = {"time_s": frames["time_s"].to_numpy()[rows], "posterior": posterior[rows], "own": classes[true[rows[0]]]}
    if "true_intensity" in frames:
        one["true_intensity"] = frames["true_intensity"].to_numpy()[rows]
    return one


def per_video(frames: pd.DataFrame, score: np.ndarray, *, columns: list[str]) -> pd.DataFrame:
    """Mean `score` of each video's frames, with the video's own `columns`: index video; score and the columns."""
    grouped = frames.assign(score=score).groupby("video")
    return grouped[columns].first().assign(score=grouped["score"].mean())
