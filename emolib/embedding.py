"""What a trained network puts close together: its 50-d embedding, a picture of it, and a number beside the picture.

A t-SNE shows clusters where there are none and hides distances (Wattenberg et al. 2016, doi:10.23915/distill.00002), so
`neighbours` counts in all 50 dimensions, beside what chance gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances

from emolib import models, posteriors
from emolib.frames import FrameStore

METHODS = ("pca", "tsne")
PERPLEXITY = 30.0  # of t-SNE: about how many neighbours a frame has
# (what the group is, what of a frame's own is left out of its neighbours); frames of one video are nearly copies
COMPARISONS = (("label", "video"), ("label", "subject"), ("subject", "video"))


class TrainedRun(Protocol):
    """What `of_variant` reads of a run (`runs.Upstream` is one)."""

    folder: Path
    params: dict[str, Any]

    def table(self, name: str) -> pd.DataFrame:
        """Table `name` of the run."""
        ...


def of_variant(
    run: TrainedRun, store: FrameStore, frames: pd.DataFrame, *, fold: int, n_frames: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Embedding of test frames of a fold, by the model of the fold: it has not seen their subjects.

    One fold, since the dimensions of two models have nothing to do with each other.

    Parameters
    ----------
    run : a run of frame filtering: table ``predictions`` (which frames the fold tests), ``fold<k>.safetensors``, and
        parameter `guide`.
    store : the frame store that it was trained on.
    frames : the store's manifest.
    n_frames : that many are drawn; all where the fold has fewer.

    Returns
    -------
    features : float32 [n, 50]
    rows : int64 [n], rising, into `frames`.

    Raises
    ------
    ValueError
        The run tests nothing in this fold, a frame of it is not in `frames`, or `n_frames` is below 1.
    FileNotFoundError
        The run has no weights of this fold.
    """
    if n_frames < 1:
        raise ValueError(f"n_frames: {n_frames} received, 1 or more is allowed")
    predictions = run.table("predictions")
    tested = predictions.loc[(predictions["fold"] == fold) & (predictions["subset"] == "test"), "sample"].to_numpy()
    if not len(tested):
        raise ValueError(f"{run.folder}: no test frame in fold {fold}; folds are {sorted(set(predictions['fold']))}")
    row_of = pd.Series(np.arange(len(frames)), index=frames["sample"].to_numpy()).reindex(tested)
    if row_of.isna().any():
        raise ValueError(
            f"{run.folder}: {row_of.isna().sum()} test frames of fold {fold} are not among the frames given"
        )
    rows = row_of.to_numpy(dtype=np.int64)
    drawn = np.random.default_rng(seed).choice(len(rows), size=min(n_frames, len(rows)), replace=False)
    rows = np.sort(rows[drawn])
    weights = models.load_weights(run.folder / f"fold{fold}.safetensors")
    features = posteriors.embed(
        store.array("image"),
        store.array(f"guide/{run.params['guide']}"),
        rows,
        model=weights.model,
        n_classes=weights.n_classes,
        state=weights.state,
        model_options=weights.options,
    )
    return features, rows


def project(features: np.ndarray, *, method: str = "pca", seed: int) -> np.ndarray:
    """Two dimensions of `features`: the two largest principal components, or a t-SNE that starts from them.

    Parameters
    ----------
    features : float [n, d], n >= 4, d >= 2
    method : "pca" or "tsne"
    seed : int

    Returns
    -------
    float32 [n, 2], centred; the same for the same input. t-SNE's distances have no unit.

    Raises
    ------
    ValueError
        Unknown method or too few or non-finite features.
    """
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or len(features) < 4 or features.shape[1] < 2 or not np.isfinite(features).all():
        raise ValueError(f"features: {features.shape} received, finite [n >= 4, d >= 2] is allowed")
    if method not in METHODS:
        raise ValueError(f"method: {method!r} received, one of {', '.join(METHODS)} is allowed")
    if method == "pca":
        points = PCA(2, svd_solver="full").fit_transform(features)
    else:
        perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(features)
    return (points - points.mean(axis=0)).astype(np.float32)


def neighbours(features: np.ndarray, group: np.ndarray, *, apart: np.ndarray, k: int = 10) -> dict[str, float]:
    """How often the nearest neighbours of a frame are of its own group, and how often any others would be.

    Parameters
    ----------
    features : float [n, d]
    group : [n], what is to agree: emotion or subject
    apart : [n]; frames with the same value are no neighbours of each other. Frames of a video are nearly copies, so
        without this (`apart` = the video) every embedding seems to know both emotion and subject.
    k : neighbours of each frame (Euclidean); fewer where fewer are left

    Returns
    -------
    dict: `agreement` and `chance`, 0..1, means over the frames that have any neighbour (`n_frames` of them); all
    frames weigh the same. `chance` is the share of the own group among *all* frames that could be neighbours. NaN where
    no frame can have a neighbour, such as with a single subject set apart.

    Raises
    ------
    ValueError
        Lengths differ or `k` is below 1.
    """
    features, group, apart = np.asarray(features), np.asarray(group), np.asarray(apart)
    if features.ndim != 2 or group.shape != (len(features),) or apart.shape != group.shape or k < 1:
        raise ValueError(
            f"features {features.shape}, group {group.shape}, apart {apart.shape}, k = {k} received; "
            "[n, d], [n], [n] and 1 or more are allowed"
        )
    distance = pairwise_distances(features)
    distance[apart[:, None] == apart] = np.inf
    allowed, same = np.isfinite(distance), group[:, None] == group
    n_allowed = allowed.sum(axis=1)
    near = np.argsort(distance, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(allowed, near, axis=1)
    some = n_allowed > 0
    if not some.any():
        return {"agreement": float("nan"), "chance": float("nan"), "n_frames": 0}
    own = (np.take_along_axis(same, near, axis=1) & found).sum(axis=1)[some] / found.sum(axis=1)[some]
    chance = (same & allowed).sum(axis=1)[some] / n_allowed[some]
    return {"agreement": float(own.mean()), "chance": float(chance.mean()), "n_frames": int(some.sum())}


def separation(features: np.ndarray, frames: pd.DataFrame, *, k: int = 10) -> pd.DataFrame:
    """`neighbours` by emotion and by subject: is it the emotion that the embedding tells apart, or the person?

    Parameters
    ----------
    features : float [n, d]
    frames : DataFrame of n rows with `label`, `subject`, `video`, those of the features

    Returns
    -------
    DataFrame, a row a comparison: `group` ("label" or "subject"), `apart` (neighbours of the same video, or of the same
    subject, are left out), `agreement`, `chance`, `n_frames`. The emotion among neighbours of *other subjects* is what
    recognising an unknown person's emotion needs.
    """
    rows = [
        {"group": group, "apart": apart} | neighbours(features, frames[group], apart=frames[apart], k=k)
        for group, apart in COMPARISONS
    ]
    return pd.DataFrame(rows)
