"""Figures of fusions show what is in their tables."""

import numpy as np
import pandas as pd
import pytest

from emolib import fusion_plots

pytestmark = pytest.mark.usefixtures("drawn_and_closed")

SHARES = {
    "both_right": [0.5, 0.2],
    "only_first": [0.3, np.nan],
    "only_second": [0.16, np.nan],
    "both_wrong": [0.04, 0.02],
}


def test_bars_of_agreement_fill_the_whole_and_narrow_parts_have_no_number():
    table = pd.DataFrame({"first": ["face", "all tables"], "second": ["voice", ""], **SHARES})
    ax = fusion_plots.agreement(table)
    widths = [patch.get_width() for patch in ax.patches if patch.get_height() == 0.62]
    assert sum(widths) == pytest.approx(1) and len(widths) == 4
    assert [text.get_text() for text in ax.texts] == ["50", "30", "16"]
    assert ax.get_lines()[0].get_xdata()[0] == pytest.approx(0.98)
    with pytest.raises(ValueError, match="no pair"):
        fusion_plots.agreement(table[1:])
    with pytest.raises(ValueError, match="lacks"):
        fusion_plots.agreement(table.drop(columns="second"))


def test_weights_have_a_bar_a_table_and_a_point_a_fold():
    table = pd.DataFrame(
        {"fold": [0, 0, 1, 1], "seed": 1, "table": ["face", "voice"] * 2, "weight": [0.2, 0.8, 0.4, 0.6]}
    )
    ax = fusion_plots.weights(table)
    assert [patch.get_height() for patch in ax.patches] == pytest.approx([0.3, 0.7])
    points = [line.get_ydata().tolist() for line in ax.get_lines()[:2]]
    assert points == [[0.2, 0.8], [0.4, 0.6]]
    with pytest.raises(ValueError, match="this method has none"):
        fusion_plots.weights(table.assign(weight=np.nan))
