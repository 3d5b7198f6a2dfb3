"""The mini study through Snakemake, end to end, and what can be checked of the workflow without it."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mini_study import STUDY, make_project, write_study
from typer.testing import CliRunner

from emolib import atomic, labels, notebooks, pages, progress, runs, study, workflow
from emolib.cli import app


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


def emolib(*arguments):
    return subprocess.run([sys.executable, "-m", "emolib.cli", *arguments], capture_output=True, text=True, timeout=150)


BESIDE = {"study": "beside", "stages": {"draw": {"notebook": "a", "params": {"fused": ["mini/draw/main"]}}}}


def would_run(shown):
    """Jobs that a dry run named."""
    return set(re.findall(r"^(\w+: \w+/[\w.]+)  \(.+\)$", shown.stdout, re.M))


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


def test_only_what_changed_runs_again(project, monkeypatch):
    shutil.copytree(Path(labels.__file__).parent, project / "emolib", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(project))  # a library of the project's own, so that it can be changed
    content = copy.deepcopy(STUDY)
    del content["stages"]["scale"]["variants"]["bad"]
    file = write_study(project, content)
    everything = {"mini: draw/main", "mini: scale/one", "mini: scale/x2.0", "mini: sum_up/main"}
    behind_draw = everything - {"mini: draw/main"}
    assert emolib("run", str(file), "--cores", "2").returncode == 0

    def would_run_if(change):
        changed = copy.deepcopy(content)
        change(changed["stages"])
        write_study(project, changed)
        return would_run(emolib("run", str(file), "--dry-run"))

    of_one = would_run_if(lambda stages: stages["scale"]["variants"]["one"].update(factor=3.0))
    assert of_one == {"mini: scale/one", "mini: sum_up/main"}
    module = project / "emolib" / "labels.py"
    module.write_text(module.read_text() + "# changed\n")
    assert would_run_if(lambda stages: None) == behind_draw, "only notebook b imports labels"
    assert "(changed: emolib/labels.py)" in emolib("run", str(file), "--dry-run").stdout
    module.write_text(module.read_text().removesuffix("# changed\n"))

    # The same computation again outdates nothing that was made from it; another one does, also when cut short there.
    write_study(project, content)
    assert emolib("run", str(file), "--until", "draw", "--force").returncode == 0
    assert would_run_if(lambda stages: None) == set()
    content["stages"]["draw"]["params"]["n"] = 5
    write_study(project, content)
    beside = write_study(project, BESIDE, "beside")
    assert emolib("run", str(beside)).returncode == 0
    assert would_run(emolib("run", str(beside), "--dry-run")) == set()
    assert emolib("run", str(file), "--until", "draw").returncode == 0
    assert would_run_if(lambda stages: None) == behind_draw
    assert would_run(emolib("run", str(beside), "--dry-run")) == {"beside: draw/main"}, "what it reads has changed"


def test_two_studies_on_one_base_share_its_runs(project):
    derived = {"study": "second", "base": "mini", "stages": {
        "scale": {"notebook": "b", "needs": ["draw"], "variants": {"x5": {"factor": 5.0}}},
        "sum_up": {"notebook": "c", "needs": ["scale/one", "scale/x5"],
                   "variants": {"of_base": {"of": "one"}, "own": {"of": "x5"}}},
    }}  # fmt: skip
    third = {"study": "third", "base": "mini", "stages": {
        "scale": {"notebook": "b", "needs": ["draw"], "variants": {"x7": {"factor": -7.0}}},
        "sum_up": {"notebook": "c", "needs": ["scale"], "variants": {"x7": {"of": "x7"}}},
    }}  # fmt: skip
    files = [str(write_study(project, content, content["study"])) for content in (derived, third)]
    done = emolib("run", *files, "--cores", "2")
    assert done.returncode == 1, done.stderr
    assert "third: scale/x7 failed" in done.stderr and "mini: scale/bad failed" in done.stderr
    assert "8/9 jobs" in done.stderr, "the base's jobs once for both; what waits for a failed one has not run"
    found = runs.load("second", "sum_up", "of_base")
    assert list(found.info["inputs"]) == ["mini/scale/one"] and found.metrics == {
        "accuracy": runs.load("mini", "scale", "one").metrics["sum"]
    }
    assert list(runs.load("second", "sum_up", "own").info["inputs"]) == ["scale/x5"]
    assert runs.list_variants("mini", "scale") == ["one", "x2.0"] and not runs.list_variants("mini", "sum_up")
    html = (project / "reports" / "third" / "index.html").read_text()
    assert "built on 4 runs of study <code>mini</code>" in html and "0 of 2 runs complete" in html
    assert "Not run, because it needs scale/bad (failed), scale/x7 (failed)." in html
    assert '<a href="scale/one.html">one</a>' in html
    assert "<strong>scale/bad</strong> of study <code>mini</code>" in html


PROGRESS = """Job stats:
job       count
------  -------
draw          2
scale         1
stages        1
total         4

localrule draw:
    input: notebooks/a.ipynb
    jobid: 1
    reason: Missing output files: .done/draw/main
    wildcards: study=mini, variant=main
    resources: tmpdir=/tmp
Finished jobid: 1 (Rule: draw)
1 of 4 steps (25%) done
rule draw:
    jobid: 3
    wildcards: study=base, variant=main
rule scale:
    jobid: 2
    wildcards: study=mini, variant=x-2.0
Error in rule scale:
    message: None
    jobid: 2
    shell:
        python -m papermill
Finished jobid: 3 (Rule: draw)
localrule stages:
    jobid: 0
Finished jobid: 0 (Rule: stages)
"""


def test_progress_is_read_from_snakemakes_log():
    draw, of_base, scale = ("mini", "draw/main"), ("base", "draw/main"), ("mini", "scale/x-2.0")
    seen = progress.Progress(frozenset({draw, of_base, scale}))
    states = []
    for line in PROGRESS.splitlines():
        seen.read(line)
        states.append((len(seen.done), tuple(seen.running)))
    assert seen.total == 3 and seen.done == [draw, of_base] and seen.failed == [scale]
    assert (0, (draw,)) in states and (1, (of_base, scale)) in states and (1, (of_base,)) in states
    assert seen.running == []


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
    assert progress.last_words(tmp_path / "log") == expected
    assert progress.last_words(tmp_path / "absent") == "starting"


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
    assert workflow.drop_outdated_markers(loaded.jobs) == [replaced, gone]
    assert [workflow.marker(job).exists() for job in loaded.jobs[:3]] == [True, False, False]


def test_one_workflow_a_study_at_a_time(project):
    loaded, jobs = study.load_all([project / "params" / "mini.yaml"])
    with (
        atomic.locked(project / "data" / "runs" / "mini" / ".workflow.lock"),
        pytest.raises(ValueError, match="another 'emolib run'"),
    ):
        workflow.run(loaded, jobs, ["false"])


def test_what_snakemake_says_when_it_gives_up_is_passed_on(project):
    loaded, jobs = study.load_all([project / "params" / "mini.yaml"])
    call = [sys.executable, "-c", "import sys; print('first'); sys.exit('no such profile')"]
    with pytest.raises(ValueError, match="Snakemake gave up: no such profile"):
        workflow.run(loaded, jobs, call)


def test_the_call_of_snakemake(project):
    loaded = study.load(project / "params" / "mini.yaml")
    plain = workflow.command([loaded], cores=None)
    assert plain[-1] == "stages" and "--keep-going" in plain and "--cores" not in plain, "the profile says how many"
    assert plain[plain.index("--profile") + 1] == str(project / "profiles" / "local")
    some = workflow.command([loaded], cores=1, until="scale", force=True)
    assert some[some.index("--") + 1 :] == [str(workflow.marker(job)) for job in loaded.select("scale")]
    forced = some[some.index("--forcerun") + 1 : some.index("--config")]
    assert forced == [str(workflow.marker(job)) for job in loaded.jobs[:4]]
    assert some[some.index("--cores") + 1] == "1"


def test_a_profile_is_a_name_or_a_folder(project, tmp_path):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "config.yaml").write_text("executor: slurm\n")
    assert workflow.find_profile("slurm") == project / "profiles" / "slurm"
    assert workflow.find_profile(str(tmp_path / "cluster")) == tmp_path / "cluster"
    with pytest.raises(ValueError, match="profile 'cluster': neither .* nor one of profiles/: local, slurm"):
        workflow.find_profile("cluster")


def test_a_dry_run_names_the_jobs_and_makes_nothing(project):
    shown = emolib("run", str(project / "params" / "mini.yaml"), "--dry-run", "--until", "scale/one")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines() == [
        "mini: draw/main  (not run yet)",
        "mini: scale/one  (not run yet; after draw/main)",
        "2 of 5 jobs would run",
    ]
    assert not list((project / "data" / "runs" / "mini").glob("*/*.ipynb")) and not (project / "reports").exists()


def test_a_notebook_that_dies_without_an_error_cell_is_named_by_its_log(project):
    job = study.load(project / "params" / "mini.yaml").jobs[0]
    log = workflow.text_log(job)
    log.parent.mkdir(parents=True)
    log.write_text("Executing Cell 4---\nnbclient.exceptions.DeadKernelError: Kernel died\n")
    failed = workflow._failure(job, project / "snakemake.log")
    assert failed.summary == "nbclient.exceptions.DeadKernelError: Kernel died" and failed.where == log
    log.write_text("")
    failed = workflow._failure(job, project / "snakemake.log")
    assert "did not start" in failed.summary and failed.where == project / "snakemake.log"


def test_the_report_of_a_study_that_has_not_run(project):
    result = CliRunner().invoke(app, ["report", "mini"])
    assert result.exit_code == 0, result.output
    assert "0 of 5 runs complete" in (project / "reports" / "mini" / "index.html").read_text()
