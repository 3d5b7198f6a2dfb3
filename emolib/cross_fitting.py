"""Any model over the subject-wise folds, seeds and inner folds of a table of performances, a process a core.

A model is a function ``fit(parts) -> Fitted``: it learns from `parts.train`, stops and chooses by `parts.validation`
and answers for `parts.predict`. For each outer fold and seed it is fitted once; with `inner_folds` = k also k times
more, each time without a k-th of the fold's training and validation *subjects*, whom it then answers for. These
`out_of_fold` posteriors are what a fusion may learn from (Wolpert 1992, "Stacked generalization"): no model that gives
one has seen the subject.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib import atomic, performances, posteriors, provenance
from emolib.folds import Fold, subject_folds

INNER_VALIDATION_SHARE = 0.2  # of the subjects an inner model learns from: they stop it


@dataclass(frozen=True)
class Parts:
    """Positions in the table of performances, int64, rising: what one fit may learn from, stop by and must answer."""

    train: np.ndarray
    validation: np.ndarray
    predict: np.ndarray
    seed: int


@dataclass(frozen=True)
class Fitted:
    """What a fit says: posterior float [len(predict), C], and tables of its own, such as attention or history.

    A table with a column `row` (position in the table of performances) is given the performance's id instead.
    """

    posterior: np.ndarray
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class CrossFitted:
    """`posteriors`: the posterior table of all fits; `tables`: theirs, with `fold`, `seed` and `inner` (-1: outer)."""

    posteriors: pd.DataFrame
    tables: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class _Job:
    fold: int
    inner: int  # -1: the fold's own model
    parts: Parts
    subset: np.ndarray  # of each row of parts.predict

    @property
    def name(self) -> str:
        return f"fold{self.fold}-seed{self.parts.seed}-inner{self.inner}"


def cross_fit(
    fit: Callable[[Parts], Fitted],
    table: pd.DataFrame,
    *,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    classes: Sequence[str],
    inner_folds: int = 0,
    keep: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> CrossFitted:
    """Fit a model on every fold, seed and inner fold.

    Parameters
    ----------
    fit : can be pickled (a module's function, `functools.partial` of one); deterministic given `parts.seed`. It is
        called in a process with one thread, unless `workers` is 1.
    table : performances (`performances.checked`); subject is read.
    folds : positions in `table`; where validation and test are the same (protocol `reference`), subset "test" is both.
    seeds : of the fits, unique.
    inner_folds : 0 for none, else 2 or more.
    keep : folder in which each finished fit is kept, so that a killed run resumes (`Run.checkpoints`). One of another
        `fit` (its data and options are part of it), other folds, classes or sources of emolib is made again.
    workers : processes; None: one a core.

    Raises
    ------
    ValueError
        Seeds are not unique, `inner_folds` is 1 or more than there are subjects, or a fit's posteriors are none (its
        fold and seed are named).
    """
    seeds = [int(seed) for seed in seeds]
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ValueError(f"seeds: {seeds} received, one or more different ones are allowed")
    if inner_folds < 0 or inner_folds == 1:
        raise ValueError(f"inner_folds: {inner_folds} received, 0 (none) or 2 and more are allowed")
    subject = table["subject"].to_numpy()
    jobs = [job for seed in seeds for fold in folds for job in _jobs(fold, subject, seed=seed, inner_folds=inner_folds)]
    n_workers = joblib.cpu_count() if workers is None else workers
    made_by = [joblib.hash(fit), provenance.hash_sources()] if keep else []
    plans = {job.name: _plan(job, [*made_by, *classes]) for job in jobs}
    found = {job.name: done for job in jobs if keep and (done := _kept(keep / job.name, plans[job.name]))}
    todo = [job for job in jobs if job.name not in found]
    with tqdm(total=len(jobs), initial=len(found), desc="fits", disable=not progress) as bar:
        for name, done in _run(fit, todo, n_workers):
            found[name] = done
            if keep:
                _keep(done, keep / name, plan=plans[name])
            bar.update()
    return _collected(jobs, found, table, classes)


def _jobs(fold: Fold, subject: np.ndarray, *, seed: int, inner_folds: int) -> Iterator[_Job]:
    """The fold's own model, then its inner ones."""
    same = np.array_equal(fold.validation, fold.test)
    named = (("train", fold.train), *(() if same else (("validation", fold.validation),)), ("test", fold.test))
    predict = np.concatenate([rows for _, rows in named])
    subset = np.repeat([name for name, _ in named], [len(rows) for _, rows in named])
    order = np.argsort(predict, kind="stable")
    yield _Job(fold.fold, -1, Parts(fold.train, fold.validation, predict[order], seed), subset[order])
    if not inner_folds:
        return
    known = fold.train if same else np.sort(np.concatenate([fold.train, fold.validation]))
    part = subject_folds(subject[known], n_folds=inner_folds, seed=seed)
    for inner in range(inner_folds):
        rest, out = known[part != inner], known[part == inner]
        people = np.unique(subject[rest])
        if len(people) < 2:
            raise ValueError(f"inner_folds: {inner_folds} of fold {fold.fold} leave one subject to learn from")
        n_stop = max(1, round(INNER_VALIDATION_SHARE * len(people)))
        stops = np.random.default_rng([seed, fold.fold, inner]).choice(people, n_stop, replace=False)
        of_stop = np.isin(subject[rest], stops)
        yield _Job(fold.fold, inner, Parts(rest[~of_stop], rest[of_stop], out, seed), np.full(len(out), "out_of_fold"))


def _run(fit: Callable, jobs: Sequence[_Job], n_workers: int) -> Iterator[tuple[str, Fitted]]:
    if n_workers == 1 or len(jobs) < 2:
        yield from (_fitted(fit, job) for job in jobs)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=n_workers, return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(_fitted)(fit, job) for job in jobs)


def _fitted(fit: Callable, job: _Job) -> tuple[str, Fitted]:
    done = fit(job.parts)
    if len(done.posterior) != len(job.parts.predict):
        raise ValueError(f"{job.name}: {len(done.posterior)} posteriors for {len(job.parts.predict)} performances")
    sums = np.asarray(done.posterior, dtype=np.float64).sum(axis=1)
    if (wrong := ~((done.posterior >= 0).all(axis=1) & (np.abs(sums - 1) <= posteriors.SUM_TOLERANCE))).any():
        raise ValueError(f"{job.name}: {done.posterior[wrong][0].tolist()} is no posterior ({wrong.sum()} row(s))")
    return job.name, done


def _plan(job: _Job, shared: Sequence[str]) -> str:
    """Hash of what a job learns from and answers for, and of what it shares with all others."""
    digest = hashlib.sha256(repr((job.parts.seed, list(shared))).encode())
    for rows in (job.parts.train, job.parts.validation, job.parts.predict):
        digest.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()


def _keep(done: Fitted, folder: Path, *, plan: str) -> None:
    atomic.remove_abandoned(folder.parent, folder.name)
    temporary = atomic.temporary_folder(folder.parent, folder.name)
    temporary.mkdir(parents=True)
    np.save(temporary / "posterior.npy", done.posterior)
    for name, table in done.tables.items():
        table.to_parquet(temporary / f"{name}.parquet", index=False)
    provenance.write_json(temporary / "plan.json", plan, where="plan")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _kept(folder: Path, plan: str) -> Fitted | None:
    """A fit that was kept; None where there is none, or one of another plan."""
    file = folder / "plan.json"  # missing where a kill fell into its removal
    if not file.is_file() or file.read_text("utf-8").strip() != f'"{plan}"':
        return None
    tables = {file.stem: pd.read_parquet(file) for file in sorted(folder.glob("*.parquet"))}
    return Fitted(np.load(folder / "posterior.npy"), tables)


def _collected(
    jobs: Sequence[_Job], found: Mapping[str, Fitted], table: pd.DataFrame, classes: Sequence[str]
) -> CrossFitted:
    ids = table["performance"].to_numpy()
    answers, own = [], {}
    for job in jobs:
        done = found[job.name]
        of = {"fold": job.fold, "seed": job.parts.seed}
        said = performances.posterior_table(
            ids[job.parts.predict], done.posterior, classes=classes, subset=job.subset, **of
        )
        answers.append(said)
        for name, one in done.tables.items():
            if "row" in one:
                one = one.assign(performance=ids[one["row"].to_numpy()]).drop(columns="row")
            own.setdefault(name, []).append(one.assign(**of, inner=job.inner))
    result = pd.concat(answers, ignore_index=True)
    posteriors.check(result, classes=classes, where="cross_fit", layout=posteriors.PERFORMANCES)
    return CrossFitted(result, {name: pd.concat(parts, ignore_index=True) for name, parts in own.items()})
