"""Figures that compare variants beyond their accuracy: overlap of kept frames, reliability, embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.labels import emotion
from emolib.overlap import MEAN_OF_FOLDS
from emolib.palette import LINES, LOOKS, MARKERS, Look, check_columns, look, new_axes, percent

# value of the overlap table -> (the same seen from the other list, what it is)
OVERLAPS = {
    "jaccard": ("jaccard", "Jaccard index of the kept frames (%)"),
    "share_of_a": ("share_of_b", "frames of the row that the column keeps too (%)"),
    "share_of_b": ("share_of_a", "frames of the column that the row keeps too (%)"),
}
MARKER_AREA = (10.0, 120.0)  # square points, of a bin of next to no rows and of the fullest one


def overlap_heatmap(
    table: pd.DataFrame,
    value: str = "jaccard",
    *,
    fold: int = MEAN_OF_FOLDS,
    title: str = "Do two filters keep the same frames?",
    ax: Axes | None = None,
) -> Axes:
    """Overlap of every two filters as a heat map.

    Parameters
    ----------
    table : DataFrame
        From `overlap.table`.
    value : "jaccard" (in brackets: that of random choices of the same sizes), "share_of_a" or "share_of_b"
    fold : int
        -1 is the mean over folds.
    """
    check_columns(table, ("a", "b", "fold", "jaccard", "share_of_a", "share_of_b", "by_chance"))
    if value not in OVERLAPS:
        raise ValueError(f"value = {value!r}: one of {', '.join(OVERLAPS)} is allowed")
    pairs = table[table["fold"] == fold]
    if pairs.empty:
        raise ValueError(f"the table has no row of fold {fold}; there are {sorted(set(table['fold']))}")
    names = list(dict.fromkeys([*pairs["a"], *pairs["b"]]))
    other, label = OVERLAPS[value]
    matrix = _square(pairs, names, value, other)
    written = np.array([["" if np.isnan(x) else f"{100 * x:.0f}" for x in row] for row in matrix], dtype=object)
    if value == "jaccard":
        chance = _square(pairs, names, "by_chance", "by_chance")
        known = ~np.isnan(chance)
        written[known] += np.array([f"\n({100 * x:.0f})" for x in chance[known]], dtype=object)
        label += "\nin brackets: by chance"
    ax = new_axes(ax, size=(max(5.0, 2.6 + 0.62 * len(names)), 1.9 + 0.55 * len(names)))
    sns.heatmap(
        100 * matrix,
        annot=written,
        fmt="",
        cmap="Greys",
        vmin=0,
        vmax=100,
        square=True,
        linewidths=0.5,
        linecolor="0.9",
        annot_kws={"fontsize": 8},
        cbar_kws={"label": label},
        xticklabels=names,
        yticklabels=names,
        ax=ax,
    )
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)
    of = "mean over folds" if fold == MEAN_OF_FOLDS else f"fold {fold}"
    ax.set(xlabel="filter", ylabel="filter", title=f"{title}\n({of})")
    return ax


def reliability(
    tables: Mapping[str, pd.DataFrame],
    *,
    title: str = "Is the largest posterior the chance of being right?",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against confidence, a line a model; below the diagonal the model is too sure.

    Parameters
    ----------
    tables : name -> DataFrame `confidence, accuracy, n`
        From `calibration.reliability`. A marker's area grows with the rows in its bin, up to the model's fullest.
    """
    if not tables:
        raise ValueError("no reliability table given")
    ax = new_axes(ax, size=(5.0, 4.8))
    ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfect")
    low, high = MARKER_AREA
    for k, ((name, table), color) in enumerate(
        zip(tables.items(), sns.color_palette("colorblind", len(tables)), strict=True)
    ):
        check_columns(table, ("confidence", "accuracy", "n"))
        marker, share = MARKERS[k % len(MARKERS)], table["n"] / table["n"].max()
        ax.plot(table["confidence"], table["accuracy"], color=color, linestyle=LINES[k % len(LINES)], linewidth=1.4)
        ax.scatter(
            table["confidence"],
            table["accuracy"],
            s=low + (high - low) * share,
            color=color,
            marker=marker,
            edgecolor="black",
            linewidth=0.5,
            zorder=3,
        )
        line = {"linestyle": LINES[k % len(LINES)], "marker": marker, "markeredgecolor": "black", "markersize": 6}
        ax.plot([], [], color=color, label=name, linewidth=1.4, **line)
    ax.set(
        xlabel="confidence: largest posterior (%)",
        ylabel="accuracy: answers that are right (%)",
        title=f"{title}\n(larger marker: more frames)",
        aspect="equal",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    percent(ax.xaxis), percent(ax.yaxis)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax


def embedding(
    points: np.ndarray,
    group: Sequence[str],
    *,
    by: str = "emotion",
    found: Mapping[str, float] | None = None,
    title: str = "Embedding of test frames",
    ax: Axes | None = None,
) -> Axes:
    """Frames in two dimensions of the embedding, each looking like its emotion, or like its subject.

    Parameters
    ----------
    points : float [N, 2]
        From `embedding.project`.
    group : N texts
        Class names or subjects.
    by : "emotion" or "subject"
    found : mapping with `agreement`, `chance` (0..1) and `apart`, optional
        A row of `embedding.separation`, written below the title: what the picture alone cannot say.
    """
    points, group = np.asarray(points), np.asarray(group)
    if points.ndim != 2 or points.shape[1] != 2 or group.shape != points.shape[:1]:
        raise ValueError(f"points {points.shape} and group {group.shape} received, [N, 2] and [N] are allowed")
    ax = new_axes(ax, size=(6.2, 4.8))
    for name, (color, _, marker) in _looks(group.tolist(), by).items():
        here = group == name
        size = {"markersize": 5 if marker in "*XP" else 4, "markeredgewidth": 0}
        ax.plot(*points[here].T, marker, linestyle="", color=color, alpha=0.75, label=name, **size)
    if found is not None:
        shares = f"{100 * found['agreement']:.0f} % of the same {by}, by chance {100 * found['chance']:.0f} %"
        known = np.isfinite(found["agreement"])
        title += f"\nneighbours from other {found['apart']}s: {shares if known else 'there are none'}"
    ax.set(xlabel="dimension 1 (no unit)", ylabel="dimension 2 (no unit)")
    ax.set_aspect("equal", adjustable="datalim")  # distances are what is shown; the box stays, however flat the points
    ax.set_title(title, fontsize=10)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, title=by, markerscale=1.5)
    return ax


def _looks(group: list[str], by: str) -> dict[str, Look]:
    """Look of each name that occurs, in the order of the legend."""
    if by == "emotion":
        order = list(LOOKS)
        return {name: look(name) for name in sorted(set(group), key=lambda name: order.index(emotion(name)))}
    if by != "subject":
        raise ValueError(f"by = {by!r}: 'emotion' or 'subject' is allowed")
    names, colors = sorted(set(group)), sns.color_palette("colorblind", 10)
    return {name: Look(colors[k % 10], "-", MARKERS[k % len(MARKERS)]) for k, name in enumerate(names)}


def _square(pairs: pd.DataFrame, names: list[str], value: str, other: str) -> np.ndarray:
    """Value of every two names, [n, n]; NaN on the diagonal."""
    matrix, place = np.full((len(names), len(names)), np.nan), {name: k for k, name in enumerate(names)}
    for row in pairs.to_dict("records"):
        i, j = place[row["a"]], place[row["b"]]
        matrix[i, j], matrix[j, i] = row[value], row[other]
    return matrix
