"""Static models on the folds of `cross_fitting`: what they learn from, options chosen on other people, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ParameterGrid

from emolib import posteriors, static_models
from emolib.cross_fitting import Fitted, Parts
from emolib.folds import subject_folds

LEARN_FROM = ("train_and_validation", "train")
CHOOSE_BY = ("inner_folds", "validation")


def fit(
    parts: Parts,
    *,
    values: np.ndarray,
    label: np.ndarray,
    subject: np.ndarray,
    n_classes: int,
    model: str,
    options: Mapping[str, Any] | None = None,
    scaling: str = "minmax",
    components: int = 0,
    features: str = "none",
    learn_from: str = "train_and_validation",
    choices: Mapping[str, Sequence] | None = None,
    choose_by: str = "inner_folds",
    n_inner_folds: int = 4,
    calibrate: bool = False,
) -> Fitted:
    """Fit a static model on one fold; `functools.partial` of it is what `cross_fitting.cross_fit` asks for.

    Parameters
    ----------
    values : float [N, F], a row a performance, finite.
    label, subject : int [N], 0 .. `n_classes` - 1; [N].
    model, options, scaling, components, features : as for `static_models.learn`.
    learn_from : "train_and_validation" (nothing here stops early) or "train". With the first, validation rows are
        answered by a second model that learned from the training rows alone, so that a fusion may choose by them. Under
        protocol `reference`, where the validation rows are the test's, only the training rows are ever learned from.
    choices : option -> values, or `scaling`, `components` or `features` -> values: all combinations are tried and the
        most accurate is taken (the first of equal ones), see `choose`.
    choose_by : "inner_folds" of the subjects that are learned from, or "validation": the fold's validation rows (under
        protocol `reference` these are the test's, as published).
    calibrate : a temperature is fitted to the answers to the validation rows and applied to all.

    Returns
    -------
    Fitted
        Its tables: `choices`, where there are some; `temperature`, where calibrated.

    Raises
    ------
    ValueError
        A name is unknown (those allowed are listed), a value is not finite, or options contradict each other.
    """
    values, label, subject = checked(values), np.asarray(label), np.asarray(subject)
    how = {"model": model, "options": dict(options or {}), "scaling": scaling}
    how |= {"components": components, "features": features}
    if choose_by not in CHOOSE_BY:
        raise ValueError(f"choose_by: {choose_by!r} received, {', '.join(CHOOSE_BY)} are allowed")
    rows, tables = learning_rows(parts, learn_from), {}
    fixed = {"n_classes": n_classes, "seed": parts.seed}
    if choices:
        splits = [(parts.train, parts.validation)]
        if choose_by == "inner_folds":
            part = subject_folds(subject[rows], n_folds=n_inner_folds, seed=parts.seed)
            splits = [(rows[part != k], rows[part == k]) for k in range(n_inner_folds)]
        how, tables["choices"] = choose(values, label, subject, splits, how=how, choices=choices, **fixed)
    answer = learn(values, label, subject, rows, **how, **fixed)
    posterior = answer(parts.predict)
    of_validation = np.isin(parts.predict, parts.validation)
    unseen = answer
    if len(rows) > len(parts.train) and (calibrate or of_validation.any()):
        unseen = learn(values, label, subject, parts.train, **how, **fixed)
        if of_validation.any():  # an inner fit answers for others
            posterior[of_validation] = unseen(parts.predict[of_validation])
    if calibrate:
        said = np.log(np.maximum(unseen(parts.validation), np.finfo(np.float64).tiny))
        temperature = posteriors.fit_temperature(said, label[parts.validation])
        posterior = posteriors.apply_temperature(posterior, temperature)
        tables["temperature"] = pd.DataFrame({"temperature": [temperature]})
    return Fitted(posterior.astype(np.float32), tables)


def checked(values: np.ndarray) -> np.ndarray:
    """`values` as an array [N, F]; ValueError, naming the first bad row, when they are not finite."""
    values = np.asarray(values)
    if values.ndim != 2 or not np.isfinite(values).all():
        where = f"row {np.argwhere(~np.isfinite(values))[0][0]} is not" if values.ndim == 2 else f"shape {values.shape}"
        raise ValueError(f"values: {where}; finite numbers [N, F] are allowed")
    return values


def learning_rows(parts: Parts, learn_from: str) -> np.ndarray:
    """Rows that a model without early stopping learns from, rising (see `fit`); ValueError for an unknown way."""
    if learn_from not in LEARN_FROM:
        raise ValueError(f"learn_from: {learn_from!r} received, {', '.join(LEARN_FROM)} are allowed")
    known = np.union1d(parts.train, parts.validation)
    validates_by_test = np.isin(parts.predict, known).all() and np.isin(parts.validation, parts.predict).all()
    return parts.train if learn_from == "train" or validates_by_test else known


def learn(
    values: np.ndarray,
    label: np.ndarray,
    subject: np.ndarray,
    rows: np.ndarray,
    *,
    model: str,
    options: Mapping[str, Any] | None = None,
    **how: Any,
) -> Callable[[np.ndarray], np.ndarray]:
    """`static_models.learn` from `rows`; what it returns answers other rows [n] by their position, person by person.

    A model that adapts to people sees of each person the rows that it is asked about together, and no label of them.
    """
    answer = static_models.learn(values[rows], label[rows], model=model, options=options, **how)
    if not static_models.adapts(model, options):
        return lambda asked: answer(values[asked])

    def one_person_at_a_time(asked: np.ndarray) -> np.ndarray:
        posterior = np.empty((len(asked), how["n_classes"]))
        for who in np.unique(subject[asked]):
            own = subject[asked] == who
            posterior[own] = answer(values[asked[own]])
        return posterior

    return one_person_at_a_time


def choose(
    values: np.ndarray,
    label: np.ndarray,
    subject: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    how: Mapping[str, Any],
    choices: Mapping[str, Sequence],
    n_classes: int,
    seed: int,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The setting that is most accurate over all rows judged in `splits`, and the table of all.

    Parameters
    ----------
    splits : (rows learned from, rows judged).
    how : model, options, scaling, components and features that `choices` change.

    Returns
    -------
    (how, table) : the setting chosen; DataFrame: choice (text), accuracy (0..1), chosen (bool), a row a combination.
    """
    tried, settings, accuracy = list(ParameterGrid(dict(choices))), [], []
    for one in tried:
        own = {key: one[key] for key in ("scaling", "components", "features") if key in one}
        of_model = {key: value for key, value in one.items() if key not in own}
        settings.append({**how, **own, "options": {**how["options"], **of_model}})
        n_right = 0
        for known, judged in splits:
            answer = learn(values, label, subject, known, **settings[-1], n_classes=n_classes, seed=seed)
            n_right += int((answer(judged).argmax(axis=1) == label[judged]).sum())
        accuracy.append(n_right / sum(len(judged) for _, judged in splits))
    best = int(np.argmax(accuracy))
    names = [", ".join(f"{key} {value}" for key, value in one.items()) for one in tried]
    table = pd.DataFrame({"choice": names, "accuracy": accuracy, "chosen": np.arange(len(tried)) == best})
    return settings[best], table
