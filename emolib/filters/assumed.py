"""A label for a video that does not use its true one, so that test frames can be filtered too."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib import normals as multivariate
from emolib import voting
from emolib.filters.judging import judged_rows

NO_LABEL = -1


def assumed_labels(
    frames: pd.DataFrame, values: np.ndarray, *, reads: str, normals: multivariate.Normals | None = None
) -> np.ndarray:
    """The label that each frame's video seems to have.

    Parameters
    ----------
    frames : DataFrame
        Rows of the manifest; only `video` and `face_ok` are used.
    values : float array aligned with `frames`
        "posterior": [N, C]; "action_units": [N, 17], as for `select`.
    reads : "posterior" or "action_units"
        Posterior: the class with the largest summed posterior in the video. Action units: the emotion with the smallest
        mean Mahalanobis distance (system A's test variant of `mvn`).
    normals : Normals
        Needed for action units: fitted on training frames.

    Returns
    -------
    int64 [N]
        One label a video, over the columns of the posterior or the classes of `normals`; -1 where a video has no frame
        to judge, which `select` never keeps. Of classes that share a column (neutral and calm) it is the first, and
        never one whose column is NaN.

    Raises
    ------
    ValueError
        Unknown `reads`, shapes that do not fit, `normals` missing or not wanted, or values that are not finite.
    """
    if reads not in ("posterior", "action_units"):
        raise ValueError(f"labels are assumed from reads='posterior' or 'action_units', got {reads!r}")
    if (normals is None) == (reads == "action_units"):
        raise ValueError(f"normals are needed with reads='action_units' and with it only, got reads={reads!r}")
    values = np.asarray(values)
    if reads == "posterior" and values.ndim != 2:
        raise ValueError(f"labels are assumed from posteriors [N, C], got shape {values.shape}")
    rows = judged_rows("assumed_labels", reads, frames, values)
    label = np.full(len(frames), NO_LABEL, dtype=np.int64)
    if not len(rows):
        return label
    # a video's frames are the same for every class: the smallest mean distance is the largest sum of its negative
    score = values[rows] if reads == "posterior" else -multivariate.distances(values[rows], normals)
    answered = np.flatnonzero(~np.isnan(score).all(axis=0))
    votes = voting.vote(frames["video"].to_numpy()[rows], score[:, answered], method="auc")["predicted"]
    of_video = votes.reindex(frames["video"])
    seen = of_video.notna().to_numpy()
    label[seen] = answered[of_video.to_numpy()[seen].astype(np.int64)]
    return label
