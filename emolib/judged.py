"""What a filter judges frames by: posteriors or action units of an upstream run, aligned with the manifest, by fold."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib import action_units, filters, labels, normals, posteriors
from emolib.folds import Fold
from emolib.normals import Normals


@dataclass(frozen=True)
class Judged:
    """What a filter judges frames by, fold by fold.

    Attributes
    ----------
    reads : "nothing", "posterior" or "action_units", as `filters.Filter.reads`.
    train, test : one array a fold, float32 [rows of the part, C or 17]; None where the filter reads nothing.
    normals : one a fold for distances of action units, else None.
    out_of_sample : whether the judge did not learn from the frames that it judges; None: there is no judge.
    """

    reads: str
    train: list[np.ndarray] | None = None
    test: list[np.ndarray] | None = None
    normals: list[Normals] | None = None
    out_of_sample: bool | None = None


def reads(name: str) -> str:
    """What filter `name` judges by: "nothing", "posterior" or "action_units"; ValueError names the filters."""
    if name not in filters.FILTERS:
        raise ValueError(f"unknown filter {name!r}; known: {sorted(filters.FILTERS)}")
    return filters.FILTERS[name].reads


def options_of(name: str) -> frozenset[str]:
    """Names of the options of filter `name`, with those that YAML cannot say (``n_per_video``, ``normals``)."""
    reads(name)
    return frozenset(inspect.signature(filters.FILTERS[name].function).parameters)


def frame_posterior(judged: pd.DataFrame, frames: pd.DataFrame, *, source: str, target: str) -> np.ndarray:
    """Posteriors of the judged frames, aligned with the manifest and in the corpus's label space.

    Parameters
    ----------
    judged : posterior table (``sample``, ``p_<class>`` ...) in label space `source`; only frames with a face are in it.
    frames : manifest of the corpus, labelled in label space `target`.

    Returns
    -------
    float32 [len(frames), classes of target]; a class of `target` has the column of the class that it maps to (calm has
    that of neutral), so rows need not sum to 1. Rows of frames without a face are NaN.

    Raises
    ------
    ValueError
        A frame with a face has no posterior.
    """
    columns = posteriors.posterior_columns(labels.names(source))
    aligned = _aligned(judged, frames, columns, what="posterior")
    return labels.spread_posterior(aligned, source=source, target=target)


def frame_units(measured: pd.DataFrame, frames: pd.DataFrame) -> np.ndarray:
    """Action units aligned with the manifest: float32 [len(frames), 17], NaN where no face or not measured.

    Parameters
    ----------
    measured : DataFrame ``sample, AU01 ... AU45``; a frame with a face that could not be measured is there as NaN.

    Raises
    ------
    ValueError
        A frame with a face is not in the table.
    """
    return _aligned(measured, frames, list(action_units.UNITS), what="row of action units", missing_values=True)


def _aligned(
    table: pd.DataFrame, frames: pd.DataFrame, columns: list[str], *, what: str, missing_values: bool = False
) -> np.ndarray:
    indexed = table.set_index("sample")
    aligned = indexed[columns].reindex(frames["sample"]).to_numpy(dtype=np.float32)
    absent = ~frames["sample"].isin(indexed.index).to_numpy() if missing_values else np.isnan(aligned).any(axis=1)
    unjudged = absent & frames["face_ok"].to_numpy()
    if unjudged.any():
        raise ValueError(
            f"{unjudged.sum()} frames with a face have no {what}, the first is sample "
            f"{frames['sample'][unjudged].iloc[0]}: run the notebook that judges again on this frame store"
        )
    return aligned


def by_fold(values: np.ndarray, parts: Sequence[Fold], *, reads: str, out_of_sample: bool | None) -> Judged:
    """One judgement of all frames (float32 [N, ...], aligned with the manifest) as every fold sees it."""
    train, test = ([values[rows] for rows in part] for part in zip(*((p.train, p.test) for p in parts), strict=True))
    return Judged(reads, train, test, out_of_sample=out_of_sample)


def fold_normals(
    units: Sequence[np.ndarray], parts: Sequence[Fold], frames: pd.DataFrame, *, classes: Sequence[str]
) -> list[Normals]:
    """A normal an emotion, fitted on each fold's own training rows: what `mvn` compares with where none are given."""
    label = frames["label"].to_numpy()
    return [normals.fit(rows, label[part.train], classes=classes) for rows, part in zip(units, parts, strict=True)]
