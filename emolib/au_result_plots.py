"""Figures of what models make of action units: profiles of emotions, attention over time, a sweep of models."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib import au_plots
from emolib.openface import UNITS
from emolib.palette import check_columns, look, new_axes

N_BINS = 20  # of relative time


def deviations(
    values: np.ndarray,
    label: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    *,
    title: str = "Action units of each emotion against all",
    ax: Axes | None = None,
) -> Axes:
    """How far each class's mean of each feature lies from the mean of all, in standard deviations: a heat map.

    Parameters
    ----------
    values : float [n, F]; a feature that is constant is drawn as 0.
    label : int [n], in the order of `classes`; a class without a row stays empty.
    names : F feature names.
    """
    values, label = np.asarray(values, dtype=np.float64), np.asarray(label)
    if values.shape != (len(label), len(names)):
        raise ValueError(f"values {values.shape} for {len(label)} labels and {len(names)} names")
    spread = values.std(axis=0)
    apart = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    mean = [
        apart[label == k].mean(axis=0) if (label == k).any() else np.full(len(names), np.nan)
        for k in range(len(classes))
    ]
    ax = new_axes(ax, size=(2.2 + 0.3 * len(names), 1.6 + 0.34 * len(classes)))
    drawn = {"cmap": "PuOr", "center": 0, "linewidths": 0.4, "cbar_kws": {"label": "standard deviations"}}
    sns.heatmap(mean, ax=ax, xticklabels=list(names), yticklabels=list(classes), **drawn)
    ax.tick_params(axis="x", rotation=90, labelsize=8)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="feature", ylabel="class", title=title)
    return ax


def sweep(table: pd.DataFrame, *, title: str = "Static models and scalings", ax: Axes | None = None) -> Axes:
    """Mean of folds of each model and scaling as a heat map, the best model on top; `table` of `static_sweep.sweep`."""
    check_columns(table, ("model", "scaling", "mean_of_folds"))
    shares = table.pivot(index="model", columns="scaling", values="mean_of_folds")
    shares = shares.loc[shares.max(axis=1).sort_values(ascending=False, kind="stable").index, table["scaling"].unique()]
    ax = new_axes(ax, size=(4.2 + 0.9 * shares.shape[1], 1.3 + 0.34 * len(shares)))
    drawn = {"annot": True, "fmt": ".1f", "cmap": "Greys", "vmin": 0, "vmax": 100, "linewidths": 0.4}
    sns.heatmap(100 * shares, ax=ax, cbar_kws={"label": "accuracy, mean of folds (%)"}, **drawn)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="scaling", ylabel="model", title=title)
    return ax


def attention_over_time(
    time_s: np.ndarray,
    values: np.ndarray,
    step: np.ndarray,
    weight: np.ndarray,
    *,
    title: str = "Attention over time",
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """The action units of one performance that move most, and below them what attention each step got.

    Parameters
    ----------
    time_s : float [T], rising.
    values : float [T, F], 0..5, the 17 intensities first; NaN leaves a gap.
    step : int [n], steps of time with a weight, rising; others were not measured.
    weight : float [n], 0..1, sums to 1; drawn as a multiple of equal attention.
    """
    if values.shape[1] < len(UNITS) or len(time_s) != len(values):
        raise ValueError(f"values {values.shape} for {len(time_s)} times; [T, {len(UNITS)} or more] is allowed")
    if len(step) != len(weight) or (len(step) and (np.min(step) < 0 or np.max(step) >= len(time_s))):
        raise ValueError(f"{len(step)} steps and {len(weight)} weights of {len(time_s)} times received")
    if axes is None:
        options = {"figsize": (9, 4.8), "sharex": True, "layout": "constrained", "height_ratios": (3, 2)}
        axes = plt.subplots(2, 1, **options)[1]
    upper, lower = axes
    au_plots.units_over_time(np.asarray(time_s), np.asarray(values)[:, : len(UNITS)], title=title, ax=upper)
    upper.set_xlabel("")
    height = np.full(len(time_s), np.nan)
    height[step] = np.asarray(weight) * len(step)
    lower.fill_between(time_s, 0, height, color="0.75", step="mid")
    lower.plot(time_s, height, color="black", linewidth=1.2, drawstyle="steps-mid")
    lower.axhline(1, color="#D55E00", linestyle="--", linewidth=1)
    lower.set(xlabel="time (s)", ylabel="attention (equal = 1)", ylim=(0, None))
    return upper, lower


def attention_by_class(
    attention: pd.DataFrame,
    performances: pd.DataFrame,
    classes: Sequence[str],
    *,
    title: str = "Where attention lies",
    ax: Axes | None = None,
) -> Axes:
    """Mean attention over relative time, a line a class: 1 is what equal attention would give.

    Parameters
    ----------
    attention : performance, step, weight; and fold, seed where performances were answered several times.
    performances : performance, label; n_frames, the length that steps are relative to.
    """
    check_columns(attention, ("performance", "step", "weight"))
    check_columns(performances, ("performance", "label", "n_frames"))
    known = attention.merge(performances[["performance", "label", "n_frames"]], on="performance")
    answer = known.groupby([name for name in ("performance", "fold", "seed") if name in known])
    known = known.assign(
        bin=(known["step"] * N_BINS // known["n_frames"]).clip(upper=N_BINS - 1),
        attention=known["weight"] * answer["weight"].transform("size"),
    )
    mean = known.groupby(["label", "bin"])["attention"].mean()
    ax = new_axes(ax, size=(7.5, 3.6))
    for label in mean.index.unique("label"):
        style, line = look(classes[label]), mean[label]
        at = (line.index.to_numpy() + 0.5) / N_BINS * 100
        ax.plot(at, line, color=style.color, linestyle=style.linestyle, linewidth=1.6, label=classes[label])
    ax.axhline(1, color="0.6", linewidth=0.8)
    ax.set(xlabel="time (% of the performance)", ylabel="attention (equal = 1)", title=title, xlim=(0, 100))
    ax.set_ylim(0, None)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return ax
