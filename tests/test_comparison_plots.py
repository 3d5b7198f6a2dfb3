"""Figures of overlap, reliability and embedding: the data, labels and units that are on them (not pixels)."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from emolib import calibration, comparison_plots, labels, overlap, palette

CLASSES = labels.names("ravdess8")


pytestmark = pytest.mark.usefixtures("drawn_and_closed")


def texts(found):
    return [text.get_text() for text in found]


@pytest.fixture
def table():
    keep = {"all": [1, 1, 1, 1], "p50": [1, 1, 0, 0], "random": [0, 1, 1, 0]}
    sample = pd.DataFrame({"sample": range(4), "fold": 0})
    return overlap.table({name: sample.assign(keep=np.array(mask, dtype=bool)) for name, mask in keep.items()})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("jaccard", ["", "50\n(50)", "50\n(50)", "50\n(50)", "", "33\n(39)", "50\n(50)", "33\n(39)", ""]),
        ("share_of_a", ["", "50", "50", "100", "", "50", "100", "50", ""]),
        ("share_of_b", ["", "100", "100", "50", "", "50", "50", "50", ""]),
    ],
)
def test_heat_map_has_every_pair_from_both_sides(table, value, expected):
    ax = comparison_plots.overlap_heatmap(table, value)
    written = np.full(9, "", dtype=object)
    for text in ax.texts:
        x, y = text.get_position()
        written[int(y) * 3 + int(x)] = text.get_text()
    assert written.tolist() == expected
    assert texts(ax.get_yticklabels()) == texts(ax.get_xticklabels()) == ["all", "p50", "random"]
    assert "(mean over folds)" in ax.get_title() and "(%)" in ax.figure.axes[1].get_ylabel()


def test_heat_map_of_one_fold_names_it(table):
    assert "(fold 0)" in comparison_plots.overlap_heatmap(table, fold=0).get_title()


def test_reliability_draws_a_line_a_model_and_larger_markers_for_fuller_bins():
    posterior = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 5)
    tables = {
        name: calibration.reliability(posterior, np.arange(15) % k, n_bins=10)
        for name, k in {"sure": 2, "right": 1}.items()
    }
    ax = comparison_plots.reliability(tables)
    assert texts(ax.get_legend().get_texts()) == ["perfect", "sure", "right"]
    lines = [line for line in ax.lines if len(line.get_xdata())][1:]
    np.testing.assert_allclose(lines[0].get_xydata(), [[0.6, 0.6], [0.9, 0.5]])
    np.testing.assert_allclose(lines[1].get_ydata(), 1)
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    small, large = ax.collections[0].get_sizes()
    assert small < large == comparison_plots.MARKER_AREA[1]
    assert ax.get_xlabel().endswith("(%)") and ax.get_ylabel().endswith("(%)")


def test_embedding_by_emotion_has_the_look_of_each_emotion_in_one_order():
    points = np.random.default_rng(0).normal(size=(40, 2))
    group = [CLASSES[k % 3 + 4] for k in range(40)][::-1]
    found = {"apart": "subject", "agreement": 0.412, "chance": 0.125}
    ax = comparison_plots.embedding(points, group, title="Fold 0", found=found)
    assert ax.get_title() == "Fold 0\nneighbours from other subjects: 41 % of the same emotion, by chance 12 %"
    assert texts(ax.get_legend().get_texts()) == ["angry", "fearful", "disgust"]
    for line in ax.lines:
        assert (line.get_color(), line.get_marker()) == palette.look(line.get_label())[::2]
        here = np.array(group) == line.get_label()
        np.testing.assert_array_equal(line.get_xydata(), points[here])
    assert "(no unit)" in ax.get_xlabel()


def test_embedding_by_subject_tells_them_apart_and_says_where_there_is_no_number():
    group = [f"{k % 6:02d}" for k in range(24)]
    found = {"apart": "video", "agreement": np.nan, "chance": np.nan}
    ax = comparison_plots.embedding(np.zeros((24, 2)), group, by="subject", found=found)
    assert texts(ax.get_legend().get_texts()) == [f"{k:02d}" for k in range(6)]
    assert len({line.get_marker() for line in ax.lines}) == len({line.get_color() for line in ax.lines}) == 6
    assert ax.get_title().endswith("neighbours from other videos: there are none")


def test_figures_are_drawn_on_the_axes_given(table):
    _, axes = plt.subplots(1, 3)
    assert comparison_plots.overlap_heatmap(table, ax=axes[0]) is axes[0]
    reliability = pd.DataFrame({"confidence": [0.5], "accuracy": [0.5], "n": [3]})
    assert comparison_plots.reliability({"a": reliability}, ax=axes[1]) is axes[1]
    assert comparison_plots.embedding(np.zeros((2, 2)), ["happy", "sad"], ax=axes[2]) is axes[2]


def empty():
    return pd.DataFrame({"a": [], "b": [], "fold": [], **{name: [] for name in overlap.VALUES}})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: comparison_plots.overlap_heatmap(empty().drop(columns="by_chance")), r"\['by_chance'\]"),
        (lambda: comparison_plots.overlap_heatmap(empty()), "no row of fold -1"),
        (lambda: comparison_plots.overlap_heatmap(empty(), "dice"), "'dice': one of jaccard"),
        (lambda: comparison_plots.reliability({}), "no reliability"),
        (lambda: comparison_plots.reliability({"a": pd.DataFrame({"n": [1]})}), r"\['confidence', 'accuracy'\]"),
        (lambda: comparison_plots.embedding(np.zeros((3, 3)), ["happy"] * 3), r"points \(3, 3\)"),
        (lambda: comparison_plots.embedding(np.zeros((1, 2)), ["joy"]), "'joy'"),
        (lambda: comparison_plots.embedding(np.zeros((1, 2)), ["01"], by="age"), "'age'"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
