"""Files of results: names that never meet, complete or not there; tables, JSON, annotated pictures and videos."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from PIL import Image

from emolib import provenance
from emolib.atomic import replacing
from emolib.predict.answers import shown
from emolib.predict.drawing import annotate
from emolib.video import local

TABLES = "predictions"  # stem of the results' tables
JPEG_QUALITY = 92
MAX_STEM_BYTES = 180  # a name may have 255 bytes: room for a number, a suffix and the temporary name's additions
_CLOCK_HZ = 90_000  # time stamps of the annotated video: fine enough for any frame rate
# a quarter of veryfast's time for one and a half times the bytes: as fast as the faces are found
_X264 = {"crf": "22", "preset": "ultrafast"}


class Folder:
    """Where results go; made if it is not there.

    What is in it already is not replaced, but for what an earlier ``emolib predict`` wrote by its own account
    (``predictions.json``).

    Parameters
    ----------
    path : the folder.
    inputs : files that are read, and so never written.

    Attributes
    ----------
    earlier : names, as `answers.shown`, of the files there that earlier runs wrote.
    """

    def __init__(self, path: Path, *, inputs: Iterable[Path] = ()):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"--out {path}: a file of this name is there, a folder is needed")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        there = {file: shown(file.name) for file in path.iterdir()}
        self.earlier = _written_before(path) & set(there.values())
        others = (path.resolve() / file.name for file, name in there.items() if name not in self.earlier)
        self._taken = {_folded(file) for file in (*others, *(one.resolve() for one in inputs))}

    def name(self, stem: str, suffix: str) -> Path:
        """A file that no input, no other result and nobody else has; as `names`."""
        [file] = self.names(stem, [suffix])
        return file

    def names(self, stem: str, suffixes: Sequence[str]) -> list[Path]:
        """Such files ``<stem><suffix>``, or ``<stem>-2<suffix>`` and so on, of one number for all `suffixes`.

        Names that differ only in case or in the form of an accent count as the same, as on macOS and Windows.
        """
        stem = _shortened(stem)
        for number in count(1):
            files = [self.path / f"{stem}{f'-{number}' if number > 1 else ''}{suffix}" for suffix in suffixes]
            keys = {_folded(self.path.resolve() / file.name) for file in files}
            linked = {_folded(file.resolve()) for file in files}  # a link left there must not lead to an input
            if self._taken.isdisjoint(keys | linked):
                self._taken |= keys
                return files


def _written_before(folder: Path) -> set[str]:
    """Names of the files that earlier runs say they wrote to `folder`: whatever else is there is somebody's own."""
    names: set[str] = set()
    for file in folder.glob(f"{TABLES}*.json"):
        try:
            about = json.loads(file.read_bytes())
        except (OSError, ValueError):  # no JSON that can be read: not a run's
            continue
        if isinstance(about, dict) and {"schema_version", "emolib_version"} <= about.keys():
            names |= {file.name, file.with_suffix(".csv").name, *about.get("earlier_files", [])}
            names |= {name for source in about.get("sources", []) for name in source["files"].values()}
    return names


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _shortened(stem: str) -> str:
    return os.fsencode(stem)[:MAX_STEM_BYTES].decode("utf-8", "ignore") or "picture"


def write_csv(file: Path, predictions: pd.DataFrame) -> None:
    """The table as CSV, UTF-8; missing values are empty cells, times are in microseconds however long the video is."""
    times = predictions["time_s"].round(6).map(str, na_action="ignore")
    predictions = predictions.assign(time_s=times)
    with replacing(file) as temporary:
        predictions.to_csv(temporary, index=False, float_format="%.6g", encoding="utf-8", lineterminator="\n")


def write_json(file: Path, content: dict) -> None:
    """`content` as strict JSON, UTF-8."""
    with replacing(file) as temporary:
        text = json.dumps(provenance.plain(content), allow_nan=False, ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def records(predictions: pd.DataFrame) -> list[dict]:
    """Rows as dictionaries for JSON: missing values None, posteriors rounded to what float32 holds."""
    table = predictions.drop(columns="source")
    floats = table.select_dtypes("floating").columns
    table = table.assign(**{name: table[name].astype("float64").round(6) for name in floats})
    return table.astype(object).where(table.notna(), None).to_dict("records")


def write_picture(file: Path, rgb: np.ndarray) -> None:
    """uint8 [H, W, 3] as JPEG."""
    with replacing(file) as temporary:
        Image.fromarray(rgb).save(temporary, format="JPEG", quality=JPEG_QUALITY)


def write_text(file: Path, text: str) -> None:
    """Text as UTF-8."""
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def annotated(frames: Iterable, predictions: pd.DataFrame) -> Iterator[tuple[float, np.ndarray]]:
    """Time and annotated picture (uint8 [H, W, 3]) of each of `frames` (`video.Frame` with rgb) that was looked at."""
    numbers = predictions["frame"].to_numpy()
    for frame in frames:
        first, last = np.searchsorted(numbers, [frame.index, frame.index + 1])
        if first < last:
            yield frame.time_s, annotate(frame.rgb, predictions.iloc[first:last])


def write_video(file: Path, pictures: Iterable[tuple[float, np.ndarray]], *, frame_rate_hz: float) -> None:
    """An H.264 video without sound, each picture at its own time.

    Parameters
    ----------
    pictures : time in seconds, rising, and uint8 [H, W, 3], at least one. An odd last row or column is cut, which H.264
        cannot hold; a picture of another size than the first is scaled to it.
    frame_rate_hz : what the header states; NaN for 30.
    """
    with replacing(file) as temporary, av.open(local(temporary), "w", format="mp4") as container:
        rate = Fraction(frame_rate_hz).limit_denominator(1001) if frame_rate_hz > 0 else 30
        stream = container.add_stream("libx264", rate=rate, options=_X264)
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, _CLOCK_HZ)
        first_s, last_pts = None, -1
        for time_s, rgb in pictures:
            if first_s is None:
                first_s = time_s
                stream.height, stream.width = (max(2, length // 2 * 2) for length in rgb.shape[:2])
            size = stream.width, stream.height
            fits = 0 <= rgb.shape[1] - size[0] <= 1 and 0 <= rgb.shape[0] - size[1] <= 1
            picture = rgb[: size[1], : size[0]] if fits else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            last_pts = max(last_pts + 1, round((time_s - first_s) * _CLOCK_HZ))
            frame.pts, frame.time_base = last_pts, Fraction(1, _CLOCK_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
