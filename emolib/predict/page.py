"""One video on one offline page: the posterior over time, and the frames that it is of."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from emolib import pages
from emolib.posteriors import posterior_columns
from emolib.predict import answers
from emolib.predict.drawing import class_look
from emolib.video import MediaError, open_video

STRIP_FRAMES, LARGE_FRAMES = 10, 24  # pictures below the curves, and pictures with all posteriors beside
STRIP_PX, LARGE_PX = 200, 420  # width of the two
MAX_POINTS = 800  # of a curve; a longer video is averaged over as many stretches of time
MAX_CHARTS = 6  # faces that get curves: those seen in most frames
WIDTH, HEIGHT = 1000, 260  # of the chart's drawing, in units of its own
_JPEG_QUALITY, _DASH = 80, 2.0
# Matplotlib's names of line styles, in lengths of stroke and gap as its tuples have them
_DASHES = {"-": (), "--": (4, 2), ":": (1, 2)}


@dataclass(frozen=True)
class Chart:
    """The curves of one face: `title`, `lines` (name, colour, dashes, list of SVG point lists; a gap ends a list)."""

    title: str
    lines: list[dict]


def build(predictions: pd.DataFrame, annotated: Path, *, classes: Sequence[str], weights: str, notes: list[str]) -> str:
    """The page of one video.

    Parameters
    ----------
    predictions : the table of this video (`emolib.predict.answers`), in the order of time.
    annotated : its annotated video, which holds a frame for each frame of the table, from time 0 on.
    classes : names of the classes.
    weights : name of the classifier.
    notes : remarks on the file.

    Returns
    -------
    HTML that loads nothing.
    """
    looked_at = predictions.drop_duplicates("frame")
    times, numbers = looked_at["time_s"].to_numpy(), looked_at["frame"].to_numpy()
    span = time_span(times)
    strip, large = (_evenly(len(times), n) for n in (STRIP_FRAMES, LARGE_FRAMES))
    pictures = thumbnails(annotated, {*strip, *large})

    def moments(positions: list[int], width: int) -> list[dict]:
        rows = [predictions[predictions["frame"] == numbers[k]] for k in positions]
        return [_moment(r, classes, _uri(pictures[k], width)) for k, r in zip(positions, rows, strict=True)]

    html = (
        pages.environment()
        .get_template("predict_video.html.j2")
        .render(
            title=f"Emotions in {Path(predictions['source'].iloc[0]).name}",
            source=predictions["source"].iloc[0],
            verdict=answers.verdict(predictions, classes),
            weights=weights,
            notes=notes,
            classes=[_style(name) | {"name": name} for name in classes],
            charts=charts(predictions, classes, span=span),
            ticks=[{"x": _x(t, span), "text": f"{t:g}"} for t in _ticks(*span)],
            marks=[_x(times[k], span) for k in strip],
            strip=moments(strip, STRIP_PX),
            large=moments(large, LARGE_PX),
            width=WIDTH,
            height=HEIGHT,
        )
    )
    return pages.check_offline(html, where=f"page of {predictions['source'].iloc[0]}")


def time_span(times: np.ndarray) -> tuple[float, float]:
    """Ends of the axis: half a frame before the first time and half a frame after the last, so that each has a width.

    The middles of equal parts of the axis then lie over the middles of the strip's pictures.
    """
    start_s, end_s = float(times.min()), float(times.max())  # the times of a damaged video may run backwards
    frame_s = (end_s - start_s) / (len(times) - 1) if end_s > start_s else 1.0
    return start_s - frame_s / 2, end_s + frame_s / 2


def charts(predictions: pd.DataFrame, classes: Sequence[str], *, span: tuple[float, float]) -> list[Chart]:
    """Curves of the faces seen in most frames, by number: at most `MAX_CHARTS`."""
    seen = predictions[predictions["face"].notna()]
    counts = seen["face"].value_counts()
    chosen = sorted(int(number) for number in counts.index[:MAX_CHARTS])
    several = len(counts) > 1
    result = []
    for number in chosen:
        of_face = predictions[["frame", "time_s"]].drop_duplicates("frame")
        own = seen.loc[seen["face"] == number, ["frame", *posterior_columns(classes)]]
        curve = _thinned(of_face.merge(own, on="frame", how="left"), classes)
        title = f"Face {number}, in {len(own)} of {len(of_face)} frames" if several else ""
        result.append(Chart(title, [_line(curve, name, span) for name in classes]))
    return result


def _thinned(curve: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """At most `MAX_POINTS` rows: means over equal numbers of frames, NaN where none of them has the face."""
    if len(curve) <= MAX_POINTS:
        return curve
    part = np.arange(len(curve)) * MAX_POINTS // len(curve)
    return curve.groupby(part)[["time_s", *posterior_columns(classes)]].mean()


def _line(curve: pd.DataFrame, name: str, span: tuple[float, float]) -> dict:
    values, parts = curve[f"p_{name}"].to_numpy(), []
    points = [(_x(t, span), HEIGHT * (1 - p)) for t, p in zip(curve["time_s"], values, strict=True)]
    present = np.flatnonzero(np.isfinite(values))
    for run in np.split(present, np.flatnonzero(np.diff(present) > 1) + 1):
        if len(run):
            of_run = [points[k] for k in run]
            if len(run) == 1:  # a frame alone is a short dash
                x, y = of_run[0]
                of_run = [(x - _DASH, y), (x + _DASH, y)]
            parts.append(" ".join(f"{x:.1f},{y:.1f}" for x, y in of_run))
    return _style(name) | {"name": name, "parts": parts}


def _style(name: str) -> dict[str, str]:
    look = class_look(name)
    dashes = _DASHES[look.linestyle] if isinstance(look.linestyle, str) else look.linestyle[1]
    return {"color": look.color, "dashes": " ".join(str(2.5 * length) for length in dashes)}


def _x(time_s: float, span: tuple[float, float]) -> float:
    return WIDTH * (time_s - span[0]) / (span[1] - span[0])


def _ticks(start_s: float, end_s: float) -> list[float]:
    step = next((s for s in (0.1, 0.2, 0.5, *answers.STEPS_S) if (end_s - start_s) / s <= 12), answers.STEPS_S[-1])
    return [round(k * step, 1) for k in range(int(np.ceil(start_s / step)), int(end_s / step) + 1)]


def _evenly(n_frames: int, n: int) -> list[int]:
    """Positions of at most `n` frames: the middles of equal parts of the video."""
    n = min(n, n_frames)
    return [int((2 * k + 1) * n_frames / (2 * n)) for k in range(n)]


def _moment(rows: pd.DataFrame, classes: Sequence[str], uri: str) -> dict:
    seen, bars = rows[rows["face"].notna()], []
    for one, values in zip(seen.itertuples(), seen[posterior_columns(classes)].to_numpy(), strict=True):
        of_class = [_style(n) | {"name": n, "share": float(p)} for n, p in zip(classes, values, strict=True)]
        bars.append({"face": int(one.face), "emotion": one.emotion, "posterior": one.posterior, "classes": of_class})
    return {"time": f"{rows['time_s'].iloc[0]:.2f} s", "uri": uri, "faces": bars}


def thumbnails(video: Path, positions: set[int]) -> dict[int, Image.Image]:
    """Frames of a video by their positions, at most `LARGE_PX` wide; MediaError where it has not all of them."""
    found = {}
    for frame in open_video(video).frames(rgb=True):
        if frame.index in positions:
            found[frame.index] = Image.fromarray(frame.rgb)
            found[frame.index].thumbnail((LARGE_PX, 2 * LARGE_PX))
        if len(found) == len(positions):
            break
    if len(found) < len(positions):
        raise MediaError(video, f"only {len(found)} of {len(positions)} pictures of the page are in it")
    return found


def _uri(picture: Image.Image, width: int) -> str:
    small = picture.copy()
    small.thumbnail((width, 2 * width))
    data = BytesIO()
    small.save(data, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
