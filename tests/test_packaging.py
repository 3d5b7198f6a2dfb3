"""The repository itself: pins that agree, notebooks as stored, imports that run one way, a Makefile that works."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from emolib import study

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIRED = [Requirement(text) for text in (*PROJECT["dependencies"], *sum(EXTRAS.values(), []))]
MODULES = sorted((ROOT / "emolib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STRAIGHT_LINE = {
    *("00_corpus", "01_preprocessing", "02_pretraining", "03_posterior_study"),
    *("04_frame_filtering", "07_evaluation"),
}

# ---- versions


def locked() -> dict[str, Version]:
    """Canonical name -> pinned version of requirements.lock."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^*+@/ ]+", str(pin)) for pin in pins), (
        "exact pins only, no place to get them"
    )
    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(names) == len(set(names))
    return {name: Version(next(iter(pin.specifier)).version) for name, pin in zip(names, pins, strict=True)}


@pytest.mark.parametrize("requirement", REQUIRED, ids=str)
def test_every_requirement_is_locked_at_a_version_that_it_admits(requirement):
    version = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f"{requirement}, but {version} is locked"


def test_the_lock_is_what_the_requirements_need_and_nothing_else():
    pins = locked()
    todo, needed = list(REQUIRED), {}
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is needed and not locked"
        assert requirement.specifier.contains(pins[name], prereleases=True), (
            f"{requirement}, but {pins[name]} is locked"
        )
        seen = needed.setdefault(name, set())
        for extra in {"", *requirement.extras} - seen:
            seen.add(extra)
            for text in distribution(name).requires or []:
                dependency = Requirement(text)
                if dependency.marker is None or dependency.marker.evaluate({"extra": extra}):
                    todo.append(dependency)
    assert set(pins) == set(needed), f"not needed: {sorted(set(pins) - set(needed))}"
    assert "pip" not in pins


def test_the_tested_environment_is_the_locked_one():
    different = {name: (distribution(name).version, str(pin)) for name, pin in locked().items()}
    assert {name: pair for name, pair in different.items() if Version(pair[0]) != Version(pair[1])} == {}


def test_the_lock_installs_on_the_python_of_debian_12():
    # made with 3.11.7, the lock once held a soupsieve that needs 3.11.5: no fresh clone installed with Debian's 3.11.2
    needs = {name: distribution(name).metadata["Requires-Python"] or "" for name in locked()}
    assert {name: text for name, text in needs.items() if not SpecifierSet(text).contains("3.11.2")} == {}


# conda's name -> the wheel's; conda's versions have no fourth part and no .post
CONDA_NAMES = {
    "dlib": "dlib-bin",
    "opencv": "opencv-contrib-python-headless",
    "pytorch": "torch",
    "snakemake-minimal": "snakemake",
}


def test_environment_yml_agrees_with_pyproject():
    content = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    (with_pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    conda = {}
    for entry in content["dependencies"]:
        if isinstance(entry, str):
            name, operator, version = re.fullmatch(r"([a-z0-9_-]+)(>=|=|)([0-9.]*)", entry).groups()
            conda[CONDA_NAMES.get(name, name)] = (operator, version)
    operator, version = conda.pop("python")
    assert operator == "=" and SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0")
    assert conda.pop("pip") == ("", "")
    names = [canonicalize_name(name) for name in [*conda, *(Requirement(text).name for text in with_pip)]]
    assert sorted(names) == sorted(canonicalize_name(requirement.name) for requirement in REQUIRED)
    for requirement in REQUIRED:
        (wanted,) = requirement.specifier
        if requirement.name not in conda:
            assert str(requirement) in with_pip
        elif wanted.operator == ">=":
            assert conda[requirement.name] == (">=", wanted.version)
        else:
            parts = 3 if requirement.name in CONDA_NAMES.values() else None
            assert conda[requirement.name] == ("=", ".".join(map(str, Version(wanted.version).release[:parts])))


# ---- files


def repository_files() -> list[Path]:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git checkout here: which files belong to the repository is not known")
    call = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(call, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


# written in two halves, or this file would name them
REGISTRIES = re.compile(
    "|".join(
        re.escape(left + right)
        for left, right in (
            *(("py", "pi.org"), ("python", "hosted.org"), ("npm", "js.org"), ("npm", "js.com"), ("yarn", "pkg.com")),
            *(("deb.", "debian.org"), ("security.", "debian.org"), ("archive.", "ubuntu.com"), ("ana", "conda.org")),
            *(
                ("ana", "conda.com"),
                ("download.", "pytorch.org"),
                ("crates", ".io"),
                ("jsdel", "ivr.net"),
                ("un", "pkg.com"),
            ),
        )
    )
)


def test_the_pattern_of_registries_matches_one():
    assert REGISTRIES.search("see https://files.python" + "hosted.org/x") and not REGISTRIES.search("pip install torch")


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    paths = re.compile("/ro" + "ot/|/ho" + "me/[a-z]|/wo" + "rk/")
    found = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", "ignore")
        found += [
            f"{path.relative_to(ROOT)}: {match[0]}" for match in (REGISTRIES.search(text), paths.search(text)) if match
        ]
    assert found == []


def test_nothing_generated_or_large_is_in_the_repository():
    files = [path.relative_to(ROOT) for path in repository_files()]
    limits = {path: 10_000_000 if path.match("emolib/shipped/*.safetensors") else 3_000_000 for path in files}
    assert [str(path) for path, limit in limits.items() if (ROOT / path).stat().st_size > limit] == []
    below_data = [str(path) for path in files if path.parts[0] == "data" and path.name != "README.md"]
    assert below_data == [], "data/ holds people's faces: only its README is tracked"
    below_reports = [
        str(path) for path in files if path.parts[0] == "reports" and path.parts[1] not in ("README.md", "sample")
    ]
    assert below_reports == []


# ---- notebooks


def test_the_notebooks_of_the_straight_line_are_there():
    assert {path.stem for path in NOTEBOOKS} >= STRAIGHT_LINE


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_with_parameters(path):
    notebook = json.loads(path.read_text("utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1, "papermill needs exactly one cell with the tag 'parameters'"
    tree = ast.parse("".join(tagged[0]["source"]))
    assert all(isinstance(line, ast.Assign | ast.AnnAssign) for line in tree.body), (
        "the parameters cell holds literals only"
    )
    for line in tree.body:
        ast.literal_eval(line.value)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_and_has_short_cells(path):
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
            source = "".join(cell["source"])
            defined = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            assert not defined, f"belongs in emolib: {source}"
            assert len(source.splitlines()) <= 15, f"over 15 lines, belongs in emolib: {source}"


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_has_only_keys_and_parameters_that_are_known(path, monkeypatch):
    monkeypatch.setenv("EMOLIB_ROOT", str(ROOT))
    jobs = study.load(path).jobs
    assert jobs
    for job in jobs:  # notebook 07 shows the embedding of "all" by default
        compared = job.notebook.stem == "07_evaluation" and "compared" in job.params
        if compared and (shown := job.params.get("embedded_variant", "all")):
            assert shown in job.params["compared"], f"{job.name}: embedded_variant {shown!r} is not compared"
        if job.notebook.stem == "14_stills_evaluation" and "compared" in job.params:  # a base's ensembles are inherited
            rows = {address.rpartition("/")[2] for address in job.params["compared"]}
            of_ensembles = {member for of in job.params.get("ensembles", {}).values() for member in of}
            assert not (unknown := of_ensembles - rows), f"{path.name}: {job.name}: {unknown} not compared"


# ---- modules

# rooms from the ground up (docs/architecture.md); a module imports from its own layer and those below it
LAYERS = (
    {"labels", "roots", "atomic", "archives", "intervals", "palette", "tables", "published", "study_file", "shipped"}
    | {"text_cells", "resampling"},
    {"frames", "folds", "stills", "provenance", "openface", "ragged", "subject_normalisation"},
    {"render", "corpora", "video", "detection", "landmarks", "tracking", "action_units", "guides", "given_maps"}
    | {"survey", "audio"},
    {"extraction", "preprocessing", "guide_sheet"},
    {"models", "engines"},
    {"training", "posteriors", "classifier", "classifier_file", "classify", "saliency_net"}
    | {"performances", "au_tables", "published_posteriors"},
    {"cross_fitting"},
    {"subject_adaptation", "static_models", "static_fitting", "sequences"},
    {"speech", "hub"},
    {"filters", "normals", "voting", "evaluation", "calibration", "overlap", "saliency_agreement"},
    {"experiment", "judged", "fold_results", "iterative", "embedding", "label_noise", "posterior_study"}
    | {"fer_csv", "labelled_pictures", "still_evaluation", "cross_corpus", "onnx_export", "performance_results"},
    {"fusion", "static_sweep"},
    {"plots", "posterior_plots", "result_plots", "comparison_plots", "au_plots", "noise_plots", "still_plots"}
    | {"cross_plots", "au_result_plots", "fusion_plots", "speech_plots"},
    {"runs", "notebooks", "study", "stages", "fold_inputs", "fold_outputs", "variants", "comparison", "selection"}
    | {
        "performance_outputs",
        "fusion_inputs",
        "still_outputs",
        "still_variants",
        "still_comparison",
        "stills_training",
        "guided_variants",
    }
    | {"shipping", "model_card", "predict", "recrop"}
    | {"pages", "report", "workflow", "progress", "doctor"},
    {"cli"},
)
LAYER_OF = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_name(path) for path in MODULES}


def imports_of(path: Path) -> set[str]:
    """Modules of emolib that a module imports, at its top or inside of its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & NAMES) | ({node.module} if inside - NAMES else set())
    return (found & NAMES) - {module_name(path)}


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", [path for path in MODULES if module_name(path) != "emolib"], ids=module_name)
def test_imports_run_one_way(path):
    own = room(module_name(path))
    assert own in LAYER_OF, f"{own} has no layer: give it one here and a line in docs/architecture.md"
    upward = {name for name in imports_of(path) if name != "emolib" and LAYER_OF.get(room(name), 0) > LAYER_OF[own]}
    assert not upward, f"{module_name(path)} imports upward: {sorted(upward)}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {module_name(path): imports_of(path) for path in MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_has_at_most_300_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 300


def test_architecture_names_every_room():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    unnamed = {room(name) for name in NAMES - {"emolib"} if not re.search(rf"`{room(name)}(\.py|/)`", text)}
    assert not unnamed, f"docs/architecture.md has no line for {sorted(unnamed)}"


# ---- Makefile


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    # without what a make that runs these tests hands down
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def test_make_alone_lists_the_targets():
    listed = make(ROOT)
    assert listed.returncode == 0
    targets = {line.split()[1] for line in listed.stdout.splitlines()}
    assert targets >= {"setup", "setup-test", "report", "test", "lab", "bench", "clean"}


def test_make_says_which_packages_a_machine_without_python_311_needs(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    tried = make(tmp_path, "setup", "PYTHON=no-such-python")
    assert tried.returncode != 0 and "python3.11 python3.11-venv" in tried.stderr and "no-such-python" in tried.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("left", "rebuilt"), [("nothing", True), ("unfinished", True), ("whole", False)])
def test_make_rebuilds_an_environment_whose_installation_was_cut_short(tmp_path, left, rebuilt):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    log = tmp_path / "log"
    # stands for every python: writes down how it was called, and "makes" an environment that holds itself
    fake = tmp_path / "python"
    fake.write_text(
        f'#!/bin/sh\necho "$@" >> "{log}"\n'
        'if [ "$2" = venv ]; then rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; fi\n'
    )
    fake.chmod(0o755)
    if left != "nothing":
        (tmp_path / ".venv/bin").mkdir(parents=True)
        shutil.copy(fake, tmp_path / ".venv/bin/python")
    if left == "unfinished":
        (tmp_path / ".venv/.unfinished").touch()
    assert make(tmp_path, "-j4", "setup", "setup-test", f"PYTHON={fake}").returncode == 0
    calls = log.read_text()
    assert ("-m venv --clear .venv" in calls) == rebuilt
    assert calls.count("pip install") == 2 and "-e .[hub,lab,onnx,slurm,test]" in calls
    assert sorted(path.name for path in (tmp_path / ".venv").glob(".*")) == [
        ".installed-lab",
        ".installed-run",
        ".installed-test",
    ]
    log.unlink()
    assert make(tmp_path, "setup", "setup-test", f"PYTHON={fake}").returncode == 0
    assert not log.exists(), "a second make installs nothing"


def test_ci_runs_make_test_and_nothing_else():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text("utf-8").splitlines() if "make" in line and not line.startswith("#")]
    assert lines == ["make test"]
    planned = make(ROOT, "-n", "test").stdout
    for step in ("ruff check", "ruff format --check", "nbstripout --verify", "--dist loadscope", "--nbval-lax"):
        assert step in planned


def test_the_licence_is_the_one_that_pyproject_names():
    assert PROJECT["license"] == {"text": "MIT"}
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("MIT License\n\nCopyright (c) 2026 The Emolab authors\n")
