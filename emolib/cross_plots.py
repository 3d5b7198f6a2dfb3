"""The figure of notebook 15 that no other notebook draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from emolib.palette import LINES, new_axes, percent


def apex_places(
    places: Mapping[str, np.ndarray], *, title: str = "Where in its clip the apex is found", ax: Axes | None = None
) -> Axes:
    """Cumulative share of the clips whose chosen frame lies so early or earlier.

    Parameters
    ----------
    places : rule -> float [clips], 0 the clip's first frame, 1 its last (`cross_corpus.place`).
    """
    if not places:
        raise ValueError("places: none received, one rule or more is allowed")
    ax = new_axes(ax, size=(6, 3.6))
    for number, (name, place) in enumerate(places.items()):
        style = LINES[number % len(LINES)]
        ax.step(
            [0, *np.sort(place), 1],
            [0, *np.arange(1, len(place) + 1) / len(place), 1],
            where="post",
            ls=style,
            label=name,
        )
    ax.set(xlabel="place in the clip (0 first, 1 last frame)", ylabel="clips (%)", title=title, xlim=(0, 1))
    percent(ax.yaxis)
    ax.legend(frameon=False, fontsize=8)
    return ax
