"""Figures of results: curves of filters, confusion matrices, variants with intervals. Public in `plots`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.palette import LINES, MARKERS, check_columns, new_axes, percent

# marker, colour, its face, name in the legend: told apart in black and white
FOREST_LOOKS = (
    ("o", "black", "black", "variant"),
    ("^", "0.45", "0.75", "random control of equal size"),
    ("D", "#0072B2", "white", "published, no interval"),
)


def filter_curve(
    table: pd.DataFrame,
    *,
    strength_label: str,
    value_label: str = "accuracy (%)",
    title: str = "Accuracy against the strength of the filter",
    ax: Axes | None = None,
) -> Axes:
    """A metric against a filter's strength, with intervals; one line a series.

    Parameters
    ----------
    table : DataFrame
        `strength, value, low, high` (shares 0..1) and, where there are several lines, `metric`: the name of each.
    strength_label : str
        What the strength is, with its unit: "percentile of the video's own posteriors (%)".
    """
    check_columns(table, ("strength", "value", "low", "high"))
    series = table.assign(metric=value_label) if "metric" not in table else table
    ax = new_axes(ax, size=(6.5, 3.8))
    names = list(dict.fromkeys(series["metric"]))
    # side by side, so that intervals at one strength do not hide each other
    shift = 0.008 * np.ptp(table["strength"]) * (np.arange(len(names)) - (len(names) - 1) / 2)
    for k, (name, color) in enumerate(zip(names, sns.color_palette("colorblind", len(names)), strict=True)):
        line = series[series["metric"] == name].sort_values("strength")
        ax.errorbar(
            line["strength"] + shift[k],
            line["value"],
            yerr=_reach(line),
            label=name,
            color=color,
            linestyle=LINES[k % len(LINES)],
            marker=MARKERS[k % len(MARKERS)],
            capsize=3,
            linewidth=1.6,
        )
    ax.set(xlabel=strength_label, ylabel=value_label, title=title)
    percent(ax.yaxis)
    if len(names) > 2:  # below the axes, where no line runs
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    elif len(names) > 1:
        ax.legend(frameon=False, fontsize=8)
    return ax


def confusion_matrix(
    matrix: np.ndarray, classes: Sequence[str], *, title: str = "Confusion matrix", ax: Axes | None = None
) -> Axes:
    """Confusion matrix, rows = truth; the shade is the share of the row.

    Parameters
    ----------
    matrix : int [C, C], counts, written as they are; or float [C, C], shares of the rows, written in percent
    classes : C class names
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(classes), len(classes)):
        raise ValueError(f"{len(classes)} classes, but a matrix {matrix.shape}")
    counts = matrix.dtype.kind in "iu"
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0) if counts else matrix
    ax = new_axes(ax, size=(1.8 + 0.62 * len(classes), 1.2 + 0.55 * len(classes)))
    sns.heatmap(
        100 * share,
        annot=matrix if counts else 100 * matrix,
        fmt="d" if counts else ".0f",
        cmap="Greys",
        vmin=0,
        vmax=100,
        square=True,
        linewidths=0.5,
        linecolor="0.9",
        annot_kws={"fontsize": 8},
        cbar_kws={"label": "share of the true class (%)"},
        xticklabels=list(classes),
        yticklabels=list(classes),
        ax=ax,
    )
    ax.tick_params(axis="x", rotation=45)
    ax.tick_params(axis="y", rotation=0)
    unit = "samples" if counts else "% of the true class"
    ax.set(xlabel="predicted class", ylabel="true class", title=f"{title} ({unit})")
    return ax


def intervals(
    table: pd.DataFrame,
    *,
    value_label: str = "video accuracy (%)",
    baseline: str | None = None,
    title: str = "Variants with 95 % intervals over subjects",
    ax: Axes | None = None,
) -> Axes:
    """Variants with their intervals, the best on top (forest plot).

    Parameters
    ----------
    table : DataFrame
        `variant, value, low, high` (shares 0..1). A row whose low and high are NaN, such as a published result, is an
        open diamond.
    baseline : str, optional
        The variant whose value the dashed line marks; its own marker is a square.
    """
    check_columns(table, ("variant", "value", "low", "high"))
    if baseline is not None and baseline not in set(table["variant"]):
        raise ValueError(f"baseline {baseline!r} is not among the variants {table['variant'].tolist()}")
    rows = table.sort_values("value", kind="stable").reset_index(drop=True)  # y grows upwards
    ax = new_axes(ax, size=(7.5, 1.2 + 0.34 * len(rows)))
    for y, row in enumerate(rows.itertuples()):
        known = np.isfinite(row.low) and np.isfinite(row.high)
        marker = "s" if row.variant == baseline else "o" if known else "D"
        if known:
            ax.plot([row.low, row.high], [y, y], color="0.45", linewidth=2, solid_capstyle="butt")
        ax.plot(row.value, y, marker, color="black", markerfacecolor="black" if known else "white", markersize=6)
    if baseline is not None:
        at = float(rows.loc[rows["variant"] == baseline, "value"].iloc[0])
        ax.axvline(at, color="#D55E00", linestyle="--", linewidth=1.2, zorder=0, label=f"baseline: {baseline}")
        ax.legend(frameon=False, fontsize=8, loc="lower right")
    ax.set_yticks(range(len(rows)), rows["variant"])
    ax.set(xlabel=value_label, ylabel="variant", ylim=(-0.7, len(rows) - 0.3), title=title)
    percent(ax.xaxis)
    return ax


def forest(
    table: pd.DataFrame,
    *,
    published: pd.DataFrame | None = None,
    baseline: str | None = None,
    value_label: str = "video accuracy (%)",
    title: str = "All variants with 95 % intervals over subjects",
    ax: Axes | None = None,
) -> Axes:
    """All variants in blocks by protocol, the best of a block on top, and published results in blocks of their own.

    Parameters
    ----------
    table : DataFrame
        `variant, protocol, value, low, high` (shares 0..1) and `control` (bool): a random control, drawn grey.
    published : DataFrame, optional
        `variant, corpus, protocol, source, value`: open diamonds without intervals, below ours, under a header with
        corpus and protocol, since other corpora and protocols cannot be compared with ours.
    baseline : str, optional
        The variant whose value the dashed line marks; its own marker is a square.
    """
    check_columns(table, ("variant", "protocol", "value", "low", "high", "control"))
    if baseline is not None and baseline not in set(table["variant"]):
        raise ValueError(f"baseline {baseline!r} is not among the variants {table['variant'].tolist()}")
    blocks = {f"{name}, ours": rows for name, rows in table.groupby("protocol")}
    if published is not None and len(published):
        check_columns(published, ("variant", "corpus", "protocol", "source", "value"))
        for (source, corpus, protocol), rows in published.groupby(["source", "corpus", "protocol"]):
            blocks[f"published: {source}, {corpus}, {protocol}"] = rows
    n_lines = sum(1 + len(rows) for rows in blocks.values())
    row_inch = 0.19 if n_lines > 30 else 0.26
    ax = new_axes(ax, size=(9, 1.2 + row_inch * n_lines))
    labels = []
    for header, rows in blocks.items():
        top = len(labels)
        ax.axhline(top, color="0.6", linewidth=0.6)
        labels += [header, *(ordered := rows.sort_values("value", ascending=False, kind="stable"))["variant"]]
        for y, row in enumerate(ordered.itertuples(), start=top + 1):
            _forest_row(ax, y, row, is_baseline=row.variant == baseline)
            if row.variant == baseline:  # across its own block alone: another protocol has another baseline
                across, style = ([row.value] * 2, [top, len(labels) - 0.5]), {"linestyle": "--", "linewidth": 1.2}
                ax.plot(*across, color="#D55E00", zorder=0, label=f"baseline: {baseline}", **style)
    shown = (not table["control"].all(), table["control"].any(), len(blocks) > table["protocol"].nunique())
    for marker, shade, face, name in (look for look, there in zip(FOREST_LOOKS, shown, strict=True) if there):
        ax.plot([], [], marker, color=shade, markerfacecolor=face, markersize=5, label=name)
    ax.set_yticks(range(len(labels)), labels, fontsize=7.5)
    for tick in [tick for tick in ax.get_yticklabels() if tick.get_text() in blocks]:
        tick.set_fontweight("bold")
    ax.set(xlabel=value_label, ylim=(len(labels) - 0.4, -0.6), title=title)  # y grows downwards
    ax.tick_params(axis="y", length=0)
    below = -0.5 / (row_inch * n_lines)
    ax.legend(frameon=False, fontsize=7.5, ncols=4, loc="upper center", bbox_to_anchor=(0.4, below))
    percent(ax.xaxis)
    return ax


def _forest_row(ax: Axes, y: int, row: tuple, *, is_baseline: bool) -> None:
    """One line of `forest`: interval, marker, and the numbers to the right of the axes."""
    ours = hasattr(row, "low")
    control = ours and row.control
    marker, shade, face, _ = FOREST_LOOKS[2 if not ours else 1 if control else 0]
    text = f"{100 * row.value:.1f}"
    if y % 2:
        ax.axhspan(y - 0.5, y + 0.5, color="0.96", zorder=-1, linewidth=0)
    if ours:
        ax.plot([row.low, row.high], [y, y], color="0.7" if control else "0.35", linewidth=1.6, solid_capstyle="butt")
        text += f" [{100 * row.low:.1f}, {100 * row.high:.1f}]"
    ax.plot(row.value, y, "s" if is_baseline else marker, color=shade, markerfacecolor=face, markersize=5)
    ax.text(1.01, y, text, transform=ax.get_yaxis_transform(), va="center", fontsize=7.5)


def _reach(table: pd.DataFrame) -> np.ndarray:
    """Lengths below and above the value, [2, n]; Matplotlib refuses negative ones, which rounding can make."""
    return np.clip([table["value"] - table["low"], table["high"] - table["value"]], 0, None)
