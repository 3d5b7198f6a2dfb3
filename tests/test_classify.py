import json

import made_classifiers
import numpy as np
import pandas as pd
import pytest
import torch
from made_classifiers import FER, SMALL
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.optimize import minimize_scalar

from emolib import classify, models, posteriors, preprocessing, runs, shipping
from emolib.classifier_file import read_classifier
from emolib.corpora import image_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def file(folder):
    return made_classifiers.save(folder / "plain.safetensors")


def tempered(network, images, guide, temperature):
    """Posteriors by another route: logits over temperature, exponentials over their sum, in NumPy."""
    given = [torch.from_numpy(one.astype(np.float32) / 127.5 - 1)[:, None] for one in (images, guide)]
    with torch.inference_mode():
        logits = network(*given).double().numpy() / temperature
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


# ---- posteriors


@pytest.mark.parametrize("model", models.MODELS)
def test_the_posterior_is_the_softmax_of_the_tempered_logits(folder, model):
    path = made_classifiers.save(folder / f"{model}.safetensors", model, temperature=1.7)
    images, guide = made_classifiers.pictures(7), made_classifiers.pictures(7, seed=1)
    found = classify.load(path).posterior(images, guide=guide, batch_size=3)
    expected = tempered(made_classifiers.network(model), images, guide, 1.7)
    assert found.dtype == np.float32 and np.ptp(expected, axis=0).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_the_small_models_of_the_tests_are_all_of_the_registry():
    assert set(SMALL) == set(models.MODELS)


@pytest.mark.parametrize("views", [2, 6, 10])
def test_a_mirrored_picture_has_the_same_posterior_where_mirrored_views_are_averaged(file, views):
    classifier, images = classify.load(file), made_classifiers.pictures(4)
    turned = images[:, :, ::-1]
    assert np.abs(classifier.posterior(images) - classifier.posterior(turned)).max() > 1e-3
    np.testing.assert_allclose(
        classifier.posterior(images, views=views), classifier.posterior(turned, views=views), atol=1e-5
    )


def test_two_views_are_averaged_before_the_temperature(file):
    classifier, images = classify.load(file), made_classifiers.pictures(4)
    once = [tempered(made_classifiers.network("vgg"), one, one, 1.0) for one in (images, images[:, :, ::-1])]
    expected = np.mean(once, axis=0) ** (1 / 1.7)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(classifier.posterior(images, views=2), expected, atol=1e-5)


def test_no_pictures_have_no_posteriors(file):
    assert classify.load(file).posterior(np.empty((0, 48, 48), np.uint8)).shape == (0, len(FER))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 48, 48), np.float32), {}, "images: float32"),
        (np.zeros((48, 48), np.uint8), {}, "uint8 (48, 48) received"),
        (np.zeros((2, 64, 64), np.uint8), {}, "(2, 64, 64)"),
        (np.zeros((2, 48, 48), np.uint8), {"views": 3}, "views: 3 received, allowed are 1, 2, 6, 10"),
        (np.zeros((2, 48, 48), np.uint8), {"batch_size": 0}, "batch_size: 0"),
    ],
)
def test_what_is_no_picture_is_refused(file, images, options, message):
    with pytest.raises(ValueError) as error:
        classify.load(file).posterior(images, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(("guide", "message"), [(None, "guide: None"), (np.zeros((1, 48, 48), np.uint8), "1 received")])
def test_a_guided_model_needs_a_guide_for_each_picture(folder, guide, message):
    path = made_classifiers.save(folder / "needs.safetensors", "guided")
    with pytest.raises(ValueError, match=message):
        classify.load(path).posterior(made_classifiers.pictures(2), guide=guide)


# ---- files


def test_half_the_bytes_and_nearly_the_same_posterior(folder, file):
    half = made_classifiers.save(folder / "half.safetensors", half=True)
    with safe_open(half, framework="pt") as stored:
        types = {stored.get_tensor(name).dtype for name in stored.keys()}  # noqa: SIM118 (no mapping)
    assert types == {torch.float16, torch.int64}  # batch normalisation counts its batches
    loaded = classify.load(half)
    assert {one.dtype for one in loaded.network.parameters()} == {torch.float32}
    images = made_classifiers.pictures(20)
    np.testing.assert_allclose(loaded.posterior(images), classify.load(file).posterior(images), atol=0.02)


def test_a_value_beyond_float16_is_not_halved(folder):
    network = made_classifiers.network("vgg")
    network.classifier.bias.data[0] = 1e6
    with pytest.raises(ValueError, match=r"classifier\.bias.*beyond float16"):
        given = {"options": SMALL["vgg"], "crop": "loose", "facts": {}, "half": True}
        classify.save_classifier(folder / "x.safetensors", network.state_dict(), model="vgg", classes=FER, **given)
    assert not list(folder.glob("*x.safetensors*"))


def test_facts_and_temperature_come_back_and_the_file_is_weights_like_any_other(file):
    loaded = classify.load(file)
    assert (loaded.temperature, loaded.crop, loaded.facts) == (1.7, "loose", {"trained_on": "nothing"})
    assert loaded.classes == FER and models.load_weights(file).options == SMALL["vgg"]


def test_plain_weights_have_temperature_1_and_no_crop(folder):
    state = made_classifiers.network("baseline").state_dict()
    models.save_weights(folder / "run.safetensors", state, model="baseline", classes=FER)
    loaded = classify.load(folder / "run.safetensors")
    assert (loaded.temperature, loaded.crop, loaded.facts) == (1.0, "", {})


@pytest.mark.parametrize(("option", "value"), [("temperature", 0.0), ("temperature", np.inf), ("crop", "tight")])
def test_a_classifier_is_not_saved_with_what_makes_no_sense(tmp_path, option, value):
    with pytest.raises(ValueError, match=option):
        made_classifiers.save(tmp_path / "x.safetensors", **{option: value})
    assert not list(tmp_path.iterdir())


def test_weights_are_found_by_name_by_file_and_by_run_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(classify, "_SHIPPED", tmp_path)
    made_classifiers.save(tmp_path / "seven.safetensors")
    (tmp_path / "run").mkdir()
    made_classifiers.save(tmp_path / "run" / "weights.safetensors", seed=3)
    assert classify.shipped_names() == ["seven"]
    assert classify.load().path == classify.load("seven").path == tmp_path / "seven.safetensors"
    assert classify.load(tmp_path / "run").path == classify.load(str(tmp_path / "run" / "weights.safetensors")).path


def test_the_error_for_missing_weights_says_what_there_is_and_how_to_make_some(tmp_path, monkeypatch):
    monkeypatch.setattr(classify, "_SHIPPED", tmp_path)
    with pytest.raises(FileNotFoundError, match="none yet.*--weights.*emolib ship"):
        classify.load("seven")
    made_classifiers.save(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="there are: other"):
        classify.load("seven")


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x80\x04K\x01."])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="x.safetensors: not a complete safetensors file"):
        classify.load(tmp_path / "x.safetensors")


def test_tensors_that_do_not_fit_their_model_are_refused(tmp_path):
    state = made_classifiers.network("vgg").state_dict()
    metadata = {"schema_version": 1, "model": "resnet", "n_classes": 7, "classes": FER, "options": {}}
    save_file(state, tmp_path / "x.safetensors", metadata={"emolab": json.dumps(metadata)})
    with pytest.raises(ValueError, match="do not fit model 'resnet'"):
        classify.load(tmp_path / "x.safetensors")


# ---- ensembles


def test_an_ensemble_averages_by_the_names_of_the_classes(folder, file):
    turned = tuple(reversed(FER))
    other = made_classifiers.save(folder / "turned.safetensors", classes=turned, seed=5)
    images = made_classifiers.pictures(6)
    both = classify.load(f"{file}, {other}")
    alone = [classify.load(one).posterior(images) for one in (file, other)]
    np.testing.assert_allclose(both.posterior(images), (alone[0] + alone[1][:, ::-1]) / 2, atol=1e-6)
    assert both.classes == FER and both.n_parameters == 2 * classify.load(file).n_parameters
    assert classify.load([file]).path == file  # one is no ensemble


@pytest.mark.parametrize(
    ("options", "message"), [({"classes": ("a", "b")}, "has classes"), ({"crop": "aligned"}, "has crop aligned")]
)
def test_members_of_an_ensemble_must_agree(folder, file, options, message):
    other = made_classifiers.save(folder / f"{len(options)}{message}.safetensors", **options)
    with pytest.raises(ValueError, match=message):
        classify.load([file, other])


@pytest.mark.parametrize("names", ["", "seven,", []])
def test_an_empty_name_is_refused(names):
    with pytest.raises(ValueError, match="weights:"):
        classify.load(names)


# ---- pictures


@pytest.mark.parametrize("size", [(48, 48), (96, 60), (30, 200), (1, 1)])
def test_a_ready_crop_is_that_of_preprocessing_without_detection(tmp_path, size):
    grey = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    (tmp_path / "happy").mkdir()
    Image.fromarray(grey).save(tmp_path / "happy" / "x.png")
    corpus = image_folder.scan(tmp_path, label_space="fer7")
    store = preprocessing.prepare(corpus, tmp_path / "store", crop="none", guides=(), workers=1, progress=False)
    assert (classify.ready_crop(grey) == store.array("image")[0]).all()


# ---- from a run to a file


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Folder of a run with one model's weights and its validation posteriors, much too sure."""
    monkeypatch.setenv("EMOLIB_ROOT", str(tmp_path))
    return made_run()


def made_run(**params):
    run = runs.begin(stage="classifier", variant="main", study="tiny", params={"seed": 1, "epochs": 3} | params)
    state = made_classifiers.network("vgg").state_dict()
    models.save_weights(run.folder / "weights.safetensors", state, model="vgg", classes=FER, options=SMALL["vgg"])
    rng, label = np.random.default_rng(0), np.arange(400) % len(FER)
    logits = 8 * (np.eye(len(FER))[label] * 0.5 + rng.normal(size=(400, len(FER))))
    posterior = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = posteriors.table(np.arange(400) + 7, posterior, classes=FER, fold=0, subset="validation")
    posteriors.write(table.sample(frac=1, random_state=0), run.folder / "validation.parquet")
    run.save_table("stills", pd.DataFrame({"sample": np.arange(400) + 7, "label": label, "group": "g"}))
    return run.finish(metrics={"test_accuracy": 0.5}), logits, label


def test_a_run_ships_with_the_temperature_that_fits_its_validation_part(trained, tmp_path):
    run, logits, label = trained
    path, facts = shipping.ship(run, name="tiny", crop="loose", trained_on="noise", out=tmp_path / "a" / "new folder")

    def loss(temperature):
        scaled = logits / temperature
        return np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(400), label])

    best = minimize_scalar(loss, bounds=(0.5, 100), method="bounded").x
    loaded = classify.load(path)
    assert loaded.temperature == pytest.approx(best, rel=1e-2) and best > 2
    assert facts["temperature_fit"]["after"]["ece"] < facts["temperature_fit"]["before"]["ece"]
    assert loaded.facts["run"] == "tiny/classifier/main" and loaded.facts["params"]["epochs"] == 3
    assert read_classifier(path).facts == json.loads(json.dumps(facts))


def test_a_file_that_is_too_large_to_ship_replaces_nothing(trained, tmp_path, monkeypatch):
    (tmp_path / "tiny.safetensors").write_text("an older file")
    monkeypatch.setattr(shipping, "MAX_SHIPPED_BYTES", 1000)
    with pytest.raises(ValueError, match="1,000 are allowed; --half stores float16"):
        shipping.ship(trained[0], name="tiny", crop="loose", trained_on="noise", out=tmp_path)
    assert [file.read_text() for file in tmp_path.glob("*tiny*")] == ["an older file"]


def test_a_run_without_validation_pictures_of_its_own_does_not_ship(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_ROOT", str(tmp_path))
    given = {"name": "tiny", "crop": "loose", "trained_on": "noise", "out": tmp_path}
    with pytest.raises(ValueError, match="main: protocol 'reference', 'nested' is allowed: .* on test pictures"):
        shipping.ship(made_run(protocol="reference")[0], **given)
    with pytest.raises(ValueError, match="main: complete = True, False is allowed: .* no pictures for a temperature"):
        shipping.ship(made_run(complete=True)[0], **given)
    assert shipping.ship(made_run(protocol="nested", complete=False)[0], **given)[0].is_file()


def test_a_changed_or_missing_run_does_not_ship(trained, tmp_path):
    given = {"name": "tiny", "crop": "loose", "trained_on": "noise", "out": tmp_path}
    with pytest.raises(FileNotFoundError, match=r"run\.json is missing"):
        shipping.ship(tmp_path, **given)
    made_classifiers.save(trained[0] / "weights.safetensors", seed=9)
    with pytest.raises(ValueError, match=r"weights\.safetensors"):
        shipping.ship(trained[0], **given)
