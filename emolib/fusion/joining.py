"""Posterior tables of several models side by side, joined on performance, fold, subset and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib import posteriors
from emolib.posteriors import PERFORMANCES, posterior_columns

KEY = ("subset", "fold", "seed", "performance")
MISSING = ("error", "drop", "answer")


@dataclass(frozen=True)
class Joined:
    """M posterior tables over the same n rows.

    Attributes
    ----------
    names : M names of tables
    classes : C names
    key : DataFrame of n rows, sorted: subset, fold, seed, performance
    posterior : float64 [n, M, C]; NaN where a table has no such row
    constant : float64 [n, M], what a row's logits have more than its log posteriors; NaN where that is not known
    label : int64 [n]
    subject : str [n]
    unmatched : DataFrame: table, subset, performances, of which a table lacks some that others have
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    key: pd.DataFrame
    posterior: np.ndarray
    constant: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    unmatched: pd.DataFrame

    @property
    def present(self) -> np.ndarray:
        """Which tables have which row, bool [n, M]."""
        return ~np.isnan(self.posterior[:, :, 0])

    @property
    def subsets(self) -> tuple[str, ...]:
        """Subsets that all tables have."""
        return tuple(dict.fromkeys(self.key["subset"]))

    def table(self, rows: np.ndarray, posterior: np.ndarray) -> pd.DataFrame:
        """A posterior table of `rows` (bool or int) of the key with `posterior` float [len(rows), C]."""
        values = dict(zip(posterior_columns(self.classes), posterior.astype(np.float32).T, strict=True))
        table = self.key[rows].reset_index(drop=True) if rows.dtype == bool else self.key.iloc[rows]
        return table.reset_index(drop=True).assign(**values)[PERFORMANCES.columns(self.classes)]

    def one(self, name: str) -> pd.DataFrame:
        """Table `name` as it takes part in the fusion."""
        if name not in self.names:
            raise ValueError(f"table {name!r}: one of {', '.join(self.names)} is allowed")
        place = self.names.index(name)
        rows = self.present[:, place]
        return self.table(rows, self.posterior[rows, place])


def join(
    tables: Mapping[str, pd.DataFrame],
    performances: pd.DataFrame,
    *,
    classes: Sequence[str],
    missing: str = "error",
    constants: Mapping[str, pd.DataFrame] | None = None,
) -> Joined:
    """Join posterior tables on (performance, fold, subset, seed).

    Parameters
    ----------
    tables : name -> posterior table of performances over `classes`, two or more. Subsets that not all of them have are
        left out. A table of one seed is shared by all seeds; tables of several must have the same ones.
    performances : performance, subject, label, of all that are answered.
    missing : what to do with a performance that a table lacks in a fold and subset. "error": not allowed in the test,
        elsewhere as "drop" (tables of other origin have other rows to learn from); "drop" leaves it out of all tables;
        "answer" keeps it with those that have it. `Joined.unmatched` lists and counts all of them.
    constants : name of a table -> performance, fold, subset, constant: logits minus log posteriors of each row, where
        a fusion is to read logits (a published one did).

    Raises
    ------
    ValueError
        Fewer than two tables, an unknown `missing`, seeds that differ, no common subset or row, a performance that
        `performances` lacks, or (with "error") one that a table does not test: table and performance are named.
    """
    if len(tables) < 2:
        raise ValueError(f"tables: {len(tables)} received ({', '.join(tables) or 'none'}), two or more are allowed")
    if missing not in MISSING:
        raise ValueError(f"missing: {missing!r} received, allowed are {', '.join(MISSING)}")
    for name, one in tables.items():
        posteriors.check(one, classes=classes, where=f"table {name!r}", layout=PERFORMANCES)
    subsets = [name for name in PERFORMANCES.subsets if all((one["subset"] == name).any() for one in tables.values())]
    if not subsets:
        there = "; ".join(f"{name}: {', '.join(sorted(set(one['subset'])))}" for name, one in tables.items())
        raise ValueError(f"tables: no subset is in all of them ({there})")
    seeds = _seeds(tables)
    keyed = {name: _keyed(one[one["subset"].isin(subsets)], seeds, classes) for name, one in tables.items()}
    index = _union(keyed)
    posterior = np.stack([one.reindex(index).to_numpy(np.float64) for one in keyed.values()], axis=1)
    present = ~np.isnan(posterior[:, :, 0])
    unmatched = _unmatched(index, present, list(tables))
    tested = np.asarray(index.get_level_values("subset") == "test")
    whole = present.all(axis=1)
    if missing == "error" and (lost := tested & ~whole).any():
        _raise(tables, index[lost][0], present[lost][0], unmatched)
    kept = np.ones(len(index), dtype=bool) if missing == "answer" else whole
    index, posterior = index[kept], posterior[kept]
    if not len(index):
        raise ValueError(f"tables {', '.join(tables)}: no performance is in all of them in one fold and subset")
    known, constants = _known(index, performances), dict(constants or {})
    if unknown := sorted(set(constants) - set(tables)):
        raise ValueError(f"constants: of {', '.join(unknown)}, but the tables are {', '.join(tables)}")
    return Joined(
        names=tuple(tables),
        classes=tuple(classes),
        key=index.to_frame(index=False),
        posterior=posterior,
        constant=np.stack([_constant(index, constants.get(name)) for name in tables], axis=1),
        label=known["label"].to_numpy(np.int64),
        subject=known["subject"].to_numpy().astype(str),
        unmatched=unmatched,
    )


def _raise(tables: Mapping[str, pd.DataFrame], key: tuple, present: np.ndarray, unmatched: pd.DataFrame) -> None:
    """ValueError for the row `key` that some table lacks."""
    subset, fold, seed, name = key
    lacking = list(tables)[int(np.argmin(present))]
    there = tables[lacking]
    there = there[(there["performance"] == name) & (there["subset"] == subset)]
    elsewhere = f", but in fold {there['fold'].iloc[0]}: are the folds the same?" if len(there) else ""
    counts = "; ".join(f"{one.table} lacks {one.performances} of {one.subset}" for one in unmatched.itertuples())
    raise ValueError(
        f"table {lacking!r} has no row of performance {name!r} in fold {fold}, subset {subset}, seed {seed}"
        f"{elsewhere} ({counts}); missing='drop' leaves them out, 'answer' fuses what is there"
    )


def _seeds(tables: Mapping[str, pd.DataFrame]) -> list[int]:
    """Seeds of the fusion: those of the tables with several, else the first table's one."""
    of = {name: sorted(int(seed) for seed in one["seed"].unique()) for name, one in tables.items()}
    several = {name: seeds for name, seeds in of.items() if len(seeds) > 1}
    if len({tuple(seeds) for seeds in several.values()}) > 1:
        raise ValueError(f"tables of several seeds must have the same ones: {several}")
    return next(iter(several.values()), next(iter(of.values())))


def _keyed(table: pd.DataFrame, seeds: Sequence[int], classes: Sequence[str]) -> pd.DataFrame:
    """Posteriors with `KEY` as index; a table of one seed once for each of `seeds`."""
    if table["seed"].nunique() == 1:
        table = table.drop(columns="seed").merge(pd.DataFrame({"seed": list(seeds)}), how="cross")
    table = table.astype({"performance": str, "subset": str, "fold": "int64", "seed": "int64"})
    return table.set_index(list(KEY))[posterior_columns(classes)]


def _union(keyed: Mapping[str, pd.DataFrame]) -> pd.MultiIndex:
    """All keys, sorted by subset (in the layout's order), fold, seed and performance."""
    every = pd.concat([one.index.to_frame(index=False) for one in keyed.values()]).drop_duplicates()
    rank = every["subset"].map(PERFORMANCES.subsets.index)
    every = every.assign(rank=rank).sort_values(["rank", "fold", "seed", "performance"])
    return pd.MultiIndex.from_frame(every[list(KEY)])


def _unmatched(index: pd.MultiIndex, present: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    rows = index.to_frame(index=False)
    found = []
    for place, name in enumerate(names):
        lacking = rows[~present[:, place]].drop_duplicates(["subset", "performance"])
        found += [(name, subset, len(some)) for subset, some in lacking.groupby("subset", sort=False)]
    return pd.DataFrame(found, columns=["table", "subset", "performances"])


def _known(index: pd.MultiIndex, performances: pd.DataFrame) -> pd.DataFrame:
    """What is known of each row's performance."""
    asked = index.get_level_values("performance")
    at = pd.Index(performances["performance"].astype(str)).get_indexer(asked)
    if (at < 0).any():
        name = asked[int(np.argmax(at < 0))]
        raise ValueError(f"performance {name!r} is answered, but not among the {len(performances)} performances")
    return performances.iloc[at]


def _constant(index: pd.MultiIndex, table: pd.DataFrame | None) -> np.ndarray:
    """A table's constants float64 [n]; NaN where there are none."""
    if table is None:
        return np.full(len(index), np.nan)
    rows = index.to_frame(index=False)
    shared = ["subset", "fold", "performance"]
    return rows.merge(table[[*shared, "constant"]], on=shared, how="left", validate="m:1")["constant"].to_numpy()
