"""What the Snakefile and `emolib run` share: a job's files, the call of Snakemake, its progress and its failures.

Snakemake alone decides what runs and when. Below ``data/runs/<study>/``: ``.done/<stage>/<variant>`` marks a job that
Snakemake has completed, ``.logs/<stage>/<variant>.log`` is what papermill and the notebook wrote while running.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from emolib import atomic, notebooks
from emolib.roots import project_root, study_folder
from emolib.study import Job, Study

REFRESH_S = 1.0
# Lines of papermill and the kernel that say nothing of how far a notebook is
NOISE = re.compile(r"Ending Cell|(In|Out)put Notebook:|Executing notebook with|\[IPKernelApp\]|-*$")


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
    """File that says that Snakemake has completed `job`."""
    return marker_folder(job.study) / job.stage / job.variant


def text_log(job: Job) -> Path:
    """What papermill and the notebook's standard output and error wrote, as it came."""
    return study_folder(job.study) / ".logs" / job.stage / f"{job.variant}.log"


def upstream_markers(study: Study, job: Job) -> list[Path]:
    """Markers of the jobs that `job` needs."""
    return [marker(other) for other in study.jobs if other.name in job.upstream]


def library(job: Job) -> list[Path]:
    """emolib's source files that `job` depends on, relative to the repository where they lie in it."""
    root = project_root()
    return [
        file.relative_to(root) if file.is_relative_to(root) else file for file in notebooks.modules_of(job.notebook)
    ]


def drop_outdated_markers(study: Study) -> list[Job]:
    """Remove markers whose run is missing or was replaced since (by a notebook run by hand); returns those jobs."""
    dropped = []
    for job in study.jobs:
        mark, run = marker(job), job.folder / "run.json"
        if mark.is_file() and (not run.is_file() or run.stat().st_mtime > mark.stat().st_mtime):
            mark.unlink()
            dropped.append(job)
    return dropped


def command(
    study: Study, *, cores: int | None, until: str | None = None, profile: str | None = None, force: bool = False,
    dry_run: bool = False,
) -> list[str]:  # fmt: skip
    """The Snakemake call for a study, up to stage or "stage/variant" `until`; `force` runs again what is complete."""
    # No lock files, which a kill would leave behind: `run` holds a lock that dies with its process.
    call = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(project_root() / "Snakefile"),
        "--nocolor",
        "--nolock",
    ]
    call += ["--directory", str(project_root()), "--keep-going", "--rerun-incomplete"]
    if cores is not None or profile is None:
        call += ["--cores", str(cores or "all")]
    if profile is not None:
        call += ["--profile", profile]
    wanted = study.with_upstream([until]) if until else list(study.jobs)
    if force:
        call += ["--forcerun", *(job.name for job in wanted)]
    if dry_run:
        call += ["--dry-run"]
    targets = [str(marker(job)) for job in (study.select(until) if until else ())] or ["stages"]
    return [*call, "--config", f"study={study.path}", "--", *targets]


@dataclass
class Progress:
    """Reads Snakemake's log line by line; pure, so that a test can feed it."""

    names: frozenset[str]
    total: int = 0
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def read(self, line: str) -> None:
        """Take one line into account."""
        if found := re.fullmatch(r"(?:local)?rule (.+):", line):
            if found[1] in self.names:
                self.running.append(found[1])
        elif found := re.fullmatch(r"Finished jobid: \d+ \(Rule: (.+)\)", line):
            self._end(found[1], self.done)
        elif found := re.fullmatch(r"Error in rule (.+):", line):
            self._end(found[1], self.failed)
        elif (found := re.fullmatch(r"(.+?)\s+(\d+)", line)) and found[1] in self.names:  # the table of job counts
            self.total += int(found[2])

    def _end(self, name: str, where: list[str]) -> None:
        if name in self.running:
            self.running.remove(name)
        if name in self.names and name not in where:
            where.append(name)


def run(study: Study, call: Sequence[str], *, verbose: bool = False) -> tuple[int, list[Failed]]:
    """Call Snakemake, with one progress line for the whole; returns its exit status and the jobs that failed.

    Raises
    ------
    ValueError
        Another process works on the same study.
    """
    folder = study_folder(study.name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".workflow.log"
    try:
        # Snakemake inherits the lock: should this process be killed, the study is free when Snakemake has ended too.
        with atomic.locked(folder / ".workflow.lock", wait=False) as lock, path.open("w", encoding="utf-8") as log:
            drop_outdated_markers(study)
            child = subprocess.Popen(
                call,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                cwd=project_root(),
                env=_environment(),
                start_new_session=True,  # so that the jobs can be interrupted together, see below
            )
            try:
                progress = _follow(study, child, path, verbose=verbose)
            except BaseException:
                # Snakemake alone would wait for its running jobs, which may take hours; theirs is the same group.
                os.killpg(child.pid, signal.SIGTERM)
                child.wait()
                raise
    except BlockingIOError as error:
        raise ValueError(
            f"study {study.name}: another 'emolib run' is at work on it; wait for it or stop it"
        ) from error
    failed = [_failure(job) for job in study.jobs if job.name in progress.failed]
    if child.returncode != 0 and not failed:
        raise ValueError(f"Snakemake gave up: {path.read_text('utf-8').strip().splitlines()[-1]}  (all of it: {path})")
    return child.returncode, failed


def preview(study: Study, call: Sequence[str]) -> int:
    """Show what Snakemake would do (a `command` with ``dry_run``); returns its exit status."""
    drop_outdated_markers(study)
    return subprocess.run(call, cwd=project_root(), env=_environment()).returncode


def _environment() -> dict[str, str]:
    # The Snakefile calls plain `python`, which is this one also where no virtual environment is active.
    folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "EMOLIB_ROOT": str(project_root()),
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _follow(study: Study, child: subprocess.Popen, path: Path, *, verbose: bool) -> Progress:
    progress = Progress(frozenset(job.name for job in study.jobs))
    jobs = {job.name: job for job in study.jobs}
    columns = shutil.get_terminal_size((120, 24)).columns
    layout = "{desc} {n_fmt}/{total_fmt} jobs [{elapsed}, {remaining} left]{postfix}"
    with path.open(encoding="utf-8") as log, tqdm(desc=study.name, bar_format=layout, file=sys.stderr) as bar:
        ended = False
        while not ended:
            ended = child.poll() is not None  # asked first, so that the last lines are read after the end
            for line in log:
                progress.read(line.rstrip("\n"))
                if verbose:
                    tqdm.write(line.rstrip("\n"), file=sys.stderr)
            bar.total, bar.n = progress.total, len(progress.done) + len(progress.failed)
            now = " | ".join(f"{name}: {_last_words(text_log(jobs[name]))}" for name in progress.running)
            bar.set_postfix_str(now[: max(columns - 45, 20)], refresh=True)
            if not ended:
                time.sleep(REFRESH_S)
    return progress


def _last_words(log: Path) -> str:
    """The last line (or state of a progress bar) in a log that is being written."""
    if not log.is_file():
        return "starting"
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 2000, 0))
        lines = [line.strip() for line in re.split(r"[\r\n]+", file.read().decode("utf-8", "replace"))]
    return next((line.rstrip("-") for line in reversed(lines) if not NOISE.match(line)), "starting")


def _failure(job: Job) -> Failed:
    failure = notebooks.failure_of(job.executed) if job.executed.is_file() else None
    if failure is not None:
        return Failed(job, failure.summary, job.executed)
    return Failed(job, _last_words(text_log(job)), text_log(job))  # papermill itself failed, or its kernel was killed
