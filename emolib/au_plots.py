"""Figures of action units: over time, by emotion, against the truth, and what filters on them keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.action_units import UNITS
from emolib.openface import MAX_INTENSITY
from emolib.palette import LINES, new_axes


def units_over_time(
    time_s: np.ndarray,
    values: np.ndarray,
    *,
    n_units: int = 4,
    true: np.ndarray | None = None,
    true_intensity: np.ndarray | None = None,
    title: str = "Action units over time",
    ax: Axes | None = None,
) -> Axes:
    """The `n_units` action units of a video that move most.

    Parameters
    ----------
    time_s : float [T], rising
    values : float [T, 17], 0..5; NaN leaves a gap
    true : float [T, 17], optional
        Drawn thin in the colour of its estimate.
    true_intensity : float [T] in 0..1, optional
        Drawn as a grey area behind, full height at 1.
    """
    ax = new_axes(ax, size=(9, 3.4))
    if true_intensity is not None:
        ax.fill_between(time_s, 0, MAX_INTENSITY * np.asarray(true_intensity), color="0.9", label="true intensity")
    spread = np.nan_to_num(np.nanquantile(values, 0.95, axis=0) - np.nanquantile(values, 0.05, axis=0))
    colors = sns.color_palette("colorblind", n_units)
    for number, unit in enumerate(np.sort(np.argsort(-spread, kind="stable")[:n_units])):
        style = {"color": colors[number], "linestyle": LINES[number % len(LINES)]}
        ax.plot(time_s, values[:, unit], linewidth=2.0, label=UNITS[unit], **style)
        if true is not None:
            ax.plot(time_s, true[:, unit], linewidth=0.9, label=f"{UNITS[unit]}, true", **style)
    ax.set(xlabel="time (s)", ylabel="intensity (0..5)", ylim=(-0.15, MAX_INTENSITY + 0.15), title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return ax


def profile(
    mean: np.ndarray,
    classes: Sequence[str],
    *,
    title: str = "Mean action units of each emotion",
    ax: Axes | None = None,
) -> Axes:
    """Mean intensities [C, 17] as a heat map, one row a class; a row of NaN is empty."""
    ax = new_axes(ax, size=(9.5, 1.2 + 0.36 * len(classes)))
    names = {"xticklabels": UNITS, "yticklabels": list(classes)}
    numbers = {"annot": True, "fmt": ".1f", "annot_kws": {"fontsize": 7}}
    sns.heatmap(
        mean, cmap="Greys", vmin=0, ax=ax, linewidths=0.5, cbar_kws={"label": "intensity (0..5)"}, **names, **numbers
    )
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="action unit", ylabel="class", title=title)
    return ax


def agreement(
    table: pd.DataFrame, *, title: str = "Estimated against true action units", ax: Axes | None = None
) -> Axes:
    """`table` of `action_units.agreement` as points with intervals; units without a correlation are left out."""
    known = table.dropna(subset="correlation").iloc[::-1]
    ax = new_axes(ax, size=(6.5, 1.0 + 0.27 * len(known)))
    ax.hlines(range(len(known)), known["correlation_low"], known["correlation_high"], color="0.45", linewidth=2)
    ax.plot(known["correlation"], range(len(known)), "o", color="black", markersize=5)
    ax.axvline(0, color="0.6", linestyle=":")
    ax.set_yticks(range(len(known)), known["unit"])
    ax.set(xlabel="correlation (-1..1), 95 % over subjects", ylabel="action unit", xlim=(-1.02, 1.02), title=title)
    return ax


def kept_by_setting(
    table: pd.DataFrame,
    classes: Sequence[str],
    *,
    title: str = "Frames that filters on action units keep",
    ax: Axes | None = None,
) -> Axes:
    """Share of frames kept by setting and class, from accounts with a column `setting`: setting, label, kept_share."""
    shares = table.pivot(index="setting", columns="label", values="kept_share").loc[table["setting"].unique()]
    ax = new_axes(ax, size=(2.6 + 0.85 * shares.shape[1], 1.2 + 0.34 * len(shares)))
    names = {"xticklabels": [classes[label] for label in shares.columns], "yticklabels": shares.index.tolist()}
    sns.heatmap(
        100 * shares.to_numpy(), annot=True, fmt=".0f", cmap="Greys", vmin=0, vmax=140, cbar=False, ax=ax, **names
    )
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="class", ylabel="filter", title=f"{title} (%)")
    return ax
