"""Figures of speech: spectrograms of single recordings, and mean spectra of many, from which no voice comes back."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from emolib.palette import look, new_axes

N_TICKS = 5
TICKS_HZ = (100, 200, 500, 1000, 2000, 4000, 8000)


def spectrograms(
    recordings: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    step_s: float,
    band_hz: np.ndarray,
    columns: int = 4,
    title: str = "",
) -> list[Axes]:
    """Log-mel spectrograms beside each other, on one scale of grey and of time.

    Parameters
    ----------
    recordings : float [T, bands] each.
    titles : one a recording.
    step_s : seconds from one row to the next.
    band_hz : float [bands], the bands' middles.
    """
    if not len(recordings) or len(recordings) != len(titles):
        raise ValueError(f"{len(recordings)} recordings and {len(titles)} titles received: as many, 1 or more")
    columns = min(columns, len(recordings))
    rows = -(-len(recordings) // columns)
    size = (0.6 + 2.3 * columns, 0.7 + 1.7 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
    low, high = min(one.min() for one in recordings), max(one.max() for one in recordings)
    longest_s = max(len(one) for one in recordings) * step_s
    ticks = np.linspace(0, len(band_hz) - 1, N_TICKS).round().astype(int)
    for ax in axes.flat[len(recordings) :]:
        ax.set_axis_off()
    shown = list(axes.flat[: len(recordings)])
    for ax, one, name in zip(shown, recordings, titles, strict=True):
        extent = (0, len(one) * step_s, -0.5, len(band_hz) - 0.5)
        drawn = ax.imshow(one.T, origin="lower", aspect="auto", extent=extent, cmap="Greys", vmin=low, vmax=high)
        ax.set(title=name, xlim=(0, longest_s), xlabel="time (s)", ylabel="band (Hz)")
        ax.set_yticks(ticks, [f"{band_hz[k]:.0f}" for k in ticks])
        ax.label_outer()
    figure.colorbar(drawn, ax=shown, label="log-mel value")
    figure.suptitle(title)
    return shown


def mean_spectra(
    spectra: np.ndarray,
    label: np.ndarray,
    classes: Sequence[str],
    *,
    band_hz: np.ndarray,
    value_label: str = "log-mel value",
    title: str = "Mean spectrum of each emotion",
    ax: Axes | None = None,
) -> Axes:
    """Mean over the recordings of each class of their mean spectra, a line a class.

    Parameters
    ----------
    spectra : float [n, bands], mean over time of each recording.
    label : int [n], in the order of `classes`.
    band_hz : float [bands], the bands' middles.
    """
    ax = new_axes(ax, size=(8, 3.6))
    for number, name in enumerate(classes):
        if (own := np.asarray(label) == number).any():
            style = look(name)
            line = {"color": style.color, "linestyle": style.linestyle, "linewidth": 1.5}
            ax.plot(band_hz, spectra[own].mean(axis=0), label=f"{name} ({own.sum()})", **line)
    ax.set_xscale("log")
    shown = [hz for hz in TICKS_HZ if band_hz.min() <= hz <= band_hz.max()]
    ax.set_xticks(shown, [str(hz) for hz in shown])
    ax.minorticks_off()
    ax.set(xlabel="band (Hz)", ylabel=value_label, title=title)
    beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}  # lines run everywhere
    ax.legend(frameon=False, fontsize=8, title="class (recordings)", title_fontsize=8, **beside)
    return ax
