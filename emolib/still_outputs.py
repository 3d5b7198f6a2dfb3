"""What a run on stills leaves behind, whichever stage trained it (notebooks 02 and 13), and the numbers it reports.

| file | |
|---|---|
| ``stills`` | sample, label (in the run's label space), group: every still that was tested or validated |
| ``predictions`` | posterior table, subset "test": each still once, by the fold's model that did not learn from it |
| ``validation`` | posterior table, subset "validation": what stopped each fold's model, and may fit its temperature |
| ``results`` | accuracy, UAR and macro F1 of the test, with intervals over groups |

A *group* is what is resampled together: the manifest's `duplicate_group` where it has one (pixel-identical stills,
stills of one person), else its `subject`. Runs of this form are read by `still_variants`, several seeds as one variant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from emolib import evaluation, folds, intervals, models, posteriors, training
from emolib.frames import FrameStore
from emolib.roots import data_root
from emolib.runs import Run, Upstream

METRICS = ("accuracy", "uar", "macro_f1")
Judged = tuple[np.ndarray, np.ndarray, np.ndarray | int]  # rows [n], posterior [n, C], fold [n] or one for all


def save(
    run: Run,
    *,
    test: Judged,
    validation: Judged,
    manifest: pd.DataFrame,
    label: np.ndarray,
    classes: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Write ``stills, predictions, validation, results``; returns the results.

    Parameters
    ----------
    run : the run being made.
    test, validation : (rows int [n] of the manifest, posterior float [n, C], fold int [n] or one int)
        A still is tested once; it may validate several folds. Under protocol `reference` both are the same stills.
    manifest : DataFrame
        `sample`, and `duplicate_group` or `subject`; all rows of the store.
    label : int [len(manifest)], in the order of `classes`; -1 where the still has none (of no row that is judged).
    classes : C class names.
    seed : of the bootstrap.

    Returns
    -------
    DataFrame: metric (of `METRICS`), value, low, high (95 %, bootstrap over groups), mean_of_folds, sd_of_folds (NaN
    from one fold), n (stills), n_groups.

    Raises
    ------
    ValueError
        A still is tested twice, has no label among the classes, or rows are no posteriors (see `posteriors.check`).
    """
    label = np.asarray(label)
    for name, rows in (("test", np.asarray(test[0])), ("validation", np.asarray(validation[0]))):
        if outside := np.setdiff1d(label[rows], np.arange(len(classes))).tolist():
            raise ValueError(f"{name}: label(s) {outside} among its stills, 0 to {len(classes) - 1} are allowed")
    if len(twice := pd.Index(test[0])[pd.Index(test[0]).duplicated()]):
        raise ValueError(f"test: row {twice[0]} of the manifest is tested {1 + (twice == twice[0]).sum()} times")
    tables = {
        subset: _table(judged, manifest, classes=classes, subset=subset)
        for subset, judged in (("test", test), ("validation", validation))
    }
    rows = np.union1d(test[0], validation[0])
    stills = pd.DataFrame({"sample": manifest["sample"].to_numpy()[rows], "label": label[rows]})
    stills["group"] = folds.group_of(manifest).astype(str)[rows]
    run.save_table("stills", stills)
    posteriors.write(tables["test"], run.folder / "predictions.parquet")
    posteriors.write(tables["validation"], run.folder / "validation.parquet")
    found = results(tables["test"], stills, seed=seed)
    run.save_table("results", found)
    return found


def _table(judged: Judged, manifest: pd.DataFrame, *, classes: Sequence[str], subset: str) -> pd.DataFrame:
    rows, posterior, fold = np.asarray(judged[0]), np.asarray(judged[1]), np.broadcast_to(judged[2], len(judged[0]))
    sample, named, tables = manifest["sample"].to_numpy()[rows], {"classes": classes, "subset": subset}, []
    for k in np.unique(fold):
        tables.append(posteriors.table(sample[fold == k], posterior[fold == k], fold=int(k), **named))
    return pd.concat(tables, ignore_index=True)


def results(predictions: pd.DataFrame, stills: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """`METRICS` of a table of predictions, as `save` returns them; `stills` as it writes them."""
    known = stills.set_index("sample").loc[predictions["sample"]]
    true, unit = known["label"].to_numpy(), known["group"].to_numpy()
    predicted = predictions.filter(regex="^p_").to_numpy().argmax(axis=1)
    rows = []
    for metric in METRICS:
        found = intervals.subject_bootstrap(true, predicted, unit, metric=metric, seed=seed)
        by_fold = evaluation.mean_over_folds(
            evaluation.by_fold(true, predicted, predictions["fold"].to_numpy(), metric=metric)
        )
        row = {"metric": metric, "value": found.value, "low": found.low, "high": found.high}
        row |= {"mean_of_folds": by_fold.mean, "sd_of_folds": by_fold.sd}
        rows.append(row | {"n": len(true), "n_groups": found.n_subjects})
    return pd.DataFrame(rows)


def metrics(
    results: pd.DataFrame,
    *,
    label_space: str,
    n_parameters: int,
    trained: Sequence[training.Trained] = (),
    best_epochs: Sequence[int] = (),
    train_seconds: Sequence[float] = (),
    **extra: Any,
) -> dict[str, Any]:
    """The numbers that every run on stills reports, for ``run.finish(metrics=...)``.

    Parameters
    ----------
    results : of `save`.
    label_space : of the labels and posteriors.
    n_parameters : numbers that one model learns (`n_parameters`).
    trained : the models, a fold each: their best epochs and seconds are read; or give these two themselves.
    extra : further numbers of the run.
    """
    known = results.set_index("metric")
    of_test = {f"test_{name}": known.loc[name, ["value", "low", "high"]].to_dict() for name in METRICS}
    return {
        "label_space": label_space,
        "n_parameters": int(n_parameters),
        "best_epochs": [int(one.best_epoch) for one in trained] or [int(epoch) for epoch in best_epochs],
        "train_seconds": [float(one.history["seconds"].sum()) for one in trained] or [float(s) for s in train_seconds],
        **of_test,
        **extra,
    }


def n_parameters(model: str, n_classes: int, options: Mapping | None = None) -> int:
    """How many numbers a network of `emolib.models` learns."""
    with torch.device("meta"):  # no weights, so no draw from the global generator
        network = models.build(model, n_classes, **(options or {}))
    return sum(one.numel() for one in network.parameters() if one.requires_grad)


def check_unseen(
    run: Upstream, manifest: pd.DataFrame, *, test: np.ndarray, validation: np.ndarray, store: str
) -> None:
    """Refuse weights that learned from stills that judge here or copies of them, or were chosen by those tested here.

    Parameters
    ----------
    run : of notebook 13 or 02; its weights are a teacher's or the start.
    manifest : DataFrame with sample.
    test, validation : int [n], rows of the manifest that are tested, and that choose the epoch and fit a temperature.
    store : of the manifest, as its preprocessing run calls it.

    Raises
    ------
    ValueError
        The run is of another store, its weights are not those of one split that kept copies together, a still of `test`
        is not among those that they were tested on (table ``predictions``), or one of `validation` neither there nor in
        table ``validation``.
    """
    name, tested = f"{run.info['stage']}/{run.info['variant']}", run.table("predictions")
    if (other := run.metrics.get("store", store)) != store:
        raise ValueError(f"run '{name}' learned from {other}, whose samples have other numbers; {store} is allowed")
    needed = {"protocol": "nested", "keep_duplicates_together": True, "complete": False}
    found, n_folds = {key: run.params.get(key, value) for key, value in needed.items()}, tested["fold"].nunique()
    if found != needed or n_folds != 1:
        raise ValueError(
            f"run '{name}' may have learned from stills that are tested here: {found}, tests in {n_folds} fold(s); "
            f"{needed} and one are allowed"
        )
    sample, judged = manifest["sample"].to_numpy(), np.union1d(tested["sample"], run.table("validation")["sample"])
    for rows, apart, what in ((test, tested["sample"], "tested"), (validation, judged, "validated")):
        if len(seen := np.setdiff1d(sample[rows], apart)):
            raise ValueError(
                f"run '{name}' may have learned from {len(seen)} of the {len(rows)} stills {what} here (sample "
                f"{seen[0]}, for one), or been chosen by them; a run that {what} all of them is allowed"
            )


def check_elsewhere(run: Upstream, store: FrameStore) -> None:
    """Refuse to start from a run that learned from stills of `store`: of its corpus, and pixel for pixel the same.

    Another corpus's stills are taken for others. Of the same corpus, a store made in another way may hold them again.

    Raises
    ------
    ValueError
        A still is in both, the run does not name its store, or that store, of the same corpus, is gone.
    """
    name, place = f"{run.info['stage']}/{run.info['variant']}", run.metrics.get("store")
    if place is None:
        raise ValueError(f"start_from: run '{name}' does not say which stills it learned from")
    if Path(place).name.rpartition("-")[0] != store.corpus:
        return
    if not (path := data_root() / place).is_dir():
        raise ValueError(f"start_from: run '{name}' learned from {place}, of the same corpus, which is gone")
    theirs = FrameStore.open(path)
    stills = (of.array("image")[of.manifest["face_ok"].to_numpy()] for of in (theirs, store))
    here, there = (set(folds.pixel_digests(images)) for images in stills)
    if n := len(here & there):
        raise ValueError(f"start_from: run '{name}' learned from {place}, of whose stills {n:,} may be tested here")
