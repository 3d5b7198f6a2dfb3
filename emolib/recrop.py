"""Faces of a frame store cut again from their videos, aligned or loose: the store's landmarks stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from emolib import landmarks
from emolib.models import IMAGE_SIZE_PX
from emolib.predict.faces import loose
from emolib.video import open_video

TRANSFORMS = {"aligned": landmarks.align, "loose": loose}


def cut_again(
    frames: pd.DataFrame, points: np.ndarray, root: str | Path, *, crop: str, workers: int = -1
) -> np.ndarray:
    """Crops of `frames`, each video decoded once.

    Parameters
    ----------
    frames : rows with a face: `source` (relative to `root`), `frame` (rising within a source).
    points : float [N, 68, 2], landmarks in pixels of the video's frames.
    root : folder of the corpus.
    crop : a key of `TRANSFORMS`.
    workers : processes; -1 is one a core.

    Returns
    -------
    uint8 [N, 48, 48], in the order of `frames`.

    Raises
    ------
    ValueError
        `crop` is unknown, or a video has fewer frames than the store says.
    video.MediaError
        A video cannot be read any more.
    """
    if crop not in TRANSFORMS:
        raise ValueError(f"crop: {crop!r} received, allowed are {', '.join(TRANSFORMS)}")
    places = frames.reset_index(drop=True).groupby("source", sort=False).indices
    number = frames["frame"].to_numpy()
    jobs = [joblib.delayed(_cut)(Path(root, s), number[rows], points[rows], crop) for s, rows in places.items()]
    cut = joblib.Parallel(workers)(jobs)
    result = np.empty((len(frames), IMAGE_SIZE_PX, IMAGE_SIZE_PX), dtype=np.uint8)
    for rows, crops in zip(places.values(), cut, strict=True):
        result[rows] = crops
    return result


def _cut(path: Path, wanted: Sequence[int], points: np.ndarray, crop: str) -> np.ndarray:
    point_of = dict(zip(np.asarray(wanted).tolist(), points, strict=True))
    found = {}
    for frame in open_video(path).frames():
        if frame.index in point_of:
            transform = TRANSFORMS[crop](point_of[frame.index])
            found[frame.index] = landmarks.crop(frame.grey, transform, size_px=IMAGE_SIZE_PX)
        if len(found) == len(point_of):
            break
    if missing := sorted(set(point_of) - set(found)):
        raise ValueError(f"{path}: frame {missing[0]} could not be decoded, though the store has it")
    return np.stack([found[number] for number in np.asarray(wanted).tolist()])
