"""Posteriors: prediction against a plain forward pass, the table's checks, z-score and temperature."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from emolib import models, posteriors

CLASSES = ["neutral", "positive", "negative"]


@pytest.fixture
def pictures(tmp_path):
    """Image and guide as maps of files, as a frame store gives them."""
    rng = np.random.default_rng(0)
    for name in ("image", "guide"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (40, 48, 48), dtype=np.uint8))
    return tuple(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("image", "guide"))


def trained(name: str = "guided") -> dict:
    torch.manual_seed(0)
    model = models.build(name, 3)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.running_var.uniform_(0.5, 2)
    return model.state_dict()


@pytest.mark.parametrize("name", models.MODELS)
def test_predict_and_embed_are_the_plain_forward_pass(name, pictures):
    image, guide = pictures
    state, rows = trained(name), np.array([5, 3, 3, 39, 0, 17])
    network = models.build(name, 3).eval()
    network.load_state_dict(state)
    scaled = [torch.from_numpy(array[rows].astype(np.float32) / 127.5 - 1).unsqueeze(1) for array in (image, guide)]
    with torch.no_grad():
        logits, embedding = network(*scaled), network.embed(*scaled)
    given_guide = guide if network.needs_guide else None
    options = {"model": name, "n_classes": 3, "state": state, "batch_size": 4, "device": "cpu"}
    result = posteriors.predict(image, given_guide, rows, **options)
    assert result.dtype == np.float32 and result.shape == (6, 3)
    np.testing.assert_allclose(result, logits.softmax(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(result.sum(1), 1, atol=1e-6)
    activations = posteriors.embed(image, given_guide, rows, **options)
    assert activations.shape == (6, network.embedding_size)
    np.testing.assert_allclose(activations, embedding.numpy(), rtol=1e-3, atol=1e-4)


def test_no_rows_give_no_posteriors(pictures):
    result = posteriors.predict(*pictures, np.array([], dtype=int), model="guided", n_classes=3, state=trained())
    assert result.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.array([0, 40])}, "0 to 40 received, 0 to 39"),
        ({"rows": np.array([-1])}, "-1 to -1 received"),
        ({"rows": np.array([0.5])}, "float64"),
        ({"guide": None}, "guide: None"),
        ({"n_classes": 4}, "do not fit 'guided' with 4 classes"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"device": "tpu"}, "'tpu' received"),
    ],
)
def test_predict_refuses(change, message, pictures):
    given_ = {
        "image": pictures[0],
        "guide": pictures[1],
        "rows": np.arange(3),
        "n_classes": 3,
        "device": "cpu",
    } | change
    positional = [given_.pop(name) for name in ("image", "guide", "rows")]
    with pytest.raises(ValueError, match=message):
        posteriors.predict(*positional, model="guided", state=trained(), **given_)


def some_table(n: int = 6) -> pd.DataFrame:
    posterior = np.random.default_rng(1).dirichlet(np.ones(3), n).astype(np.float32)
    return posteriors.table(np.arange(n), posterior, classes=CLASSES, fold=2, subset="test")


def test_table_goes_to_a_file_and_back(tmp_path):
    table, file = some_table(), tmp_path / "posteriors.parquet"
    assert list(table.columns) == ["sample", "p_neutral", "p_positive", "p_negative", "fold", "subset"]
    posteriors.write(table, file)
    pd.testing.assert_frame_equal(posteriors.read(file, classes=CLASSES), table)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_neutral": 0.9}, "row 3: the posterior sums to"),
        ({"p_neutral": np.nan}, r"row 3: posterior \[nan"),
        ({"p_neutral": -0.2}, "row 3: posterior .* is not within"),
        ({"subset": "dev"}, "row 3: subset 'dev'"),
        ({"sample": 1}, "row 3: sample 1 is twice in fold 2"),
    ],
)
def test_read_names_file_and_row(tmp_path, change, message):
    table, file = some_table(), tmp_path / "posteriors.parquet"
    table["p_positive"] = table["p_positive"].clip(0.2)
    table[["p_neutral", "p_positive", "p_negative"]] = [0.2, 0.3, 0.5]
    for column, value in change.items():
        table.loc[3, column] = value
    with pytest.raises(ValueError, match=message):
        posteriors.write(table, file)
    table.to_parquet(file, index=False)
    with pytest.raises(ValueError, match=f"posteriors.parquet, {message}"):
        posteriors.read(file, classes=CLASSES)


def test_read_refuses_other_classes_and_no_file(tmp_path):
    posteriors.write(some_table(), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="p_happy"):
        posteriors.read(tmp_path / "p.parquet", classes=["neutral", "happy", "negative"])
    with pytest.raises(FileNotFoundError, match="no posterior table"):
        posteriors.read(tmp_path / "q.parquet", classes=CLASSES)


def test_table_refuses_another_number_of_classes():
    with pytest.raises(ValueError, match=r"\(2, 2\) received, \(2, 3\) expected"):
        posteriors.table(np.arange(2), np.full((2, 2), 0.5), classes=CLASSES, fold=0, subset="test")


def test_zscore_is_scipys_and_refuses_a_constant_column():
    posterior = np.random.default_rng(2).dirichlet(np.ones(4), 50)
    np.testing.assert_allclose(posteriors.zscore(posterior), scipy.stats.zscore(posterior, axis=0))
    posterior[:, 2] = 0.25
    with pytest.raises(ValueError, match="column 2 is constant"):
        posteriors.zscore(posterior)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_fit_temperature_undoes_a_known_one(temperature):
    rng = np.random.default_rng(3)
    truth = rng.dirichlet(np.ones(5), 20_000)
    label = (truth.cumsum(1) < rng.random((len(truth), 1))).sum(1).clip(0, 4)
    sharp = np.log(truth) * temperature  # logits as an overconfident (or shy) network gives them
    assert posteriors.fit_temperature(sharp, label) == pytest.approx(temperature, rel=0.03)


def test_fit_temperature_is_the_minimum_of_another_minimiser():
    rng = np.random.default_rng(4)
    logits, label = rng.normal(size=(200, 4)) * 3, rng.integers(0, 4, 200)
    logits[np.arange(200), label] += 2

    def loss(temperature):
        return scipy.special.logsumexp(logits / temperature, axis=1).sum() - (
            logits[np.arange(200), label].sum() / temperature
        )

    expected = minimize(lambda x: loss(x[0]), [1.0], bounds=[(0.01, 100)]).x[0]
    assert posteriors.fit_temperature(logits, label) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("log_posterior", "label", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "received"),
        (np.zeros((2, 3)), np.zeros(3, dtype=int), "received"),
        (np.array([[0.0, np.nan]]), np.array([0]), "NaN in row 0"),
        (np.zeros((2, 3)), np.array([0, 3]), "0 to 3 received, 0 to 2"),
    ],
)
def test_fit_temperature_refuses(log_posterior, label, message):
    with pytest.raises(ValueError, match=message):
        posteriors.fit_temperature(log_posterior, label)


@given(st.floats(0.1, 10), st.integers(0, 500))
@settings(max_examples=40, deadline=None)
def test_apply_temperature_keeps_order_and_sum(temperature, seed):
    posterior = np.random.default_rng(seed).dirichlet(np.ones(4), 10)
    posterior[0] = [0, 0, 1, 0]
    result = posteriors.apply_temperature(posterior, temperature)
    np.testing.assert_allclose(result.sum(1), 1)
    np.testing.assert_array_equal(result.argmax(1), posterior.argmax(1))
    np.testing.assert_allclose(result[0], posterior[0])
    np.testing.assert_allclose(posteriors.apply_temperature(result, 1 / temperature), posterior, atol=1e-6)


def test_apply_temperature_refuses_zero():
    with pytest.raises(ValueError, match="temperature: 0"):
        posteriors.apply_temperature(np.ones((1, 1)), 0)
