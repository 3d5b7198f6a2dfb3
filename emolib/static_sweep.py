"""Many static models on the same folds: models times scalings, whole settings dealt to processes, one table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib import performance_results, performances, static_fitting, static_models
from emolib.cross_fitting import Parts
from emolib.folds import Fold

_SLOW_FIRST = ("mlp", "random_forest", "extra_trees")  # so that no process is left alone with one of them at the end


def sweep(
    values: np.ndarray,
    table: pd.DataFrame,
    *,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    classes: Sequence[str],
    models: Sequence[str] = static_models.SYSTEM_C,
    scalings: Sequence[str] = static_models.SCALINGS,
    learn_from: str = "train_and_validation",
    seed: int = 2020,
    workers: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Cross-fit every model with every scaling, each with its default options.

    Parameters
    ----------
    values : float [N, F], a row a performance, finite.
    table : performances: performance, subject, label.
    folds, classes : as for `cross_fitting.cross_fit`.
    seeds : models that draw nothing (`static_models.RANDOM` are those that do) are fitted with the first alone.
    models, scalings : names; each once.
    learn_from : as for `static_fitting.fit`.
    seed : of the bootstrap.
    workers : processes; None: one a core. Each setting is fitted in one process, with one thread.

    Returns
    -------
    DataFrame: model, scaling, posterior ("own" or "margins"), then accuracy, low, high, mean_of_folds, sd_of_folds,
    uar (test, 0..1; see `performance_results.summary`), n_seeds, seconds (of the setting's process); the best mean of
    folds on top.

    Raises
    ------
    ValueError
        There is no setting, a name is there twice, or see `static_fitting.fit`.
    """
    settings = [(model, scaling) for model in models for scaling in scalings]
    if not settings or len(set(settings)) < len(settings):
        raise ValueError(f"models {list(models)}, scalings {list(scalings)}: one or more different ones are allowed")
    values = static_fitting.checked(values)
    data = {"values": values, "label": table["label"].to_numpy(), "subject": table["subject"].to_numpy()}
    asked = {"folds": folds, "classes": classes, "data": data | {"n_classes": len(classes)}, "seed": seed}
    jobs = [
        joblib.delayed(_one)(
            table[["performance", "subject", "label"]],
            model=model,
            scaling=scaling,
            seeds=seeds if model in static_models.RANDOM else seeds[:1],
            learn_from=learn_from,
            **asked,
        )
        for model, scaling in sorted(settings, key=lambda one: one[0] not in _SLOW_FIRST)
    ]
    n_workers = joblib.cpu_count() if workers is None else workers
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1) if n_workers > 1 else joblib.parallel_config():
        found = joblib.Parallel(n_jobs=n_workers, return_as="generator_unordered", batch_size=1)(jobs)
        rows = list(tqdm(found, total=len(jobs), desc="settings", disable=not progress))
    order = ["mean_of_folds", "model", "scaling"]
    return pd.DataFrame(rows).sort_values(order, ascending=[False, True, True], ignore_index=True)


def _one(
    table: pd.DataFrame,
    *,
    model: str,
    scaling: str,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    classes: Sequence[str],
    data: dict[str, Any],
    learn_from: str,
    seed: int,
) -> dict[str, Any]:
    """A setting's row: what `cross_fit` gives of the test rows; training and validation rows are not answered here."""
    began, said = time.perf_counter(), []
    for own in seeds:
        for fold in folds:
            every = np.union1d(np.union1d(fold.train, fold.validation), fold.test)
            known = static_fitting.learning_rows(Parts(fold.train, fold.validation, every, own), learn_from)
            answer = static_fitting.learn(**data, rows=known, model=model, scaling=scaling, seed=own)
            of = {"classes": classes, "fold": fold.fold, "subset": "test", "seed": own}
            ids = table["performance"].to_numpy()[fold.test]
            said.append(performances.posterior_table(ids, answer(fold.test), **of))
    seconds = time.perf_counter() - began
    found = performance_results.summary(pd.concat(said, ignore_index=True), table, classes=classes, seed=seed)
    known = found.set_index("metric")
    accuracy = known.loc["accuracy"]
    row = {"model": model, "scaling": scaling, "posterior": "margins" if model in static_models.MARGINS else "own"}
    row |= {"accuracy": accuracy["value"], "low": accuracy["low"], "high": accuracy["high"]}
    row |= {name: accuracy[name] for name in ("mean_of_folds", "sd_of_folds")} | {"uar": known.loc["uar", "value"]}
    return row | {"n_seeds": int(accuracy["n_seeds"]), "seconds": seconds}
