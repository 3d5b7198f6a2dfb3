"""What a run of a training stage reads: its parameters and the runs before it, for notebooks 04 and 05.

A run of either stage can be another one's judge, its pool of candidates (``within``) or the size of its random control
(``matched_to``). Each time the two must have the same folds, or a model would be tested on people who were learned
from: `kept_by` and `fold_weights` check it on the people themselves, not on parameters alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from emolib import folds, judged, labels, models, normals, posteriors, training
from emolib.folds import Fold
from emolib.judged import Judged
from emolib.runs import Run, Upstream

FOLD_PARAMETERS = ("protocol", "n_folds", "named_folds", "validation_subjects_share", "seed")


def upstream_of(params: Mapping[str, Any]) -> list[str]:
    """Names of the runs that a training run reads; its parameters are checked before anything is computed.

    Parameters
    ----------
    params : of notebook 04 or (with ``previous``) 05, such as ``globals()``.

    Raises
    ------
    ValueError
        Parameters that do not go together; the message names them.
    """
    name = params["filter"]
    needs, in_chain = judged.reads(name), "previous" in params
    if params["matched_to"] and "n_per_video" not in judged.options_of(name):
        raise ValueError(f"matched_to is for filter 'random', which draws numbers of frames; filter {name!r} given")
    if params["matched_to"] and params["filtered_test"]:
        raise ValueError(
            "filtered_test = True: numbers of frames of training videos (matched_to) say nothing of others"
        )
    named = [params[key] for key in ("start_from", "within", "matched_to") if params[key] != "previous"]
    if in_chain:
        inner = params["inner_folds"]
        if needs == "action_units":
            raise ValueError(f"filter {name!r} judges action units, a stage of a chain its models: use notebook 04")
        if inner < 0 or inner == 1 or (inner and needs == "nothing"):
            raise ValueError(
                f"inner_folds = {inner} with filter {name!r}, which reads {needs}: 0 (the fold's own model judges) or, "
                "for a filter that reads posteriors, 2 or more is allowed"
            )
        named += [params["previous"], params["inner_start_from"] if inner else ""]
    elif needs != "nothing":
        if not params["judged_by"]:
            raise ValueError(f"filter {name!r} judges frames by their {needs}: name a run in judged_by; '' given")
        named.append(params["judged_by"])
    return [run for run in dict.fromkeys(["preprocessing/videos", *named]) if run]


def make_folds(frames: pd.DataFrame, params: Mapping[str, Any]) -> list[Fold]:
    """The folds that a run's parameters ask for."""
    options = {name: params[name] for name in ("n_folds", "protocol", "seed", "validation_subjects_share")}
    return folds.make_folds(frames, folds=folds.NAMED_FOLDS[params["named_folds"]], **options)


def recipe(params: Mapping[str, Any]) -> training.Recipe:
    """How a run's parameters ask models to be trained; what they do not name is the recipe's default."""
    names = [field.name for field in dataclasses.fields(training.Recipe) if field.name in params]
    return training.Recipe(**{name: params[name] for name in names})


def read_judged(run: Run, parts: Sequence[Fold], frames: pd.DataFrame, *, label_space: str) -> Judged:
    """What the run's filter judges by, as run ``judged_by`` (of notebook 03, or of 06 for action units) left it.

    Distances of action units are to the normals of that run (``normals.parquet``), or, where it has none, to normals
    that are fitted on each fold's own training rows.
    """
    name = run.params["filter"]
    needs = judged.reads(name)
    if needs == "nothing":
        return Judged(needs)
    upstream = run.upstream(run.params["judged_by"])
    if needs == "posterior":
        source = upstream.metrics["label_space"]
        table = posteriors.read(upstream.folder / "posteriors.parquet", classes=labels.names(source))
        values = judged.frame_posterior(table, frames, source=source, target=label_space)
        return judged.by_fold(values, parts, reads=needs, out_of_sample=upstream.metrics["out_of_sample"])
    values = judged.frame_units(upstream.table("action_units"), frames)
    result = judged.by_fold(values, parts, reads=needs, out_of_sample=None)
    file, classes = upstream.folder / "normals.parquet", labels.names(label_space)
    if file.is_file():
        compared = [normals.read(file)] * len(parts)
        if compared[0].classes != classes:
            raise ValueError(f"{file}: normals of {compared[0].classes} found, {classes} are the corpus's classes")
        out_of_sample = upstream.metrics["out_of_sample"]
    else:
        compared = judged.fold_normals(result.train, parts, frames, classes=classes)
        out_of_sample = False
    if "normals" not in judged.options_of(name):
        out_of_sample = None  # nothing that was learned from frames took part in the choice
    return dataclasses.replace(result, normals=compared, out_of_sample=out_of_sample)


def judged_by_previous(run: Run, values: list[np.ndarray], parts: Sequence[Fold], frames: pd.DataFrame) -> Judged:
    """Posteriors of training rows as `iterative.judge` made them, with the previous run's of its test frames."""
    if judged.reads(run.params["filter"]) == "nothing":
        return Judged("nothing")
    table = run.upstream(run.params["previous"]).table("predictions").set_index("sample").filter(regex="^p_")
    test = [table.reindex(frames["sample"].iloc[part.test]).to_numpy(dtype=np.float32) for part in parts]
    return Judged("posterior", values, test, out_of_sample=run.params["inner_folds"] > 0)


def kept_by(run: Run, name: str, parts: Sequence[Fold], frames: pd.DataFrame) -> list[np.ndarray] | None:
    """What the upstream run `name` kept of each fold's training rows; None where `name` is "".

    Raises
    ------
    ValueError
        Its folds are others than those of `run`.
    """
    if not name:
        return None
    upstream = run.upstream(name)
    _check_same_folds(upstream, run.params, parts, frames)
    table = upstream.table("frame_list")
    return [table["keep"].to_numpy()[(table["fold"] == part.fold).to_numpy()] for part in parts]


def _check_same_folds(
    upstream: Upstream, params: Mapping[str, Any], parts: Sequence[Fold], frames: pd.DataFrame
) -> None:
    info, sample, subject = upstream.info, frames["sample"].to_numpy(), frames.set_index("sample")["subject"]
    name = f"{info['stage']}/{info['variant']}"
    tables = {"training": "frame_list", "validation": "validation", "test": "predictions"}
    found = {what: upstream.table(table) for what, table in tables.items()}
    different = {key: (upstream.params.get(key), params[key]) for key in FOLD_PARAMETERS}
    told = ", ".join(f"{key} {a!r} there, {b!r} here" for key, (a, b) in different.items() if a != b)
    if "fold" not in found["training"]:
        raise ValueError(f"run '{name}' lists frames without their fold (an older notebook made it): run it again")
    for part in parts:
        of_fold = {what: table["sample"].to_numpy()[table["fold"] == part.fold] for what, table in found.items()}
        same = np.array_equal(of_fold["training"], sample[part.train])
        for what, rows in (("validation", part.validation), ("test", part.test)):
            there = set(subject.reindex(of_fold[what]))
            same &= bool(there) and there <= set(frames["subject"].iloc[rows])
        if not same:
            raise ValueError(
                f"run '{name}' has other people in training, validation or test of fold {part.fold} than this run: its "
                f"models could have learned from people who are tested here. {told or 'The frame stores differ'}"
            )
    if extra := set(found["training"]["fold"]) - {part.fold for part in parts}:
        raise ValueError(f"run '{name}' has folds {sorted(extra)} which this run has not. {told}")


def fold_weights(upstream: Upstream, parts: Sequence[Fold], *, classes: Sequence[str]) -> list[models.Weights]:
    """The models of each fold of a run; their network may have other options (a second dropout) than the one to come.

    Call `kept_by` on the same run first: it checks the folds.
    """
    weights = [models.load_weights(upstream.folder / f"fold{part.fold}.safetensors") for part in parts]
    if list(weights[0].classes) != list(classes):
        raise ValueError(f"{upstream.folder}: models of {weights[0].classes} found, {list(classes)} are expected")
    return weights


def start_states(
    run: Run, start_from: str, parts: Sequence[Fold], *, previous: Sequence[models.Weights] = ()
) -> list[dict[str, Tensor]] | None:
    """Weights that each fold starts from, or None for a start from scratch (`start_from` = "").

    Parameters
    ----------
    start_from : "previous" (each fold from its own model in `previous`), or a pretraining run, the same for all folds.
    """
    if start_from == "previous":
        return [one.state for one in previous]
    if not start_from:
        return None
    return [models.load_weights(run.upstream(start_from).folder / "weights.safetensors").state] * len(parts)
