import json

import made_classifiers
import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from emolib import classify, models, onnx_export
from emolib.cli import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.mark.parametrize("model", models.MODELS)
def test_onnx_runtime_gives_the_posterior_of_pytorch(folder, model):
    classifier = classify.load(made_classifiers.save(folder / f"{model}.safetensors", model))
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    assert onnx_export.export(classifier, folder / f"{model}.onnx") <= 1e-4
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.network.state_dict().items())
    runtime = onnx_export.session(folder / f"{model}.onnx", threads=1)
    for n in (1, 2, 33):
        pictures = {"image": made_classifiers.pictures(n, seed=n), "guide": made_classifiers.pictures(n, seed=n + 1)}
        given = {name: onnx_export.scaled(pictures[name]) for name in onnx_export.input_names(classifier)}
        [found] = runtime.run(["posterior"], given)
        expected = classifier.posterior(pictures["image"], guide=pictures["guide"])
        assert found.dtype == np.float32 and np.abs(found - expected).max() <= 1e-4
    assert np.ptp(expected, axis=0).max() > 0.05, "posteriors that do not differ show nothing"


@pytest.fixture(scope="module")
def exported(folder):
    weights = made_classifiers.save(folder / "one.safetensors", temperature=2.5, crop="aligned")
    result = CliRunner().invoke(app, ["export", str(folder / "one.onnx"), "--weights", str(weights)])
    assert result.exit_code == 0 and "largest difference" in result.output, result.output
    return classify.load(weights), folder / "one.onnx"


def test_the_file_says_what_its_columns_and_its_input_are(exported):
    _, path = exported
    model = onnx.load(path)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["classes"]) == list(made_classifiers.FER)
    assert said["crop"] == "aligned" and float(said["temperature"]) == 2.5
    [opset] = [one.version for one in model.opset_import if one.domain == ""]
    assert opset == onnx_export.OPSET
    [given], [answer] = model.graph.input, model.graph.output
    shape = [one.dim_value or one.dim_param for one in given.type.tensor_type.shape.dim]
    assert (given.name, answer.name) == ("image", "posterior") and shape[1:] == [1, 48, 48]
    assert isinstance(shape[0], str), "the number of pictures is free"


def test_the_scale_of_the_input_is_that_of_training():
    grey = np.array([[[0, 255, 51]]], dtype=np.uint8)
    assert onnx_export.scaled(grey).ravel() == pytest.approx([-1, 1, -0.6], abs=1e-6)
    assert onnx_export.scaled(grey).dtype == np.float32


def test_an_export_that_answers_otherwise_is_not_left(folder, exported, monkeypatch):
    classifier, _ = exported
    monkeypatch.setattr(onnx_export.Answer, "forward", lambda self, image, guide=None: self.network(image).softmax(1))
    with pytest.raises(RuntimeError, match="differs from PyTorch"):
        onnx_export.export(classifier, folder / "wrong.onnx")
    assert not list(folder.glob("*wrong*"))


def test_an_ensemble_is_refused(folder, exported):
    classifier, _ = exported
    with pytest.raises(ValueError, match="one by one"):
        onnx_export.export(classify.Ensemble((classifier, classifier)), folder / "both.onnx")


def test_without_the_extra_the_error_says_what_to_install(folder, exported, monkeypatch):
    monkeypatch.setattr(onnx_export, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(RuntimeError, match=r"no_such_package.*\[onnx\]"):
        onnx_export.export(exported[0], folder / "x.onnx")
