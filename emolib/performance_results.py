"""What posterior tables of performances say: answers aligned over seeds, and metrics with intervals over subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib import evaluation, intervals, posteriors

METRICS = ("accuracy", "uar", "macro_f1")


@dataclass(frozen=True)
class Answers:
    """The n performances of one subset in the order of the table of performances, answered by S seeds.

    Attributes
    ----------
    performance, subject : str [n]
    true : int64 [n]
    fold : int64 [n], whose model answered
    seeds : S seeds
    posterior : float32 [S, n, C]
    """

    performance: np.ndarray
    subject: np.ndarray
    true: np.ndarray
    fold: np.ndarray
    seeds: tuple[int, ...]
    posterior: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Class of the largest posterior, int64 [S, n]."""
        return self.posterior.argmax(axis=2)


def answers(
    table: pd.DataFrame, performances: pd.DataFrame, *, classes: Sequence[str], subset: str = "test"
) -> Answers:
    """The answers of a posterior table for one subset.

    Parameters
    ----------
    table : posterior table of performances (`posteriors.PERFORMANCES`).
    performances : performance, subject, label; those without an answer are left out.
    classes : C classes of both.
    subset : one in which every performance is answered by one fold: "test" always is.

    Raises
    ------
    ValueError
        No row is of that subset, a performance is unknown, is answered by several folds, or not by every seed.
    """
    posteriors.check(table, classes=classes, where="answers", layout=posteriors.PERFORMANCES)
    table = table[table["subset"] == subset]
    if table.empty:
        raise ValueError(f"subset {subset!r}: the table has no row of it")
    at = pd.Index(performances["performance"]).get_indexer(table["performance"])
    if (at < 0).any():
        name = table["performance"].iloc[int(np.argmax(at < 0))]
        raise ValueError(f"performance {name!r} is answered, but not among the {len(performances)} performances")
    seeds = tuple(int(seed) for seed in np.sort(table["seed"].unique()))
    rows = np.unique(at)
    place, of_seed = np.searchsorted(rows, at), np.searchsorted(seeds, table["seed"])
    n_answers = np.zeros((len(seeds), len(rows)), dtype=np.int64)
    np.add.at(n_answers, (of_seed, place), 1)
    if (n_answers != 1).any():
        seed, row = np.argwhere(n_answers != 1)[0]
        name = performances["performance"].iloc[rows[row]]
        raise ValueError(f"performance {name!r}, seed {seeds[seed]}: {n_answers[seed, row]} answers, 1 is allowed")
    posterior = np.empty((len(seeds), len(rows), len(classes)), dtype=np.float32)
    posterior[of_seed, place] = table[posteriors.posterior_columns(classes)].to_numpy()
    fold = np.empty((len(seeds), len(rows)), dtype=np.int64)
    fold[of_seed, place] = table["fold"]
    if (fold != fold[0]).any():
        raise ValueError(f"subset {subset!r}: seeds were answered by different folds")
    known = performances.iloc[rows]
    named = {name: known[name].to_numpy().astype(str) for name in ("performance", "subject")}
    return Answers(**named, true=known["label"].to_numpy(np.int64), fold=fold[0], seeds=seeds, posterior=posterior)


def summary(
    table: pd.DataFrame, performances: pd.DataFrame, *, classes: Sequence[str], subset: str = "test", seed: int = 2020
) -> pd.DataFrame:
    """`METRICS` of a posterior table; parameters and errors as for `answers`, `seed` of the bootstrap.

    Returns
    -------
    DataFrame: metric, value (over all performances, mean of the seeds), low, high (95 %, bootstrap over subjects),
    mean_of_folds (the published systems' number: mean of the folds' values and of the seeds), sd_of_folds (over folds,
    of the seeds' means; NaN from one fold), sd_of_seeds (of the mean of folds; NaN from one seed), n, n_subjects,
    n_seeds.
    """
    said = answers(table, performances, classes=classes, subset=subset)
    rows = []
    for metric in METRICS:
        found = intervals.subject_bootstrap(said.true, said.predicted, said.subject, metric=metric, seed=seed)
        by_fold = np.stack([evaluation.by_fold(said.true, one, said.fold, metric=metric) for one in said.predicted])
        of_folds, of_seeds = by_fold.mean(axis=0), by_fold.mean(axis=1)
        row = {"metric": metric, "value": found.value, "low": found.low, "high": found.high}
        row |= {"mean_of_folds": of_folds.mean(), "sd_of_folds": _sd(of_folds), "sd_of_seeds": _sd(of_seeds)}
        rows.append(row | {"n": len(said.true), "n_subjects": found.n_subjects, "n_seeds": len(said.seeds)})
    return pd.DataFrame(rows)


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
