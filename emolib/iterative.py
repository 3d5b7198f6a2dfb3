"""Chains of training stages: the models of one run judge the frames that the next run learns from (system A).

Each fold's own model judges the fold's own *training* people, so no label of a test or validation person is ever read.

| judges | posteriors out of sample |
|---|---|
| the previous run's fold models, as published (``inner_folds = 0``) | no: they learned from frames that they judge |
| models of k inner folds by subject (``inner_folds = k``) | yes: each judges the people that it did not learn from |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from emolib import evaluation, experiment, folds, posteriors, training
from emolib.folds import Fold
from emolib.models import Weights


@dataclass(frozen=True)
class Judge:
    """A model and the training rows that it judges.

    Attributes
    ----------
    position : of the fold in the list of folds.
    rows : int64 [n], of the manifest, all of them rows of the fold's ``train``.
    weights : the model.
    """

    position: int
    rows: np.ndarray
    weights: Weights


def fold_judges(parts: Sequence[Fold], weights: Sequence[Weights]) -> list[Judge]:
    """Each fold's model judges all the training rows of its fold, those that it learned from among them."""
    return [Judge(k, part.train, one) for k, (part, one) in enumerate(zip(parts, weights, strict=True))]


def inner_members(
    parts: Sequence[Fold],
    frames: pd.DataFrame,
    *,
    kept: Sequence[np.ndarray],
    inner_folds: int,
    step: int,
    seed: int,
    initial: Mapping[str, Tensor] | None,
) -> tuple[list[training.Member], list[tuple[int, np.ndarray]]]:
    """Members that judge a fold's training people without having learned from them.

    Parameters
    ----------
    kept : what the previous run kept of each fold's training rows: an inner model learns from these of its people.
    inner_folds : 2 or more, by subject inside the fold's training subjects; validation is that of the fold.
    initial : weights that all start from; they must not have seen the people of this corpus. None: from scratch.

    Returns
    -------
    members : inner_folds a fold, to be trained in one stack.
    held_out : for each, the position of its fold and the rows that it is to judge.
    """
    members, held_out = [], []
    for k, part in enumerate(parts):
        subject = frames["subject"].to_numpy()[part.train]
        inner = folds.subject_folds(subject, n_folds=inner_folds, seed=seed + part.fold)
        for j in range(inner_folds):
            learns = [kept[k] & (inner != j)]
            own_seed = seed + 1000 * (j + 1)  # members adds the fold's number
            [member] = experiment.members([part], frames, kept=learns, step=step, seed=own_seed, initial=None)
            members.append(replace(member, name=f"{member.name}_inner{j}", initial=initial))
            held_out.append((k, part.train[inner == j]))
    return members, held_out


def train_inner_judges(
    parts: Sequence[Fold],
    frames: pd.DataFrame,
    images: np.ndarray,
    guides: np.ndarray | None,
    *,
    kept: Sequence[np.ndarray],
    inner_folds: int,
    step: int,
    seed: int,
    initial: Mapping[str, Tensor] | None,
    recipe: training.Recipe,
    checkpoint_dir: Path,
    model: str,
    classes: Sequence[str],
    model_options: Mapping,
) -> list[Judge]:
    """Train `inner_members` of all folds in one stack."""
    members, held_out = inner_members(
        parts, frames, kept=kept, inner_folds=inner_folds, step=step, seed=seed, initial=initial
    )
    network = {"model": model, "n_classes": len(classes), "model_options": model_options}
    label = frames["label"].to_numpy()
    trained = training.train_stack(
        images, guides, label, members, recipe=recipe, checkpoint_dir=checkpoint_dir, **network
    )
    return [
        Judge(k, rows, Weights(model, len(classes), list(classes), dict(model_options), one.state))
        for (k, rows), one in zip(held_out, trained, strict=True)
    ]


def judge(
    parts: Sequence[Fold], frames: pd.DataFrame, judges: Sequence[Judge], images: np.ndarray, guides: np.ndarray | None
) -> list[np.ndarray]:
    """Posteriors of each fold's training rows: float32 [len(part.train), C] a fold, NaN where there is no face.

    Raises
    ------
    ValueError
        A training frame with a face has no judge.
    """
    face = frames["face_ok"].to_numpy()
    n_classes = judges[0].weights.n_classes
    values = [np.full((len(part.train), n_classes), np.nan, dtype=np.float32) for part in parts]
    for one in judges:
        rows, network = one.rows[face[one.rows]], one.weights
        values[one.position][np.searchsorted(parts[one.position].train, rows)] = posteriors.predict(
            images,
            guides,
            rows,
            model=network.model,
            n_classes=n_classes,
            state=network.state,
            model_options=network.options,
        )
    for part, of_fold in zip(parts, values, strict=True):
        if (unjudged := np.isnan(of_fold).any(axis=1) & face[part.train]).any():
            raise ValueError(f"fold {part.fold}: {unjudged.sum()} training frames with a face have no judge")
    return values


def stage_row(
    run: str,
    *,
    stage: int,
    params: Mapping,
    kept: Sequence[np.ndarray],
    kept_before: Sequence[np.ndarray] | None,
    account: pd.DataFrame,
    results: pd.DataFrame,
    validation_votes: pd.DataFrame,
    vote: str = "auc",
) -> pd.DataFrame:
    """One stage of a chain, as a row of its history.

    Parameters
    ----------
    run : "stage/variant" of the run, `params` its parameters.
    kept, kept_before : bool arrays a fold, of this run and of the one before it (None for the first).
    account, results, validation_votes : tables of the run.

    Returns
    -------
    DataFrame: stage (0 = the run that the chain starts from), run, filter, filter_options (JSON), start_from,
    frames, kept, kept_share, jaccard (of the kept training frames with those of the stage before, over all folds; NaN
    for the first), frame_accuracy and video_accuracy (test, by `vote`, each with _low and _high),
    validation_video_accuracy (each fold's own validation people: what a stage may be chosen by).
    """
    row = {"stage": stage, "run": run, "filter": params["filter"]}
    row |= {"filter_options": json.dumps(params["filter_options"], sort_keys=True), "start_from": params["start_from"]}
    row |= {"frames": account["frames"].sum(), "kept": account["kept"].sum()}
    row["kept_share"] = row["kept"] / row["frames"]
    before = None if kept_before is None else np.concatenate(kept_before)
    row["jaccard"] = np.nan if before is None else evaluation.jaccard(np.concatenate(kept), before)
    shown = {"frame_accuracy": "frame accuracy", "video_accuracy": f"video {vote} accuracy"}
    ends = {"": "value", "_low": "low", "_high": "high"}
    of = results.set_index("metric")
    row |= {f"{name}{end}": of.loc[metric, found] for name, metric in shown.items() for end, found in ends.items()}
    predicted = validation_votes[f"predicted_{vote}"]
    row["validation_video_accuracy"] = evaluation.accuracy(validation_votes["label"], predicted)
    return pd.DataFrame([row])


def chain_curve(stages: pd.DataFrame) -> pd.DataFrame:
    """The history as `plots.filter_curve` draws it: strength (the stage), metric, value, low, high."""
    rows = []
    for what in ("frame", "video"):
        columns = {f"{what}_accuracy{end}": to for end, to in (("", "value"), ("_low", "low"), ("_high", "high"))}
        curve = stages.rename(columns=columns | {"stage": "strength"})[["strength", *columns.values()]]
        rows.append(curve.assign(metric=f"{what}s of the test"))
    return pd.concat(rows, ignore_index=True)
