"""Figures of posteriors and scores against the truth and against people. Public in `plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from sklearn import metrics
from sklearn.calibration import calibration_curve

from emolib.intervals import Interval
from emolib.palette import LINES, MARKERS, look, new_axes, percent


def score_against_truth(
    score: np.ndarray,
    shows_label: np.ndarray,
    *,
    title: str = "Filter score and the truth",
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Do frames that do not show their label score lower? Left the scores of both kinds, right the ROC curve of -score.

    Parameters
    ----------
    score : float [N], finite
    shows_label : bool [N], both kinds must occur
    """
    score, shows = np.asarray(score, dtype=np.float64), np.asarray(shows_label, dtype=bool)
    if score.shape != shows.shape or shows.all() or not shows.any() or not np.isfinite(score).all():
        raise ValueError(
            f"finite scores of both kinds of frames are needed; got {score.shape} and {shows.shape}, "
            f"{shows.sum()} of them show their label"
        )
    left, right = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")[1] if axes is None else axes
    bins = np.linspace(score.min(), score.max(), 31)
    for kind, text, style in ((shows, "shows its label", "-"), (~shows, "does not show it", (0, (3, 1)))):
        color = "#0072B2" if style == "-" else "#D55E00"
        share = np.full(kind.sum(), 1 / kind.sum())
        label = f"{text} ({kind.sum():,} frames)"
        left.hist(
            score[kind], bins, weights=share, histtype="step", linewidth=1.8, linestyle=style, color=color, label=label
        )
    left.set(xlabel="score: posterior of the own class (0..1)", ylabel="frames of the kind (%)", title=title)
    left.margins(y=0.3)
    percent(left.yaxis)
    left.legend(loc="upper center", frameon=False, fontsize=8)
    false, right_found, _ = metrics.roc_curve(~shows, -score)
    right.plot(false, right_found, color="black", linewidth=1.8)
    right.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
    right.set(
        xlabel="dropped of those that show their label (%)",
        ylabel="dropped of those that do not (%)",
        title=f"ROC of dropping low scores, AUC {metrics.auc(false, right_found):.3f}",
        aspect="equal",
    )
    percent(right.xaxis), percent(right.yaxis)
    right.legend(loc="lower right", frameon=False, fontsize=8)
    return left, right


def calibration(
    true: np.ndarray,
    posteriors: Mapping[str, np.ndarray],
    *,
    n_bins: int = 10,
    title: str = "Calibration of the largest posterior",
    ax: Axes | None = None,
) -> Axes:
    """How often the predicted class is right, against its posterior; on the diagonal the posterior can be taken at its
    word.

    Parameters
    ----------
    true : int [N]
    posteriors : name -> float [N, C]
        One line each ("as trained", "with temperature"); each of the `n_bins` points stands for equally many samples.
    """
    true = np.asarray(true)
    ax = new_axes(ax, size=(4.8, 4.6))
    ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfect")
    colors = sns.color_palette("colorblind", len(posteriors))
    for k, ((name, posterior), color) in enumerate(zip(posteriors.items(), colors, strict=True)):
        if len(posterior) != len(true):
            raise ValueError(f"posteriors {name!r}: {len(posterior)} rows for {len(true)} labels")
        right, top = posterior.argmax(axis=1) == true, np.clip(posterior.max(axis=1), 0, 1)
        share, mean = calibration_curve(right, top, n_bins=n_bins, strategy="quantile")
        ax.plot(mean, share, color=color, linestyle=LINES[k % len(LINES)], marker=MARKERS[k % len(MARKERS)], label=name)
    ax.set(xlabel="largest posterior (%)", ylabel="predicted class is right (%)", title=title, aspect="equal")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    percent(ax.xaxis), percent(ax.yaxis)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax


def scatter_with_interval(
    x: np.ndarray,
    y: np.ndarray,
    interval: Interval,
    *,
    x_label: str,
    y_label: str,
    class_names: Sequence[str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Two quantities against each other; the title ends in their rank correlation with its interval.

    Parameters
    ----------
    x, y : float [N]
    interval : Interval
        From `evaluation.spearman_interval(x, y, cluster)`.
    x_label, y_label : str, with units
    class_names : N class names, optional
        Each point looks like its emotion.
    """
    x, y = np.asarray(x), np.asarray(y)
    ax = new_axes(ax, size=(5.6, 4.2))
    if class_names is None:
        ax.plot(x, y, "o", color="black", markersize=4, alpha=0.5)
    else:
        of_point = np.asarray(class_names)
        for name in dict.fromkeys(of_point.tolist()):
            here, (color, _, marker) = of_point == name, look(name)
            ax.plot(x[here], y[here], marker, color=color, markersize=5, alpha=0.7, markeredgewidth=0, label=name)
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    found = f"Spearman {interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}], {interval.n_subjects} subjects"
    ax.set(xlabel=x_label, ylabel=y_label, title=f"{title}\n{found}" if title else found)
    return ax
