"""How good is a classifier on labelled pictures? What `emolib evaluate` computes, prints and writes.

Intervals are 95 % bootstrap intervals over *different* pictures: exact duplicates are drawn together, since the same
pixels twice are no second sample. Nobody knows who is in a picture of most corpora of stills, so people are not units
here. Nothing is fitted on the pictures: the temperature is the one that the weights bring.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib import calibration, evaluation, intervals, posteriors, provenance
from emolib.atomic import replacing
from emolib.classify import Classifier, Ensemble
from emolib.intervals import Interval
from emolib.labelled_pictures import Pictures

SCHEMA_VERSION = 1
FILES = ("evaluation.json", "per_class.csv", "confusion.csv", "pictures.csv", "posteriors.parquet")
N_EXAMPLES = 3  # of the files left alone for one reason
METRICS = {"accuracy": "accuracy", "uar": "unweighted average recall", "macro_f1": "macro F1"}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Numbers of one classifier on one set of pictures.

    Attributes
    ----------
    metrics : name in `METRICS` -> Interval; its `n_subjects` is the number of different pictures, its limits are NaN
        where that is 1.
    per_class : a row a class: `class`, `n`, `recall`, `recall_low`, `recall_high`, `precision`, `f1`; NaN where
        undefined (a class without pictures, or limits from a single picture).
    confusion : counts; rows are the classes given, columns those predicted.
    calibration : `calibration.summary`.
    ece : expected calibration error; resampling makes it larger, so only its upper limit is shown
        (`calibration.interval`).
    """

    n: int
    metrics: dict[str, Interval]
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    calibration: dict[str, float]
    ece: Interval


def judge(
    posterior: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    *,
    classes: Sequence[str],
    n_resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """Metrics with intervals.

    Parameters
    ----------
    posterior : float [N, C], rows sum to 1.
    label : int [N].
    group : [N], the same value for samples that are no independent ones.
    classes : C names.

    Raises
    ------
    ValueError
        Shapes do not fit, or a label is none of the classes.
    """
    label, group, predicted = np.asarray(label), np.asarray(group), posterior.argmax(axis=1)
    drawn = {"n_resamples": n_resamples, "seed": seed}
    summary = calibration.summary(posterior, label)
    if len(np.unique(group)) > 1:
        metrics = {name: intervals.subject_bootstrap(label, predicted, group, metric=name, **drawn) for name in METRICS}
        ece = calibration.interval(posterior, label, group, **drawn)
    else:
        metrics = {name: _no_interval(getattr(evaluation, name)(label, predicted)) for name in METRICS}
        ece = _no_interval(summary["ece"])
    per_class = evaluation.per_class(label, predicted, classes=classes)
    limits = [_limits(predicted[label == k] == k, group[label == k], drawn) for k in range(len(classes))]
    per_class = per_class.assign(recall_low=[low for low, _ in limits], recall_high=[high for _, high in limits])
    counts = evaluation.confusion(label, predicted, n_classes=len(classes))
    return Evaluation(
        n=len(label),
        metrics=metrics,
        per_class=per_class[["class", "n", "recall", "recall_low", "recall_high", "precision", "f1"]],
        confusion=pd.DataFrame(counts, index=pd.Index(classes, name="given"), columns=list(classes)),
        calibration=summary,
        ece=ece,
    )


def _no_interval(value: float) -> Interval:
    return Interval(float(value), np.nan, np.nan, 1)


def _limits(right: np.ndarray, group: np.ndarray, drawn: dict) -> tuple[float, float]:
    if len(np.unique(group)) < 2:
        return np.nan, np.nan
    interval = intervals.subject_mean(right, group, **drawn)
    return interval.low, interval.high


def describe(
    found: Evaluation, pictures: Pictures, classifier: Classifier | Ensemble, *, place: str, views: int, **how: Any
) -> dict[str, Any]:
    """Everything worth keeping of an evaluation, for JSON; `how`: the options of `gather` that chose the pictures."""
    digest = hashlib.sha256("\n".join(sorted(pictures.table["group"] + pictures.table["class"])).encode())
    return {
        "schema_version": SCHEMA_VERSION,
        "command": _command(place, classifier.name, views=views, **how),
        "place": place,
        **how,
        "views": views,
        "weights": [
            {
                "name": member.name,
                "model": member.model,
                "n_parameters": member.n_parameters,
                "n_bytes": member.path.stat().st_size,
                "sha256": provenance.hash_file(member.path),
                "temperature": member.temperature,
                "crop": member.crop,
                "facts": member.facts,
            }
            for member in classifier.members
        ],
        "classes": list(classifier.classes),
        "n_pictures": found.n,
        "n_different_pictures": int(pictures.table["group"].nunique()),
        "splits": _splits(pictures),
        "n_resized": pictures.n_resized,
        "pictures_sha256": digest.hexdigest(),
        "chance": float(pictures.table["label"].value_counts(normalize=True).max()),
        **{name: vars(interval) for name, interval in found.metrics.items()},
        "per_class": found.per_class.to_dict("records"),
        "confusion": found.confusion.to_numpy(),
        "calibration": {**found.calibration, "ece_limit": found.ece.high},
        "dropped": pictures.dropped.to_dict("records"),
        "unnamed_folders": pictures.unnamed_folders.to_dict("records"),
        "unreadable": pictures.unreadable.to_dict("records"),
        "n_excluded": len(pictures.excluded),
        "excluded": [
            {"reason": reason, "n": len(sources), "examples": list(sources[:N_EXAMPLES])}
            for reason, sources in _left_alone(pictures.excluded)
        ],
        "emolib": version("emolib"),
    }


def _command(place: str, weights: str, **options: Any) -> str:
    """The call of `emolib evaluate` that does this."""
    call = ["emolib", "evaluate", place, "--weights", weights]
    for name, value in options.items():
        if isinstance(value, dict):
            call += [part for key, one in value.items() for part in ("--option", f"{key}={one}")]
        elif value not in (None, "", "*"):
            call += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(call)


def _splits(pictures: Pictures) -> dict[str, int]:
    """How many pictures each split has; "none": no name says a split."""
    counts = pictures.table["split"].replace("", "none").value_counts()
    return {name: int(counts[name]) for name in ("train", "validation", "test", "none") if name in counts}


def _left_alone(excluded: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Sources by reason, the most common first."""
    sources = excluded.groupby("reason")["source"].agg(list)
    return sorted(sources.items(), key=lambda one: (-len(one[1]), one[0]))


def check_out(folder: Path) -> None:
    """Make the folder that `save` will write to, and refuse one that holds somebody's own files of its names.

    Raises
    ------
    OSError
        It is a file, cannot be made or written to, or a file of `FILES` is there that no evaluation has written.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--out {folder}: a file of this name is there, a folder is needed")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"--out {folder}: the folder cannot be written to")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not _is_evaluation(folder / FILES[0]):
        raise FileExistsError(f"--out {folder}: {', '.join(there)} there, and of no earlier evaluation: name another")


def _is_evaluation(file: Path) -> bool:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):  # nothing that `save` has written
        return False
    return isinstance(found, dict) and {"schema_version", "weights"} <= found.keys()


def save(
    folder: Path, found: Evaluation, pictures: Pictures, posterior: np.ndarray, description: dict[str, Any]
) -> list[Path]:
    """Write `FILES`, each whole or not at all; returns their paths. OSError as `check_out`.

    ``pictures.csv`` and ``posteriors.parquet`` (`posteriors.table`, fold -1, subset test) share the column `sample`.
    """
    check_out(folder)
    classes = list(found.confusion.columns)
    table = pictures.table.assign(predicted=np.array(classes)[posterior.argmax(axis=1)])
    answers = posteriors.table(np.arange(len(posterior)), posterior, classes=classes, fold=-1, subset="test")
    writers = (
        lambda path: provenance.write_json(path, description, where="evaluation"),
        lambda path: found.per_class.to_csv(path, index=False),
        found.confusion.to_csv,
        lambda path: table.to_csv(path, index_label="sample"),
        lambda path: posteriors.write(answers, path),
    )
    paths = [folder / name for name in FILES]
    for path, write in zip(paths, writers, strict=True):
        with replacing(path) as temporary:
            write(temporary)
    return paths


def lines(found: Evaluation, pictures: Pictures) -> list[str]:
    """What `emolib evaluate` prints; names of files are as they are, which a terminal may take for commands."""
    n_different = next(iter(found.metrics.values())).n_subjects
    drawn = "intervals of 95 % over different pictures" if n_different > 1 else "one gives no interval"
    text = [f"{found.n} pictures, {n_different} different ones; {drawn}"]
    if len(splits := _splits(pictures)) > 1:
        text.append("pictures a split: " + ", ".join(f"{n} {name}" for name, n in splits.items()))
    text += [f"{METRICS[name]:<26} {_percent(interval)}" for name, interval in found.metrics.items()]
    limit = "no interval" if np.isnan(found.ece.high) else f"97.5 % limit {100 * found.ece.high:.2f}"
    text.append(f"{'expected calibration error':<26} {100 * found.ece.value:.2f} % ({limit})")
    shown = found.per_class.copy()
    for column in ("recall", "recall_low", "recall_high", "precision", "f1"):
        shown[column] = (100 * shown[column]).map("{:.1f}".format).where(shown[column].notna(), "-")
    text += ["", "each class, in per cent", *shown.to_string(index=False).splitlines()]
    text += ["", "confusion (rows: the class given, columns: the class predicted)"]
    text += found.confusion.to_string().splitlines()
    notes = [f"not counted: {n} picture(s), {why}" for _, why, n in pictures.unnamed_folders.to_numpy()]
    notes += [f"{n} picture(s) of {name!r} dropped: no such class" for name, n in pictures.dropped.to_numpy()]
    if pictures.n_resized:
        notes.append(f"{pictures.n_resized} picture(s) resized to 48 x 48: they are taken for ready face crops")
    others = pictures.excluded[~pictures.excluded["reason"].isin(pictures.unnamed_folders["reason"])]
    notes += [
        f"{len(sources)} other file(s) or folder(s) left alone, such as {sources[0]}: {reason}"
        for reason, sources in _left_alone(others)
    ]
    return [*text, *([""] if notes else []), *notes]


def _percent(interval: Interval) -> str:
    limits = f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]" if interval.low == interval.low else "no interval"
    return f"{100 * interval.value:.2f} % {limits}"
