"""How figures look: one colour, line style and marker an emotion, the same in every figure and label space.

Colours are those of Okabe and Ito (2008), for valence of Tol's vibrant scheme (2021); surprise is Tol's indigo, since
yellow is lost on white. The classes of a label space stay apart under protanopia, deuteranopia and tritanopia. Line
styles and markers carry the same information in black and white.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import PercentFormatter

from emolib.labels import emotion

# for lines that are no emotions: told apart in black and white by their turn
LINES = ("-", (0, (5, 2)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (8, 2)), (0, (2, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")


class Look(NamedTuple):
    """How an emotion is drawn: Matplotlib colour, line style and marker."""

    color: str
    linestyle: str | tuple
    marker: str


LOOKS: dict[str, Look] = {
    "neutral": Look("#555555", "-", "o"),
    "calm": Look("#56B4E9", (0, (6, 2)), "s"),
    "happiness": Look("#E69F00", (0, (1, 1)), "^"),
    "sadness": Look("#0072B2", (0, (4, 1, 1, 1)), "v"),
    "anger": Look("#D55E00", (0, (3, 1)), "D"),
    "fear": Look("#CC79A7", (0, (4, 1, 1, 1, 1, 1)), "P"),
    "disgust": Look("#009E73", (0, (8, 1, 2, 1)), "X"),
    "surprise": Look("#332288", (0, (2, 2)), "*"),
    "contempt": Look("#000000", (0, (1, 3)), "h"),
    "positive": Look("#33BBEE", (0, (6, 2)), "^"),
    "negative": Look("#CC3311", (0, (3, 1, 1, 1)), "v"),
}


def look(class_name: str) -> Look:
    """The look of a class by its name in any label space; ValueError names the names that are known."""
    return LOOKS[emotion(class_name)]


def new_axes(ax: Axes | None, *, size: tuple[float, float]) -> Axes:
    """`ax`, or one of a new figure of `size` inches."""
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def percent(axis: Axis) -> None:
    """Ticks of shares 0..1 as percent; the unit stands in the axis' label."""
    axis.set_major_formatter(PercentFormatter(xmax=1, symbol=""))


def check_columns(table: pd.DataFrame, needed: tuple[str, ...]) -> None:
    """ValueError, naming what there is, when `table` lacks a column that a figure needs."""
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"the table lacks column(s) {missing}; it has {list(table.columns)}")
