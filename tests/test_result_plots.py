"""The forest plot: our variants by protocol, controls and published results told apart, many rows readable."""

import numpy as np
import pandas as pd
import pytest

from emolib import published, result_plots

pytestmark = pytest.mark.usefixtures("drawn_and_closed")


def rows(n):
    value = np.linspace(0.4, 0.7, n)
    table = pd.DataFrame({"variant": [f"p{k}" for k in range(n)], "protocol": "nested", "value": value})
    return table.assign(low=value - 0.05, high=value + 0.05, control=False)


THESIS = published.table("ravdess_thesis").rename(columns={"video_accuracy": "value"})


def labels(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_blocks_by_protocol_and_published_results_below_with_corpus_and_protocol():
    table = pd.concat([rows(3), rows(1).assign(variant="all_reference", protocol="reference")])
    ax = result_plots.forest(table, published=THESIS, baseline="p0")
    first = ["nested, ours", "p2", "p1", "p0", "reference, ours", "all_reference"]
    assert labels(ax)[:6] == first, "the best of a block on top"
    assert labels(ax)[6] == "published: master's thesis (system A), RAVDESS, reference"
    assert labels(ax)[7] == "two-stage mixed, threshold 0.7" and len(labels(ax)) == 6 + 1 + 11
    assert [t.get_fontweight() == "bold" for t in ax.get_yticklabels()][:5] == [True, False, False, False, True]
    assert ax.yaxis_inverted() and ax.get_xlabel() == "video accuracy (%)"


def test_ours_controls_and_published_results_look_different_and_only_ours_have_intervals():
    table = rows(3).assign(control=[False, True, False])
    ax = result_plots.forest(table, published=THESIS.head(1), baseline="p0")
    looks = {int(line.get_ydata()[0]): line.get_marker() for line in ax.lines if len(line.get_xdata()) == 1}
    assert looks == {1: "o", 2: "^", 3: "s", 5: "D"}
    spans = {line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.6}
    assert spans == {1, 2, 3}
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in dashed] == [(0.4, 0.4, 0, 3.5)], "in its own block alone"
    assert [text.get_text() for text in ax.texts] == [
        "70.0 [65.0, 75.0]",
        "55.0 [50.0, 60.0]",
        "40.0 [35.0, 45.0]",
        "54.3",
    ]


@pytest.mark.parametrize(
    ("control", "named"),
    [([False] * 3, ["variant"]), ([False, True, False], ["variant", "random control of equal size"])],
)
def test_the_legend_names_only_what_is_there(control, named):
    ax = result_plots.forest(rows(3).assign(control=control))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == named


def test_sixty_rows_do_not_touch_each_other():
    ax = result_plots.forest(rows(60), published=THESIS, baseline="p0")
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in zip(boxes, boxes[1:], strict=False))
    boxes = [text.get_window_extent() for text in ax.texts]
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in zip(boxes, boxes[1:], strict=False))


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="baseline 'all' is not among"):
        result_plots.forest(rows(2), baseline="all")
    with pytest.raises(ValueError, match=r"\['control'\]"):
        result_plots.forest(rows(2).drop(columns="control"))
