"""What the Snakefile and `emolib run` share: a job's files, the call of Snakemake, and which jobs failed.

Snakemake alone decides what runs and when. Below ``data/runs/<study>/``: ``.done/<stage>/<variant>`` marks a job that
Snakemake has completed, ``.logs/<stage>/<variant>.log`` is what papermill and the notebook wrote while running.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emolib import atomic, notebooks, progress
from emolib.roots import project_root, study_folder
from emolib.study import Job, Study

Jobs = Mapping[tuple[str, str], Job]  # by (study, "stage/variant"), see `emolib.study.load_all`


@dataclass(frozen=True)
class Failed:
    """A job that failed: the last line of its traceback, and where to read on."""

    job: Job
    summary: str
    where: Path


def marker_folder(study: str) -> Path:
    """Folder of the markers of a study's completed jobs."""
    return study_folder(study) / ".done"


def marker(job: Job) -> Path:
    """File that says that Snakemake has completed `job`; it holds the fingerprint of the run."""
    return marker_folder(job.study) / job.stage / job.variant


def text_log(job: Job) -> Path:
    """What papermill and the notebook's standard output and error wrote, as it came."""
    return study_folder(job.study) / ".logs" / job.stage / f"{job.variant}.log"


def upstream(job: Job, jobs: Jobs) -> list[Job]:
    """The jobs that `job` needs, of its own study or of its base."""
    return [jobs[job.study if (job.study, name) in jobs else job.base, name] for name in job.upstream]


def beside(job: Job) -> list[Path]:
    """``run.json`` of the runs of other studies that `job` reads, of those that are there: a newer one outdates it."""
    runs = (name.partition("/") for name in job.beside)  # no markers: Snakemake would look for a rule that makes them
    return [file for study, _, run in runs if (file := study_folder(study) / run / "run.json").is_file()]


def library(job: Job) -> list[Path]:
    """emolib's source files that `job` depends on, relative to the repository where they lie in it."""
    root = project_root()
    return [file.relative_to(root) if file.is_relative_to(root) else file for file in _modules_of(job.notebook)]


_modules_of = functools.cache(notebooks.modules_of)  # the same for all variants of a stage


def drop_outdated_markers(jobs: Iterable[Job]) -> list[Job]:
    """Remove markers whose run is missing or was replaced since (by a notebook run by hand); returns those jobs."""
    dropped = []
    for job in jobs:
        mark, run = marker(job), job.folder / "run.json"
        if mark.is_file() and (not run.is_file() or run.stat().st_mtime > mark.stat().st_mtime):
            mark.unlink()
            dropped.append(job)
    return dropped


def command(
    studies: Sequence[Study], *, cores: int | None, until: str | None = None, profile: str | None = None,
    force: bool = False, dry_run: bool = False,
) -> list[str]:  # fmt: skip
    """The Snakemake call for `studies`, up to stage or "stage/variant" `until`; `force` runs again what is complete.

    Parameters
    ----------
    cores : None: all of this machine, or what the profile says.
    profile : name of a folder in ``profiles/``, or path of one; None: ``local``.
    """
    # No lock files, which a kill would leave behind: `run` holds a lock that dies with its process.
    root = str(project_root())
    call = [sys.executable, "-m", "snakemake", "--snakefile", f"{root}/Snakefile", "--directory", root]
    call += ["--nocolor", "--nolock", "--keep-going", "--rerun-incomplete"]
    call += ["--workflow-profile", "none", "--profile", str(find_profile(profile or "local"))]
    if cores is not None:
        call += ["--cores", str(cores)]
    if force:
        wanted = (job for study in studies for job in (study.with_upstream([until]) if until else study.jobs))
        call += ["--forcerun", *dict.fromkeys(str(marker(job)) for job in wanted)]
    if dry_run:
        call += ["--dry-run"]
    targets = [str(marker(job)) for study in studies for job in (study.select(until) if until else ())]
    files = ":".join(str(study.path) for study in studies)
    return [*call, "--config", f"study={files}", "--", *(dict.fromkeys(targets) or ["stages"])]


def find_profile(name: str) -> Path:
    """Folder of the profile `name`: a path, or a folder of ``profiles/``; ValueError that names those there are."""
    known = project_root() / "profiles"
    for folder in (Path(name), known / name):
        if (folder / "config.yaml").is_file():
            return folder.resolve()
    there = ", ".join(sorted(file.parent.name for file in known.glob("*/config.yaml"))) or "none"
    raise ValueError(f"profile {name!r}: neither a folder with a config.yaml nor one of profiles/: {there}")


def run(
    studies: Sequence[Study], jobs: Jobs, call: Sequence[str], *, verbose: bool = False
) -> tuple[int, list[Failed]]:
    """Call Snakemake, with one progress line for the whole; returns its exit status and the jobs that failed.

    Raises
    ------
    ValueError
        Another process works on one of the studies, or on a base of theirs.
    """
    log_file = study_folder(studies[0].name) / ".workflow.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        # Snakemake inherits the locks: should this process be killed, the study is free when Snakemake has ended too.
        locks = [held.enter_context(_locked(study)) for study in sorted({study for study, _ in jobs})]
        log = held.enter_context(log_file.open("w", encoding="utf-8"))
        drop_outdated_markers(jobs.values())
        child = subprocess.Popen(
            call,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno() for lock in locks],
            cwd=project_root(),
            env=_environment(),
            start_new_session=True,  # so that the jobs can be interrupted together, see below
        )
        logs = {key: text_log(job) for key, job in jobs.items()}
        title = ", ".join(study.name for study in studies)
        try:
            seen = progress.follow(title, child, log_file, logs, verbose=verbose)
        except BaseException:
            # To the whole group: Snakemake cancels what it submitted to a cluster, local jobs end by themselves.
            os.killpg(child.pid, signal.SIGINT)
            child.wait()
            raise
    failed = [_failure(jobs[key], log_file) for key in seen.failed]
    if child.returncode != 0 and not failed:
        text = log_file.read_text("utf-8").strip()
        raise ValueError(f"Snakemake gave up: {text.splitlines()[-1] if text else 'no word'}  (all of it: {log_file})")
    return child.returncode, failed


@contextlib.contextmanager
def _locked(study: str):
    try:
        with atomic.locked(study_folder(study) / ".workflow.lock", wait=False) as lock:
            yield lock
    except BlockingIOError as error:
        raise ValueError(f"study {study}: another 'emolib run' is at work on it; wait for it or stop it") from error


def preview(jobs: Jobs, call: Sequence[str], *, verbose: bool = False) -> int:
    """Show which jobs would run and why (`call`: a `command` with ``dry_run``); returns Snakemake's exit status.

    Parameters
    ----------
    verbose : show Snakemake's own account, too, with all files of every job.
    """
    drop_outdated_markers(jobs.values())
    said = subprocess.run(
        call, cwd=project_root(), env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if verbose or said.returncode:
        print(said.stdout)
    would = progress.Progress(frozenset(jobs))
    for line in said.stdout.splitlines():
        would.read(line)
    for key in (key for key in jobs if key in would.reasons):
        print(f"{key[0]}: {key[1]}  ({progress.short_reason(would.reasons[key])})")
    print(f"{len(would.reasons)} of {len(jobs)} jobs would run")
    return said.returncode


def _environment() -> dict[str, str]:
    # The Snakefile calls plain `python`, which is this one also where no virtual environment is active.
    folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "EMOLIB_ROOT": str(project_root()),
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _failure(job: Job, log_file: Path) -> Failed:
    failure = notebooks.failure_of(job.executed) if job.executed.is_file() else None
    if failure is not None:
        return Failed(job, failure.summary, job.executed)
    log = text_log(job)
    if not log.is_file() or not log.stat().st_size:  # as when a cluster refuses it
        return Failed(job, "it did not start; Snakemake says why", log_file)
    return Failed(job, progress.last_words(log), log)  # papermill or its kernel died, or the notebook finished no run
