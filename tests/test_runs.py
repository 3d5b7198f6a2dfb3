import errno
import json
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from mini_study import make_project

from emolib import atomic, notebooks, provenance, runs, study


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


def make(stage="draw", variant="main", *, n=3, upstream=(), finish=True, **more):
    run = runs.begin(stage=stage, variant=variant, study="mini", params={"n": n, **more}, upstream=upstream)
    run.save_table("numbers", pd.DataFrame({"x": np.arange(n)}))
    if finish:
        run.finish(metrics={"n": n})
    return run


# ---- roots


def test_the_root_is_found_upwards_from_a_subfolder(project, monkeypatch):
    monkeypatch.delenv("EMOLIB_ROOT")
    monkeypatch.chdir(project / "notebooks")
    assert runs.project_root() == project
    assert (runs.data_root(), runs.reports_root()) == (project / "data", project / "reports")


def test_another_projects_pyproject_is_passed_by(tmp_path, monkeypatch):
    monkeypatch.delenv("EMOLIB_ROOT", raising=False)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="EMOLIB_ROOT"):
        runs.project_root()


def test_the_environment_sets_the_roots(project, monkeypatch, tmp_path):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path / "d"))
    monkeypatch.setenv("EMOLIB_REPORTS", str(tmp_path / "r"))
    assert (runs.data_root(), runs.reports_root()) == (tmp_path / "d", tmp_path / "r")
    monkeypatch.setenv("EMOLIB_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        runs.project_root()


def test_raw_path_looks_in_the_root_then_in_data_raw(project):
    (project / "data" / "raw" / "corpus").mkdir(parents=True)
    assert runs.raw_path("data/raw/corpus") == runs.raw_path("corpus") == project / "data" / "raw" / "corpus"
    with pytest.raises(FileNotFoundError, match="absent"):
        runs.raw_path("absent")


# ---- a run


def test_a_finished_run_can_be_loaded(project):
    run = make(seed=np.int64(5), path=Path("a/b"))
    loaded = runs.load("mini", "draw", "main")
    assert run.folder == loaded.folder == project / "data" / "runs" / "mini" / "draw" / "main"
    assert loaded.metrics == {"n": 3} and loaded.params == {"n": 3, "seed": 5, "path": "a/b"}
    assert loaded.info["seed"] == 5 and loaded.info["environment"]["packages"]["numpy"] == np.__version__
    assert loaded.table("numbers")["x"].tolist() == run.table("numbers")["x"].tolist() == [0, 1, 2]
    assert loaded.info["outputs"]["numbers.parquet"]["bytes"] == (loaded.folder / "numbers.parquet").stat().st_size
    assert runs.list_variants("mini", "draw") == ["main"] and runs.list_variants("mini", "other") == []
    with pytest.raises(KeyError, match="there are numbers"):
        loaded.table("absent")


def test_nothing_is_in_place_before_finish(project):
    run = make(finish=False)
    assert runs.list_variants("mini", "draw") == []
    with pytest.raises(FileNotFoundError, match="emolib run params/mini.yaml --until draw"):
        runs.load("mini", "draw")
    run.finish()
    assert [path.name for path in run.folder.parent.iterdir()] == ["main"]


def test_json_is_strict(project):
    run = runs.begin(stage="draw", variant="main", study="mini", params={})
    run.finish(metrics={"nan": float("nan"), "inf": np.float32("inf"), "array": np.eye(2), "flag": np.bool_(True)})
    text = (run.folder / "run.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))["metrics"]
    assert metrics == {"nan": None, "inf": None, "array": [[1.0, 0.0], [0.0, 1.0]], "flag": True}
    with pytest.raises(TypeError, match=r"params\.x is a set"):
        runs.begin(stage="draw", variant="main", study="mini", params={"x": {1}})


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "é", "x.ipynb", "<b>"])
def test_unsafe_names_are_refused(project, name):
    with pytest.raises(ValueError, match="not allowed"):
        runs.begin(stage="draw", variant=name, study="mini", params={})


def test_figures_are_listed_in_order_with_captions(project):
    run = runs.begin(stage="draw", variant="main", study="mini", params={})
    for name in ("second", "first"):
        figure = Figure(figsize=(1, 1))
        run.save_figure(name, figure, f"About <{name}>")
    run.finish()
    listed = json.loads((run.folder / "figures.json").read_text())
    assert [(entry["file"], entry["caption"]) for entry in listed] == [
        ("second.png", "About <second>"), ("first.png", "About <first>")
    ]  # fmt: skip
    assert (run.folder / "first.png").read_bytes().startswith(b"\x89PNG")


# ---- upstream


def test_upstream_is_opened_and_recorded(project):
    make()
    run = make("scale", upstream=["draw/main"])
    assert run.upstream("draw/main").metrics == {"n": 3}
    assert list(runs.load("mini", "scale").info["inputs"]) == ["draw/main"]
    with pytest.raises(KeyError, match="draw/main"):
        run.upstream("draw/other")


def of_derived(stage, *upstream):
    run = runs.begin(stage=stage, variant="main", study="derived", params={}, upstream=upstream, base_study="mini")
    run.finish()
    return runs.load("derived", stage).info["inputs"]


def test_a_run_of_the_base_is_read_where_the_study_has_none_and_recorded_with_its_study(project):
    make()
    assert list(of_derived("scale", "draw/main")) == ["mini/draw/main"]
    assert list(of_derived("sum_up", "draw/main", "scale/main")) == ["mini/draw/main", "scale/main"]
    make(n=4)
    with pytest.raises(ValueError, match="derived: run 'scale/main' was made from another 'mini/draw/main'"):
        runs.load("derived", "scale")
    with pytest.raises(FileNotFoundError, match="derived: run 'draw/absent' is missing"):
        of_derived("scale", "draw/absent")


def test_a_run_of_any_other_study_is_named_with_that_study_once(project):
    make()
    run = runs.begin(stage="scale", variant="main", study="third", params={}, upstream=["mini/draw/main"])
    assert run.upstream("mini/draw/main").metrics == {"n": 3}
    run.finish()
    assert list(runs.load("third", "scale").info["inputs"]) == ["mini/draw/main"]
    make(n=4)
    with pytest.raises(ValueError, match="third: run 'scale/main' was made from another 'mini/draw/main'"):
        runs.load("third", "scale")
    with pytest.raises(FileNotFoundError, match="absent: run 'draw/main' is missing; make it with: .*absent.yaml"):
        runs.begin(stage="x", variant="y", study="third", params={}, upstream=["absent/draw/main"], make_missing=True)
    with pytest.raises(ValueError, match="stage/variant"):
        make("scale", upstream=["a/b/c/d"])


def test_missing_upstream_is_one_line_with_the_command(project):
    with pytest.raises(FileNotFoundError) as caught:
        make("scale", upstream=["draw/main"])
    assert str(caught.value) == (
        "mini: run 'draw/main' is missing; make it with: emolib run params/mini.yaml --until draw"
    )
    with pytest.raises(ValueError, match="stage/variant"):
        make("scale", upstream=["draw"])


def spoil_same_size(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "numbers.parquet").unlink(), "numbers.parquet is missing"),
        (lambda folder: (folder / "numbers.parquet").write_bytes(b"short"), "has 5 bytes"),
        (lambda folder: spoil_same_size(folder / "numbers.parquet"), "SHA-256"),
        (lambda folder: (folder / "run.json").write_text("{"), "no JSON"),
        (lambda folder: (folder / "run.json").write_text('{"schema_version": 99}'), "schema version 99"),
        (
            lambda folder: (folder / "run.json").write_text(
                (folder / "run.json").read_text().replace('"n": 3', '"n": 4')
            ),
            "was changed",
        ),
    ],
)
def test_a_damaged_upstream_is_named(project, spoil, message):
    spoil(make().folder)
    with pytest.raises(ValueError, match=message) as caught:
        make("scale", upstream=["draw/main"])
    assert "draw" in str(caught.value) and "emolib run" in str(caught.value)


def test_only_the_size_of_large_files_is_checked(project, monkeypatch):
    folder = make().folder
    spoil_same_size(folder / "numbers.parquet")
    monkeypatch.setattr(provenance, "FULL_CHECK_BYTES", 10)
    assert runs.load("mini", "draw").folder == folder


def test_an_outdated_middle_stage_is_named_however_far_up(project):
    make()
    make("scale", upstream=["draw/main"])
    make("sum_up", upstream=["scale/main"])
    make(n=4)
    for name in ("scale/main", "sum_up/main"):
        with pytest.raises(ValueError, match="'scale/main' was made from another 'draw/main'.*--until scale"):
            make("last", upstream=[name])


def test_the_same_computation_again_outdates_nothing(project):
    first = make()
    before = runs.load("mini", "draw").info
    make("scale", upstream=["draw/main"])
    make()
    assert runs.load("mini", "draw").info["fingerprint"] == before["fingerprint"]
    assert make("sum_up", upstream=["scale/main"]).folder.is_dir() and first.folder.is_dir()


# ---- atomicity


def test_an_older_run_is_replaced_only_by_finish(project):
    make(n=3)
    run = make(n=5, finish=False)
    assert runs.load("mini", "draw").metrics == {"n": 3}
    run.finish(metrics={"n": 5})
    assert runs.load("mini", "draw").metrics == {"n": 5}


@pytest.mark.parametrize("where", ["pandas.DataFrame.to_parquet", "pathlib.Path.write_text"])
def test_a_full_disk_leaves_the_older_run(project, monkeypatch, where):
    make(n=3)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(where, full)
    with pytest.raises(OSError, match="No space left"):
        make(n=5)
    monkeypatch.undo()
    monkeypatch.setenv("EMOLIB_ROOT", str(project))
    assert runs.load("mini", "draw").metrics == {"n": 3}


def test_a_failure_between_the_two_renames_puts_the_older_run_back(project, monkeypatch):
    make(n=3)
    run = make(n=5, finish=False)
    rename = Path.rename

    def fail_for_the_new_folder(self, target):
        if self == run.folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_folder)
    with pytest.raises(OSError, match="No space left"):
        run.finish()
    assert runs.load("mini", "draw").metrics == {"n": 3}


def test_a_crash_between_the_two_renames_is_mended_by_the_next_begin(project):
    folder = make("draw", "t0").folder
    other = make("draw", "t0.3").folder
    folder.rename(folder.with_name(".t0.0123abcd.old"))
    other.rename(other.with_name(".t0.3.0123abcd.old"))
    make("draw", "t0", finish=False)
    assert runs.list_variants("mini", "draw") == ["t0"]  # and not a run of t0.3 under its name
    make("draw", "t0.3", finish=False)
    assert runs.list_variants("mini", "draw") == ["t0", "t0.3"]


KILLED = """
import os, signal
import pandas as pd
from emolib import runs
run = runs.begin(stage="draw", variant="main", study="mini", params={"n": 9})
run.save_table("numbers", pd.DataFrame({"x": [1]}))
(run.checkpoints / "epoch").write_text("3")
print(run.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_the_older_one_and_its_checkpoints(project):
    make(n=3)
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    left = Path(killed.stdout.strip())
    assert left.is_dir() and runs.load("mini", "draw").metrics == {"n": 3}
    run = runs.begin(stage="draw", variant="main", study="mini", params={"n": 9})
    assert not left.exists(), "what the dead process left is cleaned up"
    assert (run.checkpoints / "epoch").read_text() == "3"
    checkpoints = run.checkpoints
    run.finish()
    assert not checkpoints.exists()


def test_checkpoints_of_other_parameters_or_inputs_are_emptied(project):
    make(n=3)
    one = runs.begin(stage="scale", variant="main", study="mini", params={"f": 1}, upstream=["draw/main"])
    (one.checkpoints / "epoch").write_text("3")
    again = runs.begin(stage="scale", variant="main", study="mini", params={"f": 1}, upstream=["draw/main"])
    assert (again.checkpoints / "epoch").is_file()
    make(n=4)
    other_input = runs.begin(stage="scale", variant="main", study="mini", params={"f": 1}, upstream=["draw/main"])
    assert list(other_input.checkpoints.iterdir()) == [] and not (one.checkpoints / "epoch").exists()


def begin_and_wait(pipe):
    run = runs.begin(stage="draw", variant="main", study="mini", params={"n": 1})
    pipe.send((str(run.folder), str(run.checkpoints)))
    pipe.recv()
    run.finish(metrics={"by": "other"})
    pipe.send(None)


def test_two_processes_making_the_same_run_do_not_share_folders_and_the_last_wins(project):
    here, there = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=begin_and_wait, args=(there,))
    other.start()
    folder, checkpoints = here.recv()
    run = runs.begin(stage="draw", variant="main", study="mini", params={"n": 1})
    assert Path(folder).is_dir() and str(run.folder) != folder
    assert str(run.checkpoints) != checkpoints
    run.finish(metrics={"by": "this"})
    assert runs.load("mini", "draw").metrics == {"by": "this"}
    here.send("go on")
    here.recv()
    other.join()
    assert runs.load("mini", "draw").metrics == {"by": "other"}
    assert [path.name for path in run.folder.parent.iterdir()] == ["main"]


def test_a_lock_that_is_held_is_refused_without_waiting(tmp_path):
    with atomic.locked(tmp_path / "lock"), pytest.raises(BlockingIOError), atomic.locked(tmp_path / "lock", wait=False):
        pass
    with atomic.locked(tmp_path / "lock", wait=False):
        assert (tmp_path / "lock").exists()


# ---- making what is missing


def test_a_notebook_opened_alone_makes_what_it_needs(project):
    job = study.load(project / "params" / "mini.yaml").select("sum_up")[0]
    alone = project / "alone.ipynb"
    notebooks.execute(job.notebook, alone, params={"make_missing": True}, folder=project / "notebooks", title="alone")
    assert runs.list_variants("mini", "scale") == ["one"]  # only what it needs
    assert runs.load("mini", "draw").params == {"n": 4, "seed": 7}  # as the study's file says
    assert runs.load("mini", "sum_up").metrics["accuracy"] == pytest.approx(
        runs.load("mini", "scale", "one").metrics["sum"]
    )


def test_what_the_study_does_not_know_cannot_be_made(project):
    with pytest.raises(ValueError, match="no stage or variant 'draw/other'"):
        runs.begin(stage="x", variant="main", study="mini", params={}, upstream=["draw/other"], make_missing=True)
