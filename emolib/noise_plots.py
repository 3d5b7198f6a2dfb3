"""Figures of label noise: filters as finders of wrong labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from sklearn import metrics

from emolib.filters import FrameSelection
from emolib.label_noise.detection import ALL_CLASSES
from emolib.palette import LINES, MARKERS, new_axes, percent


def precision_recall(
    selections: Mapping[str, FrameSelection],
    wrong: np.ndarray,
    quality: pd.DataFrame,
    *,
    title: str = "Filters as finders of wrong labels",
    ax: Axes | None = None,
) -> Axes:
    """What each filter drops (a point with its intervals), on the curve of all that its score could have dropped.

    Parameters
    ----------
    selections : filter's name -> what it kept of N stills; filters whose scores are the same share one curve
    wrong : bool [N], some and not all
    quality : of `label_noise.quality`, for these filters
    """
    wrong = np.asarray(wrong, dtype=bool)
    rows = quality[quality["class"] == ALL_CLASSES].set_index("filter")
    if wrong.all() or not wrong.any() or (missing := set(selections) - set(rows.index)):
        raise ValueError(f"right and wrong stills and a quality row a filter are needed; lacking: {sorted(missing)}")
    ax = new_axes(ax, size=(7.5, 4.6))
    drawn: list[np.ndarray] = []
    for k, ((name, one), color) in enumerate(
        zip(selections.items(), sns.color_palette("colorblind", len(selections)), strict=True)
    ):
        row, look = rows.loc[name], {"color": color, "marker": MARKERS[k % len(MARKERS)]}
        if not any(np.allclose(one.score, score, atol=1e-5) for score in drawn):
            precision, recall, _ = metrics.precision_recall_curve(wrong, -one.score)
            ax.plot(recall[:-1], precision[:-1], color=color, linestyle=LINES[len(drawn) % len(LINES)], linewidth=1.2)
            drawn.append(one.score)
        reach = {
            f"{axis}err": np.clip([[row[m] - row[f"{m}_low"]], [row[f"{m}_high"] - row[m]]], 0, None)
            for axis, m in (("x", "recall"), ("y", "precision"))
        }
        text = f"{name}: average precision {row['average_precision']:.2f}"
        ax.errorbar(
            row["recall"], row["precision"], **reach, **look, markeredgecolor="black", capsize=2, ls="", label=text
        )
    ax.axhline(wrong.mean(), color="0.6", linestyle=":", label=f"dropping blindly: {100 * wrong.mean():.0f} %")
    ax.set(xlabel="wrong labels that are dropped (%)", ylabel="dropped labels that are wrong (%)", title=title)
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 1.02))
    percent(ax.xaxis), percent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return ax
