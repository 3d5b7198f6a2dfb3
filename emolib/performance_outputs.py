"""What a run on performances leaves behind (notebooks 08, 09 and 16), and how another run reads it.

| file | |
|---|---|
| ``performances`` | performance, subject, label (in the run's label space), and what its source knows |
| ``posteriors`` | posterior table of performances: every fold, subset and seed |
| ``results`` | `performance_results.summary` of the test |
| ``summary`` | one row for the study's index: accuracy with its interval, what it was measured on and how |
| ``summary_published`` | published results that the index shows beside it, where they are asked for |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from emolib import labels, performance_results, posteriors, published
from emolib.cross_fitting import CrossFitted
from emolib.runs import Run, Upstream


@dataclass(frozen=True)
class Answered:
    """A run's performances, posterior table and the label space of both."""

    performances: pd.DataFrame
    posteriors: pd.DataFrame
    label_space: str
    protocol: str


def save(
    run: Run,
    fitted: CrossFitted,
    performances: pd.DataFrame,
    *,
    label_space: str,
    protocol: str,
    seed: int,
    beside: str = "",
    **about: Any,
) -> pd.DataFrame:
    """Write the tables; returns ``results``.

    Parameters
    ----------
    run : the run being made.
    fitted : posteriors and, by name, the fits' own tables, which are written too.
    performances : performance, subject, label in `label_space`.
    protocol : of the folds: "nested" or "reference".
    seed : of the bootstrap.
    beside : published results, see `published.performance_table`; "" for none.
    about : further columns of ``summary``, such as the normalisation of features.

    Raises
    ------
    ValueError
        A table of the fits has a name of `save`'s own, or see `performance_results.answers`,
        `published.performance_table`.
    """
    classes = labels.names(label_space)
    theirs = published.performance_table(beside)
    own = {"performances", "posteriors", "results", "summary", "summary_published"}
    if taken := own & set(fitted.tables):
        raise ValueError(f"fitted: its tables must not be called {', '.join(sorted(taken))}")
    found = performance_results.summary(fitted.posteriors, performances, classes=classes, seed=seed)
    run.save_table("performances", performances)
    posteriors.write(fitted.posteriors, run.folder / "posteriors.parquet", layout=posteriors.PERFORMANCES)
    run.save_table("results", found)
    run.save_table("summary", _summary(found, protocol=protocol, about=about))
    if len(theirs):
        run.save_table("summary_published", theirs)
    for name, table in fitted.tables.items():
        run.save_table(name, table)
    return found


def _summary(results: pd.DataFrame, *, protocol: str, about: Mapping[str, Any]) -> pd.DataFrame:
    known = results.set_index("metric")
    accuracy = known.loc["accuracy"]
    row = {"accuracy": accuracy["value"], "accuracy_low": accuracy["low"], "accuracy_high": accuracy["high"]}
    row |= {"mean_of_folds": accuracy["mean_of_folds"], "uar": known.loc["uar", "value"]}
    counts = {"performances": "n", "subjects": "n_subjects", "seeds": "n_seeds"}
    row |= {name: int(accuracy[column]) for name, column in counts.items()}
    return pd.DataFrame([row | dict(about) | {"protocol": protocol}])


def metrics(results: pd.DataFrame, *, label_space: str, protocol: str, **extra: Any) -> dict[str, Any]:
    """The numbers that every run on performances reports, for ``run.finish(metrics=...)``; `results` of `save`."""
    known = results.set_index("metric")
    columns = ["value", "low", "high", "mean_of_folds"]
    of_test = {f"test_{name}": known.loc[name, columns].to_dict() for name in performance_results.METRICS}
    return {"label_space": label_space, "protocol": protocol, **of_test, **extra}


def load(upstream: Upstream) -> Answered:
    """What `save` wrote in a complete run.

    Raises
    ------
    KeyError
        The run is not of this form: it has no such table or metric.
    ValueError
        Its posteriors are no posterior table.
    """
    space = upstream.metrics["label_space"]
    table = posteriors.read(
        upstream.folder / "posteriors.parquet", classes=labels.names(space), layout=posteriors.PERFORMANCES
    )
    return Answered(upstream.table("performances"), table, space, upstream.metrics["protocol"])
