"""Figures of variants on stills: recall by class, and numbers of the stills that are answered right and wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.palette import check_columns, look, new_axes


def recall_heatmap(
    table: pd.DataFrame, *, title: str = "Which classes does each variant find?", ax: Axes | None = None
) -> Axes:
    """Recall of each class (columns) by each variant (rows), in percent.

    Parameters
    ----------
    table : of `still_comparison.recall`
    """
    if table.empty:
        raise ValueError("no variant given")
    ax = new_axes(ax, size=(3.2 + 0.75 * table.shape[1], 1.3 + 0.32 * len(table)))
    sns.heatmap(
        100 * table,
        annot=True,
        fmt=".0f",
        cmap="Greys",
        vmin=0,
        vmax=100,
        linewidths=0.5,
        linecolor="0.9",
        annot_kws={"fontsize": 8},
        cbar_kws={"label": "recall (%)"},
        ax=ax,
    )
    ax.tick_params(axis="x", rotation=45)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="class", ylabel="variant", title=title)
    return ax


def right_and_wrong(table: pd.DataFrame, *, column: str, title: str = "", ax: Axes | None = None) -> Axes:
    """Mean and spread (SD) of a number over the stills of each class that one variant answers right and wrong.

    Parameters
    ----------
    table : rows of one variant of `still_comparison.described`
    column : which number, such as "valence"

    Raises
    ------
    ValueError
        The table has no row of that number, or rows of several variants.
    """
    check_columns(table, ("variant", "class", "answered", "column", "mean", "sd", "n"))
    rows = table[table["column"] == column]
    if rows.empty or rows["variant"].nunique() > 1:
        raise ValueError(f"rows of one variant with {column!r} are needed; there are {sorted(set(rows['variant']))}")
    classes = list(dict.fromkeys(rows["class"]))
    ax = new_axes(ax, size=(1.8 + 0.95 * len(classes), 3.6))
    for answered, shift in {"right": -0.14, "wrong": 0.14}.items():
        of = rows[rows["answered"] == answered].set_index("class").loc[classes]
        for x, (name, row) in enumerate(of.iterrows()):
            colour, face = look(name).color, look(name).color if answered == "right" else "white"
            point = {"color": colour, "marker": look(name).marker, "markerfacecolor": face, "capsize": 3}
            ax.errorbar(x + shift, row["mean"], yerr=np.nan_to_num(row["sd"]), **point)
            if row["n"]:
                ax.annotate(f"{row['n']:,}", (x + shift, row["mean"]), (4, 3), textcoords="offset points", fontsize=6.5)
        face = "black" if answered == "right" else "white"
        ax.plot([], [], "o", color="black", markerfacecolor=face, label=f"answered {answered}")
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_xticks(range(len(classes)), classes)
    ax.margins(x=0.15)
    ax.set(xlabel="class of the label", ylabel=f"{column} (mean and SD)", title=title or f"{column}, right and wrong")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax
