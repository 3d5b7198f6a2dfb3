"""Figures: data in, Axes out. Corpora, frames and training are here; posteriors and results are public here too.

Every function draws on `ax`, or on a new figure where it is None, and returns what it drew on. Emotions look as
`palette` says; shares are drawn in percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.palette import LINES, MARKERS, look, new_axes, percent
from emolib.posterior_plots import calibration, scatter_with_interval, score_against_truth
from emolib.result_plots import confusion_matrix, filter_curve, intervals

__all__ = [
    "calibration",
    "class_counts",
    "confusion_matrix",
    "contact_sheet",
    "filter_curve",
    "intervals",
    "kept_per_class",
    "posterior_over_time",
    "scatter_with_interval",
    "score_against_truth",
    "subject_counts",
    "training_curves",
]

TITLE_STRIP = 0.22  # height of the strip for a tile's title, as a share of the tile


def contact_sheet(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 10,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Images side by side on one Axes, row by row.

    Parameters
    ----------
    images : uint8 [N, H, W] or [N, H, W, 3]
    titles : N texts, optional
        Drawn above the images.
    columns : int
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or not len(images) or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 [N, H, W] or [N, H, W, 3], N >= 1; got {images.dtype} {images.shape}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    gap = max(1, width // 24)
    strip = round(TITLE_STRIP * height) if titles is not None else 0
    step_y, step_x = height + strip + gap, width + gap
    sheet = np.full((rows * step_y - gap, columns * step_x - gap, *images.shape[3:]), 255, dtype=np.uint8)
    ax = new_axes(ax, size=(1.1 * columns, 1.1 * rows * step_y / step_x + 0.3))
    for k, image in enumerate(images):
        top, left = k // columns * step_y + strip, k % columns * step_x
        sheet[top : top + height, left : left + width] = image
        if titles is not None:
            ax.text(left + width / 2, top - 0.03 * height, titles[k], ha="center", va="bottom", fontsize=7)
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=255)
    ax.set_axis_off()
    ax.set_title(title)
    return ax


def posterior_over_time(
    time_s: np.ndarray,
    posterior: np.ndarray,
    classes: Sequence[str],
    *,
    own: str | None = None,
    true_intensity: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    title: str = "Class posteriors over time",
    ax: Axes | None = None,
) -> Axes:
    """The posteriors of one video's frames over time.

    Parameters
    ----------
    time_s : float [T], rising
    posterior : float [T, C]
        NaN where no face was found: the lines have a gap there.
    classes : C class names
    own : str, optional
        The video's own class: drawn thick.
    true_intensity : float [T] in 0..1, optional
        Drawn as a grey area behind the lines.
    keep : bool [T], optional
        Frames that a filter kept: a black tick below the axis' zero.
    """
    time_s, posterior = np.asarray(time_s, dtype=np.float64), np.asarray(posterior)
    if posterior.shape != (len(time_s), len(classes)):
        raise ValueError(f"{len(time_s)} times and {len(classes)} classes, but posteriors {posterior.shape}")
    if own is not None and own not in classes:
        raise ValueError(f"own class {own!r} is not among {list(classes)}")
    if (np.diff(time_s) <= 0).any():
        raise ValueError("time_s must rise from frame to frame: give the frames of one video, in order")
    ax = new_axes(ax, size=(9, 3.6))
    if true_intensity is not None:
        ax.fill_between(time_s, 0, true_intensity, color="0.88", label="true intensity", zorder=0)
    for name, column in zip(classes, posterior.T, strict=True):
        width, above = (2.8, 3) if name == own else (1.1, 2)
        label = f"{name} (own class)" if name == own else name
        ax.plot(
            time_s,
            column,
            color=look(name).color,
            linestyle=look(name).linestyle,
            linewidth=width,
            label=label,
            zorder=above,
        )
    if keep is not None:
        kept = time_s[np.asarray(keep, dtype=bool)]
        ax.plot(kept, np.full(len(kept), -0.04), "|", color="black", markersize=7, label="frame kept")
    ax.set(xlabel="time (s)", ylabel="posterior (0..1)", ylim=(-0.08, 1.02), title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return ax


def class_counts(
    frames: pd.DataFrame, classes: Sequence[str], *, unit: str = "frames", title: str = "", ax: Axes | None = None
) -> Axes:
    """How many frames or videos each class has.

    Parameters
    ----------
    frames : DataFrame with `label`, `video`
    classes : class names in index order
    unit : "frames" or "videos"
    """
    count = _counted(frames, unit)["label"].value_counts().reindex(range(len(classes)), fill_value=0).to_numpy()
    ax = new_axes(ax, size=(7, 3.2))
    bars = ax.bar(list(classes), count, color=[look(name).color for name in classes], edgecolor="black", linewidth=0.6)
    ax.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)
    ax.set(ylabel=f"number of {unit}", xlabel="class", title=title or f"{unit.capitalize()} by class")
    ax.margins(y=0.12)
    return ax


def subject_counts(
    frames: pd.DataFrame, classes: Sequence[str], *, unit: str = "videos", title: str = "", ax: Axes | None = None
) -> Axes:
    """How many frames or videos each subject has of each class: one row a subject; `frames` has `subject` too."""
    table = _counted(frames, unit).groupby(["subject", "label"]).size().unstack(fill_value=0)
    table = table.reindex(columns=range(len(classes)), fill_value=0)
    ax = new_axes(ax, size=(1 + 0.75 * len(classes), 1.2 + 0.26 * len(table)))
    sns.heatmap(
        table.to_numpy(),
        annot=True,
        fmt="d",
        cmap="Greys",
        vmin=0,
        vmax=1.4 * table.to_numpy().max(),
        cbar=False,
        linewidths=0.5,
        annot_kws={"fontsize": 7},
        xticklabels=list(classes),
        yticklabels=table.index.tolist(),
        ax=ax,
    )
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="class", ylabel="subject", title=title or f"{unit.capitalize()} by subject and class")
    return ax


def kept_per_class(
    account: pd.DataFrame, classes: Sequence[str], *, title: str = "Frames that the filter kept", ax: Axes | None = None
) -> Axes:
    """Share of frames kept, by class, from a filter's account; above each bar the frames, and the videos emptied."""
    names = [classes[k] for k in account["label"]]
    ax = new_axes(ax, size=(1.4 + 1.05 * len(names), 3.4))
    bars = ax.bar(names, account["kept_share"], color=[look(n).color for n in names], edgecolor="black", linewidth=0.6)
    notes = [f"{row.kept:,} of\n{row.frames:,}" for row in account.itertuples()]
    emptied = [f"\n{row.videos_emptied} of {row.videos}\nvideos empty" for row in account.itertuples()]
    notes = [a + (b if n else "") for a, b, n in zip(notes, emptied, account["videos_emptied"], strict=True)]
    ax.bar_label(bars, labels=notes, fontsize=7, padding=2)
    ax.set(xlabel="class", ylabel="frames kept (%)", title=title, yticks=np.linspace(0, 1, 6))
    ax.set_ylim(0, 1.4)  # room for the notes above a full bar
    percent(ax.yaxis)
    return ax


def training_curves(
    histories: Mapping[str, pd.DataFrame], *, title: str = "Training", axes: Sequence[Axes] | None = None
) -> tuple[Axes, Axes]:
    """Loss and validation accuracy by epoch, one line a model; a marker at its highest validation accuracy.

    Parameters
    ----------
    histories : name -> DataFrame with `epoch, train_loss, validation_loss, validation_accuracy`
    """
    if not histories:
        raise ValueError("no history given")
    left, right = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")[1] if axes is None else axes
    colors = sns.color_palette("colorblind", len(histories))
    for k, ((name, history), color) in enumerate(zip(histories.items(), colors, strict=True)):
        epoch, accuracy = history["epoch"], history["validation_accuracy"]
        left.plot(epoch, history["train_loss"], color=color, linestyle=":", linewidth=1.4)
        left.plot(epoch, history["validation_loss"], color=color, linewidth=1.4)
        best, marker = accuracy.to_numpy().argmax(), MARKERS[k % len(MARKERS)]
        style = {"linestyle": LINES[k % len(LINES)], "marker": marker, "markevery": [best], "markeredgecolor": "black"}
        right.plot(epoch, accuracy, color=color, linewidth=1.4, label=name, **style)
    left.plot([], [], color="black", linestyle=":", label="training")
    left.plot([], [], color="black", label="validation")
    left.set(xlabel="epoch", ylabel="loss (nats)", title=f"{title}: loss")
    right.set(xlabel="epoch", ylabel="validation accuracy (%)", title=f"{title}: accuracy")
    percent(right.yaxis)
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False, fontsize=8)
    return left, right


def _counted(frames: pd.DataFrame, unit: str) -> pd.DataFrame:
    if unit not in ("frames", "videos"):
        raise ValueError(f"unit = {unit!r}: 'frames' or 'videos' is allowed")
    return frames if unit == "frames" else frames.drop_duplicates("video")
