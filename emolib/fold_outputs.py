"""What a run of a training stage leaves behind: the files of notebooks 04 and 05, the same for both.

| file | |
|---|---|
| ``frame_list`` | sample, fold, keep, score: the training rows of each fold |
| ``account`` | fold and the filter's account of it |
| ``predictions``, ``validation`` | posterior tables, by the fold's model: all test frames, and the validation frames |
| ``votes``, ``validation_votes`` | a row a video (and fold): its label and the four votes |
| ``training_means`` | what the vote `auc_zscore` subtracts, by fold |
| ``results``, ``results_filtered_test`` | metrics with intervals, on all test frames or those that the filter keeps |
| ``stages`` | of a chain alone: its history |
| ``fold<k>.safetensors`` | the models |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib import experiment, fold_results, iterative, models, posteriors, training
from emolib.filters import FrameSelection
from emolib.folds import Fold
from emolib.judged import Judged
from emolib.runs import Run, Upstream


def save_selections(
    run: Run, parts: Sequence[Fold], frames: pd.DataFrame, selections: Sequence[FrameSelection]
) -> pd.DataFrame:
    """Write ``frame_list`` and ``account``; returns the account pooled over folds."""
    run.save_table("frame_list", experiment.frame_list(parts, frames, selections))
    table = experiment.account(parts, selections)
    run.save_table("account", table)
    return experiment.pooled(table)


def save_results(
    run: Run,
    parts: Sequence[Fold],
    predictions: fold_results.Predictions,
    frames: pd.DataFrame,
    *,
    classes: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Write ``predictions, validation, training_means, votes, validation_votes, results``; returns the results."""
    posteriors.write(predictions.test, run.folder / "predictions.parquet")
    posteriors.write(predictions.validation, run.folder / "validation.parquet")
    run.save_table("training_means", predictions.training_means)
    for subset, name in (("test", "votes"), ("validation", "validation_votes")):
        table = getattr(predictions, subset)
        means = predictions.training_means
        votes = fold_results.video_votes(parts, table, means, frames, subset=subset, classes=classes)
        run.save_table(name, votes)
    results = fold_results.evaluate(predictions.test, run.table("votes"), frames, classes=classes, seed=seed)
    run.save_table("results", results)
    return results


def save_filtered_test(
    run: Run,
    parts: Sequence[Fold],
    predictions: fold_results.Predictions,
    frames: pd.DataFrame,
    kept: np.ndarray,
    *,
    classes: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Write ``results_filtered_test``: the same metrics on the test frames `kept` alone (samples); returns it."""
    seen = predictions.test[predictions.test["sample"].isin(kept)]
    votes = fold_results.video_votes(parts, seen, predictions.training_means, frames, subset="test", classes=classes)
    results = fold_results.evaluate(seen, votes, frames, classes=classes, seed=seed)
    run.save_table("results_filtered_test", results)
    return results


def save_weights(
    run: Run, trained: Sequence[training.Trained], *, model: str, classes: Sequence[str], options: Mapping[str, Any]
) -> None:
    """Write each fold's model as ``fold<k>.safetensors``."""
    for one in trained:
        models.save_weights(
            run.folder / f"{one.name}.safetensors", one.state, model=model, classes=classes, options=options
        )


def save_stages(run: Run, previous: Upstream, kept: list[np.ndarray], kept_before: list[np.ndarray]) -> pd.DataFrame:
    """Write ``stages``: the chain's history, a row a stage (see `iterative.stage_row`), this run the last; returns it.

    Call it when selection and results are saved.
    """
    names = ("account", "results", "validation_votes")
    info = previous.info
    if "previous" in previous.params:
        history = previous.table("stages")
    else:
        history = iterative.stage_row(
            f"{info['stage']}/{info['variant']}",
            stage=0,
            params=previous.params,
            kept=kept_before,
            kept_before=None,
            **{name: previous.table(name) for name in names},
        )
    own = iterative.stage_row(
        f"{run.stage}/{run.variant}",
        stage=int(history["stage"].max()) + 1,
        params=run.params,
        kept=kept,
        kept_before=kept_before,
        **{name: run.table(name) for name in names},
    )
    stages = pd.concat([history, own], ignore_index=True)
    run.save_table("stages", stages)
    return stages


def metrics(
    trained: Sequence[training.Trained],
    selections: Sequence[FrameSelection],
    judged: Judged,
    *,
    quality: pd.DataFrame,
    results: pd.DataFrame,
) -> dict[str, Any]:
    """The numbers that every training run reports."""
    return {
        "filter_quality": quality.to_dict("records"),
        "kept_frames": int(sum(one.keep.sum() for one in selections)),
        "out_of_sample": judged.out_of_sample,
        "results": results.to_dict("records"),
        "best_epochs": [one.best_epoch for one in trained],
        "train_seconds": [float(one.history["seconds"].sum()) for one in trained],
    }
