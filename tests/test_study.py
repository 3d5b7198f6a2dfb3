import copy
from pathlib import Path

import pytest
import yaml
from mini_study import STUDY, make_project, write_notebook, write_study

from emolib import notebooks, study


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


def changed(*path, value):
    """The mini study with the entry at `path` set to `value` (removed when it is ...)."""
    content = copy.deepcopy(STUDY)
    place = content
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


def test_the_study_expands_into_flat_jobs_in_order(project):
    loaded = study.load(project / "params" / "mini.yaml")
    assert loaded.stages == ["draw", "scale", "sum_up"]
    assert [(job.name, job.params, job.upstream, job.threads) for job in loaded.jobs] == [
        ("draw/main", {"study": "mini", "variant": "main", "seed": 7, "n": 4}, (), 1),
        ("scale/one", {"study": "mini", "variant": "one", "make_missing": False, "factor": 1.0}, ("draw/main",), 1),
        ("scale/bad", {"study": "mini", "variant": "bad", "make_missing": False, "factor": -1.0}, ("draw/main",), 1),
        ("scale/x2.0", {"study": "mini", "variant": "x2.0", "make_missing": False, "factor": 2.0}, ("draw/main",), 1),
        ("sum_up/main", {"study": "mini", "variant": "main", "make_missing": False}, ("scale/one",), "all"),
    ]


def test_a_stage_needs_all_variants_of_a_stage(project):
    path = write_study(project, changed("stages", "sum_up", "needs", value=["scale"]))
    assert study.load(path).select("sum_up")[0].upstream == ("scale/one", "scale/bad", "scale/x2.0")


def test_a_grid_is_the_product_of_its_values_over_shared_parameters(project):
    write_notebook(
        project / "notebooks" / "d.ipynb",
        ["#", 'study = variant = ""\nstudy = ""\nvariant = ""\na = 0\nb = 0\nc = 0', "pass"],
    )
    grid = {"name": "a{a}-b{b}", "params": {"c": 5}, "values": {"a": [1, 2], "b": [0.1, 0.2]}}
    content = changed("stages", "draw", value={"notebook": "d", "params": {"c": 4}, "grids": [grid]})
    content["stages"] = {"draw": content["stages"]["draw"]}
    jobs = study.load(write_study(project, content)).jobs
    assert {job.variant: (job.params["a"], job.params["b"], job.params["c"]) for job in jobs} == {
        "a1-b0.1": (1, 0.1, 5), "a1-b0.2": (1, 0.2, 5), "a2-b0.1": (2, 0.1, 5), "a2-b0.2": (2, 0.2, 5)
    }  # fmt: skip


def test_a_stage_may_set_its_own_seed(project):
    path = write_study(project, changed("stages", "draw", "params", "seed", value=1))
    assert study.load(path).jobs[0].params["seed"] == 1


def test_upstream_closure_keeps_order_and_leaves_the_rest(project):
    loaded = study.load(project / "params" / "mini.yaml")
    assert [job.name for job in loaded.with_upstream(["sum_up"])] == ["draw/main", "scale/one", "sum_up/main"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("colour", value="red"), "unknown key 'colour'"),
        (changed("stages", "draw", "notebok", value="a"), "unknown key 'notebok'; did you mean 'notebook'"),
        (changed("stages", "draw", "notebook", value=...), "key 'notebook' is missing"),
        (changed("stages", value={}), "at least one stage"),
        (changed("stages", "draw", value=None), "a mapping is expected"),
        (changed("study", value="other"), "call the file other.yaml"),
        (changed("study", value="a/b"), "not allowed"),
        (changed("stages", "draw", "params", "m", value=1), "a.ipynb has no parameter 'm'"),
        (changed("stages", "scale", "params", value={"factr": 1}), "did you mean 'factor'"),
        (changed("stages", "draw", "params", "study", value="x"), "set by the study itself"),
        (changed("stages", "draw", "params", value=[1]), "a mapping with names"),
        (changed("stages", "draw", "params", "n", value="1e-3"), r"reads 1e-3 as text; write 1.0e-03"),
        (changed("stages", "sum_up", "needs", value=["scal"]), "did you mean 'scale'"),
        (changed("stages", "sum_up", "needs", value=["sum_up"]), "none of the stages or variants above"),
        (changed("stages", "draw", "needs", value=["sum_up"]), "none of the stages or variants above"),  # a cycle
        (changed("stages", "sum_up", "needs", value="scale"), "a list is expected"),
        (changed("stages", "scale", "variants", "../x", value={}), "not allowed"),
        (changed("stages", "scale", "variants", 5, value={}), "names as keys"),
        (changed("stages", "scale", "grids", 0, "values", "factor", value=[2.0, 2.0]), "'x2.0' is there already"),
        (changed("stages", "scale", "grids", 0, "values", "factor", value=[]), "at least one value"),
        (changed("stages", "scale", "grids", 0, "name", value="x{other}"), "names 'other'"),
        (changed("stages", "draw", "threads", value=0), "1 or more, or 'all'"),
        (changed("stages", "draw", "threads", value="some"), "1 or more, or 'all'"),
        ("study: mini\nstages: {draw: {notebook: a, variants: {x: {}, x: {}}}}", "key 'x' is given twice"),
        ("study: [", "params/mini.yaml: "),
        ("study: !!python/object/apply:os.getcwd []\nstages: {}", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(project, content, message):
    path = write_study(project, content)
    with pytest.raises(ValueError, match=message) as caught:
        study.load(path)
    assert "mini.yaml" in str(caught.value)


def test_missing_files_are_named_with_what_there_is(project):
    with pytest.raises(FileNotFoundError, match="there are: mini.yaml"):
        study.load(project / "params" / "demo.yaml")
    with pytest.raises(FileNotFoundError, match="there are: a, b, c"):
        study.load(write_study(project, changed("stages", "draw", "notebook", value="z")))


def test_a_notebook_without_variant_is_refused(project):
    write_notebook(project / "notebooks" / "a.ipynb", ["#", 'study = "x"\nn = 1', "pass"])
    with pytest.raises(ValueError, match="lacks 'variant'"):
        study.load(project / "params" / "mini.yaml")


def test_params_survive_yaml(project):
    for job in study.load(project / "params" / "mini.yaml").jobs:
        assert yaml.safe_load(yaml.safe_dump(job.params)) == job.params


def test_a_notebook_depends_on_what_it_imports_and_on_what_that_imports(project):
    path = project / "notebooks" / "e.ipynb"
    write_notebook(
        path, ["#", "study = variant = 1", "%matplotlib inline\nfrom emolib import folds, runs\nimport numpy"]
    )
    names = {file.name for file in notebooks.modules_of(path)}
    assert "folds.py" in names and not names & {"runs.py", "provenance.py", "labels.py"}
    write_notebook(path, ["#", "study = variant = 1", "import emolib.corpora"])
    assert {file.name for file in notebooks.modules_of(path)} >= {"__init__.py", "ravdess.py", "labels.py"}


def test_the_studies_of_the_repository_are_valid(monkeypatch):
    """Each file in params/ expands, with notebooks that have every parameter that it sets."""
    root = Path(__file__).parents[1]
    files = sorted((root / "params").glob("*.yaml"))
    if not files or not list((root / "notebooks").glob("*.ipynb")):
        pytest.skip("the repository has no studies or notebooks yet")
    monkeypatch.setenv("EMOLIB_ROOT", str(root))
    for file in files:
        assert study.load(file).jobs, file
