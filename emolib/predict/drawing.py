"""Boxes and answers drawn on a picture."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont

from emolib.labels import EMOTION_OF
from emolib.palette import LOOKS, Look

# of a class that is no emotion of any label space
_UNKNOWN = Look("#444444", "-", "o")
# Height of the text as a share of the face's side, within these shares of the picture's short side, and of a line.
TEXT_SHARE, TEXT_LIMITS, LINE_SHARE = 0.16, (0.022, 0.05), 0.006
MIN_TEXT_PX = 11


def class_look(name: str) -> Look:
    """Colour and line of a class as in every figure (`palette.LOOKS`), grey where the name is no known emotion."""
    return LOOKS[EMOTION_OF[name]] if name in EMOTION_OF else _UNKNOWN


def annotate(rgb: np.ndarray, answers: pd.DataFrame, *, reduction: int = 1) -> np.ndarray:
    """A copy of the picture with a square and the answer at each face.

    Parameters
    ----------
    rgb : uint8 [H, W, 3].
    answers : the rows of this picture (`emolib.predict.answers`); faces are numbered where there are several.
    reduction : pixels of the boxes a pixel of `rgb`.

    Returns
    -------
    uint8 [H, W, 3]
    """
    seen = answers[answers["face"].notna()]
    if seen.empty:
        return rgb.copy()
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    short = min(image.size)
    line_px = max(1, round(LINE_SHARE * short))
    numbered = len(seen) > 1 or seen["face"].iloc[0] != 0
    for one in seen.itertuples():
        box = np.array([one.box_left, one.box_top, one.box_right, one.box_bottom], float) / reduction
        color = tuple(round(255 * c) for c in to_rgb(class_look(one.emotion).color))
        draw.rectangle(_clipped(box, image.size), outline=color, width=line_px)
        text = f"{one.emotion} {one.posterior:.2f}"
        low, high = (share * short for share in TEXT_LIMITS)
        size = max(MIN_TEXT_PX, round(float(np.clip(TEXT_SHARE * (box[3] - box[1]), low, high))))
        _label(draw, f"{one.face}: {text}" if numbered else text, box, color, font(size), image.size)
    return np.asarray(image)


def _clipped(box: np.ndarray, size: tuple[int, int]) -> list[float]:
    """The box inside of the picture, corners in order also where it lies outside."""
    left, right = np.clip(box[[0, 2]], 0, size[0] - 1)
    top, bottom = np.clip(box[[1, 3]], 0, size[1] - 1)
    return [left, top, right, bottom]


def _label(draw, text: str, box: np.ndarray, color: tuple[int, ...], letters, size: tuple[int, int]) -> None:
    """Text on a patch of the box's colour, above the box or, at the picture's edge, inside of it."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=letters)
    pad = max(2, (bottom - top) // 5)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = float(np.clip(box[0], 0, max(0, size[0] - width)))
    y = box[1] - height if box[1] >= height else float(np.clip(box[1], 0, max(0, size[1] - height)))
    draw.rectangle([x, y, x + width, y + height], fill=color)
    dark = np.dot(color, (0.299, 0.587, 0.114)) < 140
    draw.text((x + pad - left, y + pad - top), text, font=letters, fill="white" if dark else "black")


@cache
def font(size_px: int):
    """The font that comes with Pillow."""
    return ImageFont.load_default(size_px)
