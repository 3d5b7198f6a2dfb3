"""Filters that look at no values: a random choice, the control that a filter must beat, and a lower frame rate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from emolib.filters.judging import Judgement, check_range, check_whole, rank_in_group


def random(
    frames: pd.DataFrame,
    values: None,
    *,
    n_per_video: Mapping[str, int] | None = None,
    share: float | None = None,
    seed: int = 0,
) -> Judgement:
    """Keep frames of each video drawn at random, uniformly and without replacement: as many as another filter kept.

    The score is the draw itself (uniform in 0..1); a larger number or share with the same seed keeps the same frames
    and further ones. The draw follows the order of rows, so it does not depend on what the videos are called.

    Parameters
    ----------
    n_per_video : video -> number of frames, or None
        The control of equal size: every video of the list must be named (0 empties it).
    share : float in 0..1, or None
        Of each video's frames, rounded, at least one. Exactly one of `n_per_video` and `share` is given.
    seed : int
        Of the draw.
    """
    check_whole("seed", seed, 0)
    if (n_per_video is None) == (share is None):
        raise ValueError("filter 'random' takes n_per_video or share: exactly one of them")
    video = frames["video"].to_numpy()
    count = np.bincount(video)
    if share is not None:
        check_range("share", share, 0.0, 1.0)
        wanted = np.maximum(np.floor(share * count + 0.5), 1)
    else:
        wanted = _wanted(frames, count, n_per_video)
    score = np.random.default_rng(seed).random(len(frames))
    return Judgement(rank_in_group(video, -score) < wanted[video], score, np.nan)


def fps(frames: pd.DataFrame, values: None, *, every: int, phase: int = 0) -> Judgement:
    """Keep every k-th frame of a video: of 30 fps k = 2 leaves 15, 3 leaves 10 (system A).

    Counted are the frames of the list that have a face, by rising frame index; so after another filter it is every k-th
    of what that one kept. The score is 1 for kept frames and 0 for others.

    Parameters
    ----------
    every : int, 1 or more
        k; 1 keeps all.
    phase : int in 0..every - 1
        Place of the first frame that is kept. A video with `phase` frames or fewer is emptied.
    """
    check_whole("every", every, 1)
    check_whole("phase", phase, 0, every - 1)
    place = rank_in_group(frames["video"].to_numpy(), frames["frame"].to_numpy())
    keep = place % every == phase
    return Judgement(keep, keep.astype(np.float32), np.nan)


def _wanted(frames: pd.DataFrame, count: np.ndarray, n_per_video: Mapping[str, int]) -> np.ndarray:
    """Frames wanted of each video, by its code; each video must be named and have that many."""
    names = frames["video_name"].to_numpy()[np.unique(frames["video"].to_numpy(), return_index=True)[1]]
    n_per_video = dict(n_per_video)
    if unnamed := [name for name in names if name not in n_per_video]:
        raise ValueError(f"n_per_video names no number for {len(unnamed)} video(s), the first is {unnamed[0]!r}")
    if unknown := [name for name in set(n_per_video) - set(names) if n_per_video[name]]:
        raise ValueError(f"n_per_video wants frames of {sorted(map(str, unknown))}, which have none in the list")
    for name, available in zip(names, count, strict=True):
        check_whole(f"n_per_video[{name!r}]", n_per_video[name], 0, int(available))
    return np.array([n_per_video[name] for name in names])
