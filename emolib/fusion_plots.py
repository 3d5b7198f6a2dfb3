"""Figures of fusions: how far tables agree, and what each one counts for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from emolib.palette import MARKERS, check_columns, new_axes, percent

# column, name in the legend, shade, hatch: told apart in black and white
_SHARES = (
    ("both_right", "both right", "#009E73", ""),
    ("only_first", "only the first", "#56B4E9", "//"),
    ("only_second", "only the second", "#E69F00", "\\\\"),
    ("both_wrong", "both wrong", "#555555", ""),
)


def agreement(
    table: pd.DataFrame, *, title: str = "Are two tables right on the same performances?", ax: Axes | None = None
) -> Axes:
    """A bar a pair of tables, cut by who is right; the dashed line is where all tables are wrong.

    Parameters
    ----------
    table : of `fusion.agreement`
    """
    check_columns(table, ("first", "second", *(name for name, *_ in _SHARES)))
    pairs = table[table["second"] != ""].reset_index(drop=True)
    if pairs.empty:
        raise ValueError("no pair of tables given")
    ax = new_axes(ax, size=(8, 1.7 + 0.45 * len(pairs)))
    left = np.zeros(len(pairs))
    for column, name, color, hatch in _SHARES:
        width = pairs[column].to_numpy()
        look = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.8}
        ax.barh(range(len(pairs)), width, left=left, height=0.62, label=name, **look)
        for y, (start, share) in enumerate(zip(left, width, strict=True)):
            if share >= 0.05:  # a narrower part has no room for its number
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
                ax.text(start + share / 2, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, bbox=box)
        left += width
    lost = table.loc[table["second"] == "", "both_wrong"]
    if len(lost):
        ax.axvline(
            1 - lost.iloc[0], color="black", linestyle="--", linewidth=1.2, label="right of it: all tables wrong"
        )
    ax.set_yticks(range(len(pairs)), [f"{row.first}\n{row.second}" for row in pairs.itertuples()], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="share of the test performances (%)", ylabel="first, second", xlim=(0, 1), title=title)
    percent(ax.xaxis)
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.45, -0.55 / len(pairs) ** 0.5))
    return ax


def weights(table: pd.DataFrame, *, title: str = "What each table counts for", ax: Axes | None = None) -> Axes:
    """Weights of the tables, a point a fold and seed and a bar for their mean.

    Parameters
    ----------
    table : `Fused.weights`; rows without a weight are passed over
    """
    check_columns(table, ("fold", "seed", "table", "weight"))
    known = table[table["weight"].notna()]
    if known.empty:
        raise ValueError("no weights given: this method has none")
    names, folds = list(dict.fromkeys(known["table"])), sorted(known["fold"].unique())
    ax = new_axes(ax, size=(2.6 + 1.3 * len(names), 3.6))
    ax.bar(range(len(names)), known.groupby("table")["weight"].mean().loc[names], width=0.6, color="0.8")
    for number, fold in enumerate(folds):
        some = known[known["fold"] == fold]
        x = np.array([names.index(name) for name in some["table"]]) + 0.08 * (number - (len(folds) - 1) / 2)
        ax.plot(x, some["weight"], MARKERS[number % len(MARKERS)], color="black", markersize=4, label=f"fold {fold}")
    ax.axhline(1 / len(names), color="#D55E00", linestyle="--", linewidth=1.2, label="equal weights")
    ax.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
    ax.set(ylabel="weight (sum 1)", xlabel="table", ylim=(0, None), title=title)
    ax.legend(frameon=False, fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
