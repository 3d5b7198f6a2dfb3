"""What is said of each face: one table for stills and videos, and short accounts of it as text.

| column | what it holds |
|---|---|
| ``source`` | the file as it was named, see `shown` |
| ``frame``, ``time_s`` | frame of the video, counted from 0, and its time in seconds; 0 and NaN for a still |
| ``face`` | number of the face (Int64): left to right in a still, order of coming in a video; missing where none is |
| ``box_left`` .. ``box_bottom`` | square around the face, in pixels of the upright picture; may reach beyond its edge |
| ``detector`` | "dlib", "mtcnn", "track" (found near its last place), "crop" (not looked for), "none" |
| ``emotion``, ``posterior`` | the class with the largest posterior, and that posterior; missing where no face is |
| ``p_<class>`` | posteriors, rows sum to 1; NaN where no face is |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import voting
from emolib.frames import BOX_COLUMNS
from emolib.posteriors import posterior_columns
from emolib.tracking import Face

_DTYPES = {
    **{"source": "str", "frame": "int64", "time_s": "float64", "face": "Int64"},
    **dict.fromkeys(BOX_COLUMNS, "float32"),
    "detector": "str",
}
STEPS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # lengths of the rows in a video's printed table
MAX_STEPS = 20
MAX_NAMED = 6  # faces of a video that its verdict names: those in most frames
_FORMULA = ("=", "+", "-", "@")


def shown(path: str | Path) -> str:
    """`path` as text that is safe in a terminal, a CSV file and UTF-8, and still names the file where it can.

    A backslash and what cannot be printed or encoded becomes its escape (``\\n``, ``\\udcff``); a name that a
    spreadsheet would take for a formula gets ``./`` in front.
    """
    plain = (c.isprintable() and c != "\\" for c in str(path))
    text = "".join(c if keep else c.encode("unicode_escape").decode() for c, keep in zip(str(path), plain, strict=True))
    return f"./{text}" if text.startswith(_FORMULA) else text


@dataclass
class Log:
    """What went wrong, and what is worth knowing, in order: (source, text) each."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def row(source: str, frame: int, time_s: float, number: int, face: Face, *, reduction: int = 1) -> tuple:
    """A face's row but for the posterior; `reduction`: pixels of the file a pixel of the face's box."""
    return (source, frame, time_s, number, *(face.box * reduction).tolist(), face.detector)


def nobody(source: str, frame: int, time_s: float) -> tuple:
    """The row of a still or frame without a face."""
    return (source, frame, time_s, None, *[float("nan")] * len(BOX_COLUMNS), "none")


def table(rows: Sequence[tuple], posterior: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """`rows` with their posteriors, in the columns above.

    Parameters
    ----------
    rows : of `row` and `nobody`.
    posterior : float32 [n, C], a row for each of `rows` that has a face, in their order.
    classes : names of the C classes.
    """
    found = pd.DataFrame.from_records(list(rows), columns=list(_DTYPES)).astype(_DTYPES)
    has_face = found["face"].notna().to_numpy()
    of_row = np.full((len(found), len(classes)), np.nan, np.float32)
    of_row[has_face] = posterior
    best = np.where(has_face[:, None], of_row, 0).argmax(axis=1)
    names = pd.Series(np.array(classes, dtype=object)[best], dtype="str")
    found["emotion"] = names.where(has_face)
    found["posterior"] = np.where(has_face, of_row[np.arange(len(found)), best], np.nan).astype(np.float32)
    columns = pd.DataFrame(of_row, columns=posterior_columns(classes))
    return pd.concat([found, columns], axis=1)


def no_posterior(classes: Sequence[str]) -> np.ndarray:
    """Posteriors of nobody, float32 [0, C]."""
    return np.empty((0, len(classes)), np.float32)


def votes(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One answer a face of one video, by the ``auc`` vote (`voting.vote`).

    Returns
    -------
    DataFrame
        A row a face, by number: face, emotion, share (of the area under all classes' curves), n_frames (with this
        face), first_s, last_s. Empty where no frame has a face.
    """
    seen = predictions[predictions["face"].notna()]
    if seen.empty:
        return pd.DataFrame(columns=["face", "emotion", "share", "n_frames", "first_s", "last_s"])
    number = seen["face"].to_numpy(dtype=np.int64)
    voted = voting.vote(number, seen[posterior_columns(classes)].to_numpy(), method="auc")
    score = voted.filter(like="score_").to_numpy()
    times = seen.groupby(number)["time_s"].agg(["size", "min", "max"]).loc[voted.index]
    result = pd.DataFrame(
        {
            "face": voted.index.to_numpy(),
            "emotion": [classes[k] for k in voted["predicted"]],
            "share": score.max(axis=1) / score.sum(axis=1),
            "n_frames": times["size"].to_numpy(),
            "first_s": times["min"].to_numpy(),
            "last_s": times["max"].to_numpy(),
        }
    )
    return result.sort_values("face", ignore_index=True)


def verdict(predictions: pd.DataFrame, classes: Sequence[str]) -> str:
    """One video in a sentence: the vote of each face, and the share of its frames with a face."""
    frames = predictions.groupby("frame", sort=True).agg(time_s=("time_s", "first"), face=("face", "max"))
    n = len(frames)
    length_s = frames["time_s"].iloc[-1] - frames["time_s"].iloc[0]
    account = f"a face in {frames['face'].notna().mean():.1%} of {_frames(n)}, {length_s:.1f} s"
    voted = votes(predictions, classes)
    if voted.empty:
        return f"no face in any of {_frames(n)}, {length_s:.1f} s"
    several = len(voted) > 1 or voted["face"].iloc[0] != 0
    words = []
    most = voted.sort_values("n_frames", ascending=False, kind="stable").head(MAX_NAMED)
    for one in most.sort_values("face").itertuples():
        face, frames = (f"face {one.face}: ", f", {_frames(one.n_frames)}") if several else ("", "")
        words.append(f"{face}{one.emotion} ({one.share:.0%} of the posterior{frames})")
    if len(voted) > MAX_NAMED:
        words.append(f"{len(voted) - MAX_NAMED} more, in fewer frames")
    return f"{'; '.join(words)}; {account}"


def _frames(n: int) -> str:
    return f"{n} frame{'' if n == 1 else 's'}"


def by_time(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One video's mean posterior of each face over equal stretches of time, at most `MAX_STEPS` of them.

    Returns
    -------
    DataFrame
        from_s, to_s, face, n_frames and the posteriors' columns, by time, then face; a stretch without a face has one
        row with face missing.
    """
    start, end = predictions["time_s"].iloc[0], predictions["time_s"].iloc[-1]
    step_s = next((s for s in STEPS_S if (end - start) / s <= MAX_STEPS), STEPS_S[-1])
    step = ((predictions["time_s"] - start) // step_s).astype("int64").rename("step")
    columns = posterior_columns(classes)
    groups = predictions.groupby([step, predictions["face"].fillna(-1)], sort=True)
    means = groups[columns].mean().assign(n_frames=groups.size()).reset_index()
    with_face = set(means.loc[means["face"] >= 0, "step"])
    means = means[(means["face"] >= 0) | ~means["step"].isin(with_face)]
    from_s = start + means["step"] * step_s
    means.insert(0, "from_s", from_s)
    means.insert(1, "to_s", (from_s + step_s).clip(upper=end))
    means["face"] = means["face"].astype("Int64").where(means["face"] >= 0)
    return means.drop(columns="step").reset_index(drop=True)


def ranked(posterior: np.ndarray, classes: Sequence[str], *, n: int = 3) -> str:
    """The `n` most likely of the classes: ``happy 0.93, surprise 0.04, neutral 0.02``."""
    order = np.argsort(-posterior, kind="stable")[:n]
    return ", ".join(f"{classes[k]} {posterior[k]:.2f}" for k in order)


def lines(predictions: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Stills as lines of text: source, face, emotion and the three largest posteriors."""
    values = predictions[posterior_columns(classes)].to_numpy()
    return [
        f"{one.source}  " + (f"face {one.face}  {ranked(p, classes)}" if pd.notna(one.face) else "no face found")
        for one, p in zip(predictions.itertuples(), values, strict=True)
    ]


def time_lines(predictions: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """One video as lines of text, a line a stretch of time (`by_time`) and face."""
    steps = by_time(predictions, classes)
    source = predictions["source"].iloc[0]
    values = steps[posterior_columns(classes)].to_numpy()
    return [
        f"{source}  {one.from_s:.1f}-{one.to_s:.1f} s  "
        + (f"face {one.face}  {ranked(p, classes)}" if pd.notna(one.face) else "no face found")
        for one, p in zip(steps.itertuples(), values, strict=True)
    ]
