import zipfile

import pytest
import yaml
from mini_study import make_project
from typer.testing import CliRunner

from emolib import doctor
from emolib.cli import app


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_params_are_flat_yaml_for_papermill(project):
    result = call("params", project / "params" / "mini.yaml", "scale/one")
    assert result.exit_code == 0
    assert yaml.safe_load(result.output) == {"factor": 1.0, "study": "mini", "variant": "one", "make_missing": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["params", "{params}/mini.yaml", "scale"], "name one: scale/one, scale/bad, scale/x2.0"),
        (["params", "{params}/mini.yaml", "scael"], "did you mean 'scale'"),
        (["run", "{params}/mini.yaml", "--until", "nowhere"], "no stage or variant 'nowhere'"),
        (["run", "{params}/absent.yaml"], "there are: mini.yaml"),
        (["run", "{params}/mini.yaml", "{params}/absent.yaml"], "there are: mini.yaml"),
        (["run", "{params}/mini.yaml", "--profile", "cloud"], "nor one of profiles/: local, slurm"),
        (["report", "absent"], "no such study file"),
        (["run", "{params}/mini.yaml", "--cores", "0"], "--cores"),
        (["unpack", "{params}/absent.zip", "{params}/x"], "absent.zip"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(project, arguments, message):
    result = call(*(argument.format(params=project / "params") for argument in arguments))
    assert result.exit_code == 2 and message in result.output
    assert "Traceback" not in result.output


def test_debug_shows_the_traceback(project):
    result = call("--debug", "run", project / "params" / "absent.yaml")
    assert isinstance(result.exception, FileNotFoundError)
    assert isinstance(call("run", project / "params" / "absent.yaml").exception, SystemExit)


def test_unpack(project, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/file.txt", "content")
    result = call("unpack", tmp_path / "a.zip", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert [file.read_text() for file in (tmp_path / "out").rglob("file.txt")] == ["content"]


@pytest.mark.parametrize(("needed", "code"), [(True, 1), (False, 0)])
def test_doctor_fails_only_for_what_is_needed(project, monkeypatch, needed, code):
    monkeypatch.setattr(doctor, "_disk", lambda: doctor.Finding("disk", False, "none left", needed=needed))
    result = call("doctor")
    assert result.exit_code == code and "disk: none left" in result.output
    assert {"python", "cores", "gpu", "landmark predictor", "codec libx264"} <= {f.name for f in doctor.examine()}
