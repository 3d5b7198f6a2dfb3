"""The mini study through Snakemake, end to end, and what can be checked of the workflow without it."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from mini_study import STUDY, make_project, write_study
from typer.testing import CliRunner

from emolib import atomic, notebooks, pages, runs, study, workflow
from emolib.cli import app


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


def emolib(*arguments):
    return subprocess.run([sys.executable, "-m", "emolib.cli", *arguments], capture_output=True, text=True, timeout=150)


def times(loaded):
    return {job.name: (job.folder / "run.json").stat().st_mtime_ns for job in loaded.jobs if job.is_complete}


def test_the_mini_study_end_to_end(project, monkeypatch):
    monkeypatch.chdir(project / "params")  # any folder will do
    file = project / "params" / "mini.yaml"
    loaded = study.load(file)

    # One variant fails: the others are done, the failure is named, the report is there.
    first = emolib("run", str(file), "--cores", "2")
    assert first.returncode == 1, first.stderr
    executed = loaded.select("scale/bad")[0].executed
    assert f"scale/bad failed: AssertionError: factor must be positive  ({executed})" in first.stderr
    assert "Traceback" not in first.stderr and "5/5 jobs" in first.stderr
    before = times(loaded)
    assert set(before) == {"draw/main", "scale/one", "scale/x2.0", "sum_up/main"}
    assert notebooks.failure_of(executed).summary == "AssertionError: factor must be positive"
    assert not notebooks.ran_to_the_end(executed)
    assert all(notebooks.ran_to_the_end(job.executed) for job in loaded.jobs if job.is_complete)
    index = project / "reports" / "mini" / "index.html"
    assert first.stdout.strip() == f"report: {index}"
    assert runs.load("mini", "draw").params == {"n": 4, "seed": 7}
    for page in index.parent.rglob("*.html"):
        assert pages.external_requests(page.read_text()) == [] and "<script" not in page.read_text(), page

    # The failure is mended, another variant fails instead, one run was removed: these three run, and nothing else does.
    content = yaml.safe_load(yaml.safe_dump(STUDY))
    content["stages"]["scale"]["variants"] = {"one": {"factor": 1.0}, "bad": {"factor": 3.0}, "x2.0": {"factor": -2.0}}
    del content["stages"]["scale"]["grids"]
    write_study(project, content)
    (loaded.select("sum_up")[0].folder / "run.json").unlink()
    second = emolib("run", str(file), "--cores", "2")
    assert second.returncode == 1 and "scale/x2.0 failed" in second.stderr and "3/3 jobs" in second.stderr
    after = times(loaded)
    assert {name for name in after if after[name] != before.get(name)} == {"scale/bad", "sum_up/main"}
    assert runs.load("mini", "scale", "x2.0").params["factor"] == 2.0, "the complete run of before is kept"
    assert "An older complete run is kept" in index.read_text()


PROGRESS = """Job stats:
job            count
-----------  -------
draw/main          1
scale/x-2.0        1
stages             1
total              3

localrule draw/main:
    jobid: 1
Finished jobid: 1 (Rule: draw/main)
1 of 3 steps (33%) done
rule scale/x-2.0:
    jobid: 2
Error in rule scale/x-2.0:
    message: None
Finished jobid: 0 (Rule: stages)
"""


def test_progress_is_read_from_snakemakes_log():
    progress = workflow.Progress(frozenset({"draw/main", "scale/x-2.0"}))
    states = []
    for line in PROGRESS.splitlines():
        progress.read(line)
        states.append((len(progress.done), tuple(progress.running)))
    assert progress.total == 2 and progress.done == ["draw/main"] and progress.failed == ["scale/x-2.0"]
    assert (0, ("draw/main",)) in states and (1, ("scale/x-2.0",)) in states and progress.running == []


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "starting"),
        ("Executing Cell 4-----\n", "Executing Cell 4"),
        ("Executing Cell 4---\ntrain  10%\rtrain  50%\r", "train  50%"),
        ("epoch 3\nEnding Cell 9-----\n[IPKernelApp] WARNING | x\n", "epoch 3"),
    ],
)
def test_last_words_of_a_running_notebook(tmp_path, log, expected):
    (tmp_path / "log").write_text(log)
    assert workflow._last_words(tmp_path / "log") == expected
    assert workflow._last_words(tmp_path / "absent") == "starting"


def finished(job):
    runs.begin(stage=job.stage, variant=job.variant, study=job.study, params=job.params).finish()
    workflow.marker(job).parent.mkdir(parents=True, exist_ok=True)
    workflow.marker(job).touch()


def test_markers_without_a_run_or_of_a_replaced_run_are_dropped(project):
    loaded = study.load(project / "params" / "mini.yaml")
    good, replaced, gone = loaded.jobs[:3]
    for job in (good, replaced, gone):
        finished(job)
    os.utime(workflow.marker(replaced), (1, 1))
    (gone.folder / "run.json").unlink()
    assert workflow.drop_outdated_markers(loaded) == [replaced, gone]
    assert [workflow.marker(job).exists() for job in loaded.jobs[:3]] == [True, False, False]


def test_one_workflow_a_study_at_a_time(project):
    loaded = study.load(project / "params" / "mini.yaml")
    with (
        atomic.locked(project / "data" / "runs" / "mini" / ".workflow.lock"),
        pytest.raises(ValueError, match="another 'emolib run'"),
    ):
        workflow.run(loaded, ["false"])


def test_what_snakemake_says_when_it_gives_up_is_passed_on(project):
    loaded = study.load(project / "params" / "mini.yaml")
    call = [sys.executable, "-c", "import sys; print('first'); sys.exit('no such profile')"]
    with pytest.raises(ValueError, match="Snakemake gave up: no such profile"):
        workflow.run(loaded, call)


def test_the_call_of_snakemake(project):
    loaded = study.load(project / "params" / "mini.yaml")
    plain = workflow.command(loaded, cores=None)
    assert plain[plain.index("--cores") + 1] == "all" and plain[-1] == "stages" and "--keep-going" in plain
    some = workflow.command(loaded, cores=1, until="scale", force=True)
    assert some[some.index("--") + 1 :] == [str(workflow.marker(job)) for job in loaded.select("scale")]
    forced = some[some.index("--forcerun") + 1 : some.index("--config")]
    assert forced == ["draw/main", "scale/one", "scale/bad", "scale/x2.0"]
    assert "--cores" not in workflow.command(loaded, cores=None, profile="cluster")


def test_a_dry_run_names_the_jobs_and_makes_nothing(project):
    shown = emolib("run", str(project / "params" / "mini.yaml"), "--dry-run", "--until", "scale/one")
    assert shown.returncode == 0, shown.stderr
    assert set(re.findall(r"^(?:local)?rule (.+):$", shown.stdout + shown.stderr, re.M)) == {"draw/main", "scale/one"}
    assert not list((project / "data" / "runs" / "mini").glob("*/*.ipynb")) and not (project / "reports").exists()


def test_a_notebook_that_dies_without_an_error_cell_is_named_by_its_log(project):
    job = study.load(project / "params" / "mini.yaml").jobs[0]
    log = workflow.text_log(job)
    log.parent.mkdir(parents=True)
    log.write_text("Executing Cell 4---\nnbclient.exceptions.DeadKernelError: Kernel died\n")
    failed = workflow._failure(job)
    assert failed.summary == "nbclient.exceptions.DeadKernelError: Kernel died" and failed.where == log


def test_the_report_of_a_study_that_has_not_run(project):
    result = CliRunner().invoke(app, ["report", "mini"])
    assert result.exit_code == 0, result.output
    assert "0 of 5 runs complete" in (project / "reports" / "mini" / "index.html").read_text()
