"""What a fusion gains: each table alone, how far tables agree, and what is left when one is missing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from emolib import performance_results
from emolib.fusion.fusing import fuse, learned_as, rows_to_learn
from emolib.fusion.joining import Joined
from emolib.intervals import PairedTest, paired_test
from emolib.performance_results import Answers, answers

# what `by_method` shows, the published way last
METHOD_ROWS = (
    ("mean", ""),
    ("weighted", "validation"),
    ("weighted", "other_folds"),
    ("stacking", "out_of_fold"),
    ("logistic_regression", "validation"),
    ("logistic_regression", "other_folds"),
    ("logistic_regression", "train"),
)


def alone(
    tables: Mapping[str, pd.DataFrame], performances: pd.DataFrame, joined: Joined, *, seed: int = 2020
) -> pd.DataFrame:
    """Test accuracy of each table by itself on the performances that all tables have.

    Returns
    -------
    DataFrame: table, n_of_table (performances that it has in the test), and of `performance_results.summary`:
    accuracy, low, high, mean_of_folds, uar, n, n_seeds.
    """
    tested = joined.key["subset"].eq("test").to_numpy() & joined.present.all(axis=1)
    shared = set(joined.key.loc[tested, "performance"])
    rows = []
    for name, table in tables.items():
        test = table[table["subset"] == "test"]
        found = _summary(test[test["performance"].isin(shared)], performances, joined, seed=seed)
        rows.append({"table": name, "n_of_table": test["performance"].nunique(), **found})
    return pd.DataFrame(rows)


def agreement(joined: Joined) -> pd.DataFrame:
    """How often two tables are right and wrong together, over the test (shares; means over seeds).

    Returns
    -------
    DataFrame: first, second, both_right, only_first, only_second, both_wrong (sum 1), either_right; then one row
    "all tables" with both_right (all are), both_wrong (all are) and either_right (one is at least): no choice among
    the tables' answers can be better than that.
    """
    rows = joined.key["subset"].eq("test").to_numpy() & joined.present.all(axis=1)
    if not rows.any():
        raise ValueError("joined: no test row is in all tables")
    right = joined.posterior[rows].argmax(axis=2) == joined.label[rows, None]  # n, M
    found = []
    for a, b in itertools.combinations(range(len(joined.names)), 2):
        first, second = right[:, a], right[:, b]
        shares = {
            "both_right": first & second,
            "only_first": first & ~second,
            "only_second": ~first & second,
            "both_wrong": ~(first | second),
            "either_right": first | second,
        }
        means = {name: float(values.mean()) for name, values in shares.items()}
        found.append({"first": joined.names[a], "second": joined.names[b], **means})
    every = {"both_right": right.all(axis=1), "both_wrong": ~right.any(axis=1), "either_right": right.any(axis=1)}
    means = {name: float(values.mean()) for name, values in every.items()}
    found.append({"first": "all tables", "second": "", **means})
    return pd.DataFrame(found)


def chosen_alone(joined: Joined, *, choose_by: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The best single table, chosen fold by fold without a look at the fold's test rows.

    Parameters
    ----------
    choose_by : "validation" or "other_folds" (see `emolib.fusion`); "": the first of the two that every fold has.

    Returns
    -------
    Posterior table (subset test) and the choices: fold, seed, table, accuracy (of the rows chosen by that all tables
    have). Of equally good tables the first in the order of the tables is chosen.

    Raises
    ------
    ValueError
        A fold has no row to choose by that all tables have.
    """
    choose_by = choose_by or ("validation" if _in_every_fold(joined, "validation") else "other_folds")
    if choose_by not in ("validation", "other_folds"):
        raise ValueError(f"choose_by: {choose_by!r} received, allowed are validation, other_folds")
    tested = joined.key[joined.key["subset"] == "test"]
    tables, chosen = [], []
    for (fold, seed), rows in tested.groupby(["fold", "seed"]):
        learned = rows_to_learn(joined, fold=int(fold), seed=int(seed), learn_from=choose_by)
        learned = learned[joined.present[learned].all(axis=1)]
        if not len(learned):
            raise ValueError(f"choose_by: fold {fold} has no {choose_by} row that all tables have")
        accuracy = (joined.posterior[learned].argmax(axis=2) == joined.label[learned, None]).mean(axis=0)
        best, asked = int(accuracy.argmax()), rows.index.to_numpy()
        asked = asked[joined.present[asked, best]]
        tables.append(joined.table(asked, joined.posterior[asked, best]))
        row = {"fold": int(fold), "seed": int(seed), "table": joined.names[best], "accuracy": accuracy[best]}
        chosen.append(row | {"chosen_by": choose_by})
    return pd.concat(tables, ignore_index=True), pd.DataFrame(chosen)


def missing_tables(joined: Joined, performances: pd.DataFrame, *, seed: int = 2020, **options: Any) -> pd.DataFrame:
    """Test accuracy of the fusion with all tables, and with each one missing when it comes to answering.

    Of performances that no other table has nothing is asked: then `n` is smaller.

    Parameters
    ----------
    options : of `fuse`.

    Returns
    -------
    DataFrame: missing ("none" or a table), left (how many tables answer), accuracy, low, high, mean_of_folds, uar, n,
    n_seeds.
    """
    rows = []
    for name in ("", *joined.names):
        left = _answered_without(joined, name)
        done = fuse(left, absent=[name] if name else [], **options).posteriors
        found = _summary(done[done["subset"] == "test"], performances, joined, seed=seed)
        rows.append({"missing": name or "none", "left": len(joined.names) - bool(name), **found})
    return pd.DataFrame(rows)


def by_method(
    joined: Joined, performances: pd.DataFrame, *, inputs: str = "log_posteriors", seed: int = 2020, **options: Any
) -> pd.DataFrame:
    """Test accuracy of every method on the same tables, wherever its rows to learn from are there: a description.

    Choosing the best of its rows would be a choice on the test.

    Parameters
    ----------
    options : of `fuse`, such as scaling and C.

    Returns
    -------
    DataFrame: method, learned_from (`learned_as`), accuracy, low, high, mean_of_folds, uar, n, n_seeds.
    """
    rows = []
    for method, learn_from in METHOD_ROWS:
        several = learn_from == "other_folds" and joined.key["fold"].nunique() > 1
        if not learn_from or several or _in_every_fold(joined, learn_from):
            done = fuse(joined, method=method, learn_from=learn_from, inputs=inputs, **options).posteriors
            found = _summary(done[done["subset"] == "test"], performances, joined, seed=seed)
            rows.append({"method": method, "learned_from": learned_as(method, learn_from), **found})
    return pd.DataFrame(rows)


def forest_rows(
    single: pd.DataFrame, left: pd.DataFrame, *, name: str, protocol: str, protocols: Mapping[str, str]
) -> pd.DataFrame:
    """Rows for `result_plots.forest`: each table alone (of `alone`), the fusion called `name`, and what is left of it.

    Parameters
    ----------
    left : of `missing_tables`
    protocol, protocols : of the fusion, and of each table
    """
    tables = single.assign(variant=single["table"], protocol=single["table"].map(protocols))
    whole = left["missing"] == "none"
    fused = left.assign(variant=np.where(whole, name, "fusion without " + left["missing"]), protocol=protocol)
    if len(single) == 2:  # without one of two there is no fusion left
        fused = fused[whole]
    rows = pd.concat([tables, fused], ignore_index=True).assign(control=False)
    return rows.rename(columns={"accuracy": "value"})[["variant", "protocol", "value", "low", "high", "control"]]


def compare(
    first: pd.DataFrame, second: pd.DataFrame, performances: pd.DataFrame, *, classes: tuple[str, ...], seed: int = 2020
) -> PairedTest:
    """Is the first posterior table more accurate than the second, on the test performances that both have?

    Seeds may differ in number: each table counts as the mean of its own (`intervals.paired_test`).
    """
    both = set(first.loc[first["subset"] == "test", "performance"])
    both &= set(second.loc[second["subset"] == "test", "performance"])
    said: list[Answers] = [
        answers(table[table["performance"].isin(both)], performances, classes=classes) for table in (first, second)
    ]
    a, b = said
    return paired_test(a.true, a.predicted, b.predicted, a.subject, seed=seed)


def _answered_without(joined: Joined, name: str) -> Joined:
    """The rows that a table other than `name` has."""
    kept = joined.present[:, [other != name for other in joined.names]].any(axis=1)
    arrays = {of: getattr(joined, of)[kept] for of in ("posterior", "constant", "label", "subject")}
    return dataclasses.replace(joined, key=joined.key[kept].reset_index(drop=True), **arrays)


def _in_every_fold(joined: Joined, subset: str) -> bool:
    """Whether each fold and seed that is tested has rows of `subset`."""
    tested, there = (
        joined.key.loc[joined.key["subset"] == name, ["fold", "seed"]].drop_duplicates() for name in ("test", subset)
    )
    return len(tested.merge(there)) == len(tested)


def _summary(table: pd.DataFrame, performances: pd.DataFrame, joined: Joined, *, seed: int) -> dict[str, float]:
    """The accuracy with its interval, and the UAR, of a posterior table of test rows."""
    found = performance_results.summary(table, performances, classes=joined.classes, seed=seed).set_index("metric")
    row = found.loc["accuracy", ["value", "low", "high", "mean_of_folds"]].to_dict()
    counts = {name: int(found.loc["accuracy", name]) for name in ("n", "n_seeds")}
    return {"accuracy": row.pop("value"), **row, "uar": found.loc["uar", "value"], **counts}
