"""Figures of models of action units: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib import au_result_plots, labels

pytestmark = pytest.mark.usefixtures("drawn_and_closed")
CLASSES = labels.names("ravdess8")


def heat(ax) -> np.ndarray:
    mesh = ax.collections[0]
    return np.ma.filled(mesh.get_array().reshape(len(ax.get_yticklabels()), -1).astype(float), np.nan)


def test_deviations_are_means_of_zscores_by_class():
    rng = np.random.default_rng(0)
    values, label = rng.normal(size=(60, 3)), rng.integers(0, 7, 60)
    values[:, 1] = 2.5
    ax = au_result_plots.deviations(values, label, ["AU01_r", "AU02_r", "AU04_r"], CLASSES)
    drawn = heat(ax)
    assert drawn.shape == (8, 3) and np.isnan(drawn[7]).all() and (drawn[:7, 1] == 0).all()
    z = (values[:, 0] - values[:, 0].mean()) / values[:, 0].std()
    np.testing.assert_allclose(drawn[:7, 0], [z[label == k].mean() for k in range(7)])
    with pytest.raises(ValueError, match=r"values \(60, 3\) for 60 labels and 2 names"):
        au_result_plots.deviations(values, label, ["a", "b"], CLASSES)


def test_the_sweep_has_the_best_model_on_top():
    table = pd.DataFrame({"model": ["svc", "svc", "knn", "knn"], "scaling": ["none", "minmax"] * 2})
    ax = au_result_plots.sweep(table.assign(mean_of_folds=[0.3, 0.5, 0.6, 0.2]))
    assert [text.get_text() for text in ax.get_yticklabels()] == ["knn", "svc"]
    np.testing.assert_allclose(heat(ax), [[60, 20], [30, 50]])
    with pytest.raises(ValueError, match="scaling"):
        au_result_plots.sweep(table.drop(columns="scaling"))


def test_attention_lies_below_the_units_as_a_multiple_of_equal_attention():
    values = np.random.default_rng(1).random((10, 35)) * 5
    values[3] = np.nan
    step = np.array([0, 1, 2, 4, 5, 6, 7, 8, 9])
    weight = np.full(9, 1 / 9)
    upper, lower = au_result_plots.attention_over_time(np.arange(10) / 30, values, step, weight)
    line = lower.lines[0].get_ydata()
    assert np.isnan(line[3]) and np.allclose(np.delete(line, 3), 1) and len(upper.lines) == 4
    with pytest.raises(ValueError, match="9 steps and 9 weights of 5 times"):
        au_result_plots.attention_over_time(np.arange(5), values[:5], step, weight)
    with pytest.raises(ValueError, match=r"\[T, 17 or more\]"):
        au_result_plots.attention_over_time(np.arange(10), values[:, :5], step, weight)


def test_attention_by_class_is_a_mean_over_relative_time():
    rows = [
        pd.DataFrame({"performance": name, "step": range(n), "weight": weight, "fold": 0, "seed": seed})
        for seed in (1, 2)
        for name, n, weight in (("a", 40, 1 / 40), ("b", 20, np.arange(20) / 190))
    ]
    known = pd.DataFrame({"performance": ["a", "b"], "label": [0, 4], "n_frames": [40, 20]})
    ax = au_result_plots.attention_by_class(pd.concat(rows), known, CLASSES)
    calm, angry = (line.get_ydata() for line in ax.lines[:2])
    np.testing.assert_allclose(calm, 1)
    np.testing.assert_allclose(angry, np.arange(20) / 190 * 20)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["neutral", "angry"]
