"""The fusion itself, fold by fold and seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from emolib import posteriors
from emolib.fusion import methods
from emolib.fusion.joining import Joined

LEARN_FROM = ("", "train", "out_of_fold", "validation", "other_folds")
DEFAULT_LEARN_FROM = {"mean": "", "weighted": "validation", "logistic_regression": "train", "stacking": "out_of_fold"}
ANSWERED = ("validation", "test")


class Fused(NamedTuple):
    """`posteriors`: posterior table of the fusion, subsets validation (where all tables have it) and test; `weights`:
    fold, seed, table, weight, temperature of each table (1 where none was fitted)."""

    posteriors: pd.DataFrame
    weights: pd.DataFrame


def fuse(
    joined: Joined,
    *,
    method: str = "mean",
    learn_from: str | None = None,
    inputs: str | Mapping[str, str] = "log_posteriors",
    scaling: str = "minmax",
    C: float = 1.0,
    powers: float | Mapping[str, float] = 1.0,
    temperature_from: str = "",
    absent: Sequence[str] = (),
) -> Fused:
    """Fuse posterior tables.

    Parameters
    ----------
    joined : of `join`.
    method : one of `methods.METHODS`.
    learn_from : one of `LEARN_FROM`; None: what the method's name means. "" learns nothing and is for "mean" alone.
    inputs : one of `methods.INPUTS`, for all tables or by name; "logits" where `join` was given their constants.
    scaling : of a regression's inputs: "minmax", "standard" or "none", fitted on the rows learned from.
    C : of the regression, positive.
    powers : posteriors are raised to it and normalised first; below 1 they get softer. For all tables or by name.
    temperature_from : one of `LEARN_FROM`; unless "", each table's temperature is fitted on such rows of the fold
        (`posteriors.fit_temperature`), after its power.
    absent : tables that are missing when it comes to answering, as if their sensor had failed.

    Raises
    ------
    ValueError
        An option is not allowed, not all tables have the rows to learn from, or a row has no table left to answer it.
    """
    learn_from = _learn_from(method, learn_from)
    kinds = _by_name(inputs, joined.names, "inputs", default="log_posteriors")
    if wrong := [kind for kind in kinds if kind not in methods.INPUTS]:
        raise ValueError(f"inputs: {wrong[0]!r} received, allowed are {', '.join(methods.INPUTS)}")
    if scaling not in methods.SCALINGS:
        raise ValueError(f"scaling: {scaling!r} received, allowed are {', '.join(methods.SCALINGS)}")
    if not C > 0:
        raise ValueError(f"C: {C} received, a positive number is allowed")
    if unknown := sorted(set(absent) - set(joined.names)):
        raise ValueError(f"absent: {', '.join(unknown)} received, allowed are {', '.join(joined.names)}")
    powers = _by_name(powers, joined.names, "powers", default=1.0)
    _check_logits(joined, kinds, plain=not temperature_from and set(powers) == {1.0})
    raised = _raised(joined, powers)
    here = ~np.isin(joined.names, list(absent))
    tables, weights = [], []
    for (fold, seed), rows in _groups(joined):
        posterior, temperature = raised, np.ones(len(joined.names))
        if temperature_from:
            temperature = _temperatures(joined, raised, fold, seed, temperature_from)
            posterior = _tempered(raised, temperature)
        learned = np.zeros(0, dtype=np.int64)
        if learn_from:
            learned = rows_to_learn(joined, fold=fold, seed=seed, learn_from=learn_from)
        options = {"inputs": kinds}
        if method in ("logistic_regression", "stacking"):
            options |= {"scaling": scaling, "C": C, "seed": seed}
        values = methods.values_of(posterior, joined.constant, kinds)
        given = {"values": values, "learned": learned, "here": here, "method": method, "options": options}
        answer, found = _answer(joined, rows, **given)
        tables.append(joined.table(rows, answer))
        named = {"fold": fold, "seed": seed, "table": joined.names, "weight": found, "temperature": temperature}
        weights.append(pd.DataFrame(named))
    return Fused(pd.concat(tables, ignore_index=True), pd.concat(weights, ignore_index=True))


def rows_to_learn(joined: Joined, *, fold: int, seed: int, learn_from: str) -> np.ndarray:
    """Rows int64 of `joined.key` that the fusion of a fold may learn from.

    Raises
    ------
    ValueError
        There are none.
    """
    key = joined.key
    of_seed = (key["seed"] == seed).to_numpy()
    if learn_from == "other_folds":
        rows = np.flatnonzero(of_seed & (key["subset"] == "test") & (key["fold"] != fold))
    else:
        rows = np.flatnonzero(of_seed & (key["subset"] == learn_from) & (key["fold"] == fold))
    if not len(rows):
        there = ", ".join(joined.subsets)
        raise ValueError(f"learn_from: {learn_from!r} received, but fold {fold} has none; all tables have {there}")
    return rows


def learned_as(method: str, learn_from: str | None) -> str:
    """What tables say of a fusion's learning: "nothing", "seen" (the models had learned from these clips) ..."""
    found = _learn_from(method, learn_from)
    return {"": "nothing", "train": "seen"}.get(found, found)


def protocol_of(protocols: Iterable[str], *, learned_from: Iterable[str]) -> str:
    """Protocol of a fusion of models of `protocols`: "nested" if all are, and no other fold's test rows were used."""
    nested = set(protocols) <= {"nested"} and "other_folds" not in set(learned_from)
    return "nested" if nested else "reference"


def _learn_from(method: str, learn_from: str | None) -> str:
    if method not in methods.METHODS:
        raise ValueError(f"method: {method!r} received, allowed are {', '.join(methods.METHODS)}")
    found = DEFAULT_LEARN_FROM[method] if learn_from is None else learn_from
    allowed = ("",) if method == "mean" else ("out_of_fold",) if method == "stacking" else LEARN_FROM[1:]
    if found not in allowed:
        raise ValueError(f"learn_from: {found!r} received, for {method!r} allowed are {', '.join(map(repr, allowed))}")
    return found


def _by_name(given, names: Sequence[str], what: str, *, default) -> list:
    """One value for each table."""
    if not isinstance(given, Mapping):
        return [given] * len(names)
    if unknown := sorted(set(given) - set(names)):
        raise ValueError(f"{what}: table(s) {', '.join(unknown)} received, allowed are {', '.join(names)}")
    return [given.get(name, default) for name in names]


def _check_logits(joined: Joined, kinds: Sequence[str], *, plain: bool) -> None:
    """ValueError unless logits are known of every table whose kind of input they are, and are left as they are."""
    for place in [place for place, kind in enumerate(kinds) if kind == "logits"]:
        name = joined.names[place]
        if not plain:
            raise ValueError(f"inputs: logits of {name!r} received, which have no powers and no temperature")
        if np.isnan(joined.constant[joined.present[:, place], place]).any():
            raise ValueError(
                f"inputs: logits of {name!r} received, but they are not known of all rows; log_posteriors are"
            )


def _raised(joined: Joined, powers: Sequence[float]) -> np.ndarray:
    if wrong := [power for power in powers if isinstance(power, str) or not power > 0]:
        raise ValueError(f"powers: {wrong[0]!r} received, positive numbers are allowed")
    return _tempered(joined.posterior, 1 / np.array(powers, dtype=np.float64))


def _tempered(posterior: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Posteriors [n, M, C] of each table at its temperature [M]."""
    found = posterior.copy()
    for place in np.flatnonzero(temperature != 1):
        there = ~np.isnan(posterior[:, place, 0])
        found[there, place] = posteriors.apply_temperature(posterior[there, place], float(temperature[place]))
    return found


def _temperatures(joined: Joined, posterior: np.ndarray, fold: int, seed: int, learn_from: str) -> np.ndarray:
    if learn_from not in LEARN_FROM:
        raise ValueError(f"temperature_from: {learn_from!r} received, allowed are {', '.join(map(repr, LEARN_FROM))}")
    rows = rows_to_learn(joined, fold=fold, seed=seed, learn_from=learn_from)
    found = np.ones(len(joined.names))
    for place in range(len(found)):
        there = rows[joined.present[rows, place]]
        scores = methods.log_posteriors(posterior[there, place])
        found[place] = posteriors.fit_temperature(scores, joined.label[there])
    return found


def _groups(joined: Joined) -> Iterable[tuple[tuple[int, int], np.ndarray]]:
    """(fold, seed) and the rows that are to be answered."""
    asked = joined.key[joined.key["subset"].isin(ANSWERED)]
    for (fold, seed), rows in asked.groupby(["fold", "seed"]):
        yield (int(fold), int(seed)), rows.index.to_numpy()


def _answer(
    joined: Joined,
    rows: np.ndarray,
    *,
    values: np.ndarray,
    learned: np.ndarray,
    here: np.ndarray,
    method: str,
    options: Mapping,
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior [len(rows), C] and weights [M] (of the most complete pattern; NaN where there are none).

    Rows are answered by patterns: which tables they have. Each pattern's fusion learns from all rows that have its
    tables.
    """
    present = joined.present
    usable = present[rows] & here
    if (nothing := ~usable.any(axis=1)).any():
        name = joined.key["performance"].iloc[rows[int(np.argmax(nothing))]]
        raise ValueError(f"performance {name!r}: no table is left to answer it ({int(nothing.sum())} row(s) are so)")
    patterns, of_row = np.unique(usable, axis=0, return_inverse=True)
    answer, weights = np.empty((len(rows), len(joined.classes))), np.full(len(joined.names), np.nan)
    for number in np.argsort(patterns.sum(axis=1), kind="stable"):
        pattern, asked = patterns[number], rows[of_row.ravel() == number]
        places = np.flatnonzero(pattern)
        of = learned[present[learned][:, places].all(axis=1)]
        if len(learned) and not len(of):
            names = ", ".join(np.array(joined.names)[places])
            raise ValueError(f"no row to learn from has all of {names}")
        named = dict(options) | {"inputs": [options["inputs"][place] for place in places]}
        made = methods.METHODS[method](values[of][:, places], joined.label[of], **named)
        answer[of_row.ravel() == number] = made.answer(values[asked][:, places])
        if made.weights is not None:
            weights = np.where(pattern, 0.0, np.nan)
            weights[places] = made.weights
    return answer, weights
