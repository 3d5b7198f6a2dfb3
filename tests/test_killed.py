"""A study that is killed at any moment resumes, ends with the same numbers and leaves nothing behind."""

import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mini_study import STUDY, make_project, write_study

from emolib import runs, study, workflow

N_KILLS = 10


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project", monkeypatch)
    content = copy.deepcopy(STUDY)
    del content["stages"]["scale"]["variants"]["bad"], content["stages"]["sum_up"]  # one, then two at a time
    write_study(root, content)
    return root


def start(project):
    call = [sys.executable, "-m", "emolib.cli", "run", str(project / "params" / "mini.yaml"), "--cores", "2"]
    with (project / "said").open("w") as said:
        return subprocess.Popen(call, stdout=said, stderr=said)


def processes(project):
    """Numbers of the processes that work in `project`: emolib, Snakemake, shells, papermill, kernels."""
    mark, found = f"EMOLIB_ROOT={project}\0".encode(), []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int(place.name) != os.getpid() and mark in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found


def kill_all(project):
    while alive := processes(project):  # again, for those that were just being started
        for number in alive:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue


def state(project):
    """What a complete study is: its numbers, and every file that is there but Snakemake's own."""
    jobs = study.load(project / "params" / "mini.yaml").jobs
    found = {job.name: runs.load(job.study, job.stage, job.variant).info for job in jobs}
    files = sorted(str(path.relative_to(project)) for top in ("data", "reports") for path in (project / top).rglob("*"))
    incomplete = [path for path in (project / ".snakemake" / "incomplete").glob("*") if path.is_file()]
    marked = {job.name: workflow.marker(job).read_text() for job in jobs}
    return {name: (info["fingerprint"], info["metrics"]) for name, info in found.items()}, files, incomplete, marked


def finish(project, expected):
    assert start(project).wait() == 0, (project / "said").read_text()
    assert state(project) == expected
    assert "3 of 3 runs complete" in (project / "reports" / "mini" / "index.html").read_text()


def wipe(project):
    for top in ("data", "reports", ".snakemake"):
        shutil.rmtree(project / top)


def test_a_study_killed_at_any_moment_resumes_with_the_same_numbers(project):
    began = time.monotonic()
    assert start(project).wait() == 0
    length_s = time.monotonic() - began
    expected = state(project)
    wipe(project)
    draw = random.Random(2020)
    moments = [length_s * (i + draw.random()) / N_KILLS for i in range(N_KILLS)]  # all over the run's length
    draw.shuffle(moments)
    for moment in moments:
        # On what earlier kills left a run may end before its moment: then it must be whole, and we begin from nothing.
        while True:
            running = start(project)
            try:
                assert running.wait(timeout=moment) == 0, (project / "said").read_text()
            except subprocess.TimeoutExpired:
                kill_all(project)
                running.wait()
                break
            assert state(project) == expected
            wipe(project)
            moment *= 0.95  # faster than the run that was measured
    finish(project, expected)


def test_a_run_that_is_stopped_stops_its_notebooks(project):
    running = start(project)
    while not (project / "data" / "runs" / "mini" / "draw" / "main.ipynb").exists():
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) != 0
    while processes(project):  # a kernel looks once a second whether its parent is there
        pass
    assert not runs.list_variants("mini", "scale")
