"""What notebook 09 fuses: runs on performances and published posterior tables, with what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emolib import performance_outputs, performances, published_posteriors, subject_normalisation
from emolib.runs import Upstream


@dataclass(frozen=True)
class Collected:
    """Posterior tables by name, and what they speak of.

    Attributes
    ----------
    tables : name -> posterior table; runs by `short_names`, published tables as they are called there
    performances : performance, subject, label, of all tables together
    label_space : of all of them
    protocols : name -> "nested" or "reference"
    normalisations : name -> how features were normalised by subject
    known : name -> what was known of a test person, see `subject_normalisation.reads`
    """

    tables: dict[str, pd.DataFrame]
    performances: pd.DataFrame
    label_space: str
    protocols: dict[str, str]
    normalisations: dict[str, str]
    known: dict[str, str]

    def overview(self) -> pd.DataFrame:
        """A row a table: protocol, normalisation, seeds, folds, and how many performances each subset has."""
        rows = []
        for name, one in self.tables.items():
            row = {"table": name, "protocol": self.protocols[name], "normalisation": self.normalisations[name]}
            row |= {"known_of_test_person": self.known[name]}
            row |= {"seeds": one["seed"].nunique(), "folds": one["fold"].nunique()}
            rows.append(row | one.groupby("subset")["performance"].nunique().to_dict())
        table = pd.DataFrame(rows)
        counts = [name for name in table if name not in ("table", "protocol", "normalisation", "known_of_test_person")]
        return table.assign(**table[counts].fillna(0).astype(int))


def collect(runs: Mapping[str, Upstream], *, published: Sequence[str] = (), root: Path | None = None) -> Collected:
    """Open what is to be fused.

    Parameters
    ----------
    runs : name -> run that left the files of `performance_outputs`.
    published : names of `published_posteriors`, read below `root`. Their early stopping looked at the test actors, so
        their protocol is "reference".

    Raises
    ------
    ValueError
        Label spaces differ, or two tables say another label or subject of a performance: both are named.
    """
    called = short_names(list(runs), taken=published)
    runs = {called[name]: run for name, run in runs.items()}
    found = {name: performance_outputs.load(run) for name, run in runs.items()}
    tables = {name: one.posteriors for name, one in found.items()}
    people = {name: one.performances for name, one in found.items()}
    spaces = {name: one.label_space for name, one in found.items()}
    protocols = {name: one.protocol for name, one in found.items()}
    normalisations = {name: run.metrics.get("normalisation", "unknown") for name, run in runs.items()}
    known = {name: run.metrics.get("known_of_test_person", "unknown") for name, run in runs.items()}
    for name in published:
        tables[name] = published_posteriors.read(root, name)
        people[name] = published_posteriors.performances_of(tables[name])
        spaces[name], protocols[name], normalisations[name] = published_posteriors.SPACE, "reference", "none"
        known[name] = subject_normalisation.reads("none")
    if len(set(spaces.values())) > 1:
        raise ValueError(f"label spaces differ, one is allowed: {spaces}")
    if not tables:
        raise ValueError("nothing to fuse: neither runs nor published tables are named")
    return Collected(tables, _together(people), next(iter(spaces.values())), protocols, normalisations, known)


def short_names(names: Sequence[str], *, taken: Sequence[str] = ()) -> dict[str, str]:
    """What runs "stage/variant" or "study/stage/variant" are called in tables: the shortest end that tells all apart.

    Parameters
    ----------
    taken : names that none may have.

    Raises
    ------
    ValueError
        A run is named twice.
    """
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"fused: run {twice[0]!r} is named {names.count(twice[0])} times")
    for n_parts in (1, 2):
        ends = {name: "/".join(name.split("/")[-n_parts:]) for name in names}
        if len(set(ends.values())) == len(names) and not set(ends.values()) & {*taken, "main"}:
            return ends
    return {name: name for name in names}


def _together(people: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All performances, each once, sorted by id."""
    columns = list(performances.COLUMNS)
    every = pd.concat([one[columns].assign(table=name) for name, one in people.items()], ignore_index=True)
    said = every.drop_duplicates(columns)
    if (twice := said.duplicated("performance", keep=False)).any():
        name = said.loc[twice, "performance"].iloc[0]
        both = said[said["performance"] == name].to_dict("records")
        texts = ", ".join(f"{one['table']}: subject {one['subject']}, label {one['label']}" for one in both)
        raise ValueError(f"performance {name!r} is described in two ways ({texts})")
    return performances.checked(said[columns].sort_values("performance"), where="fused")
