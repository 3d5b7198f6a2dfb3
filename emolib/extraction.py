"""The worker's part of preprocessing: one video, or a few stills, to rows and arrays on disk."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from emolib import detection, landmarks
from emolib.frames import BOX_COLUMNS
from emolib.guides import GUIDES, NEEDS_LANDMARKS
from emolib.tracking import NO_FACE, Face, Track, follow
from emolib.video import Frame, MediaError, Video, open_video, read_image_grey

Box = tuple[int, int, int, int]  # left, top, right, bottom: whole pixels of the picture
CROPS = ("aligned", "none", "box")
# The predictor answers in whole pixels: of a crop of 48, enlarged to this short side before it is asked, landmarks lie
# 0.33 instead of 0.47 pixels off the truth (drawn faces, median), and more does not help. Tiny crops have a limit.
LANDMARKS_MIN_PX, LANDMARKS_MAX_ENLARGEMENT = 160, 8
MIN_BOX_INSIDE = 0.5  # of a given box's area: with less of it in the picture, what is left is not the face
GIVEN_BOX_COLUMNS = ["face_x", "face_y", "face_width", "face_height"]  # of sources: pixels of the picture
_ROW_DTYPES = {
    **{"row": "int64", "frame": "int32", "time_s": "float64", "face_ok": "bool"},
    **dict.fromkeys(BOX_COLUMNS, "float32"),
    **{"n_faces": "int32", "detector": "str"},
}
_VIDEO_DTYPES = {
    **dict.fromkeys(["row", "n_frames", "n_face_ok", "n_without_face", "n_several_faces", "n_mtcnn"], "int64"),
    **{"frame_rate_hz": "float64", "duration_s": "float64", "note": "str"},
}
_FAILURE_DTYPES = {"row": "int64", "reason": "str"}
_TABLES = {"rows": _ROW_DTYPES, "videos": _VIDEO_DTYPES, "failures": _FAILURE_DTYPES}
_WHOLE = "whole"  # name of an empty file, written last
_stop = None  # the run's stop signal, in a worker process


@dataclass(frozen=True)
class Job:
    """Sources for one worker: their rows in the table of sources, their files, and the options of `prepare`."""

    rows: tuple[int, ...]
    paths: tuple[Path, ...]
    kind: str
    folder: Path
    crop: str
    guides: tuple[str, ...]
    frame_step: int
    face_size_px: int
    boxes: np.ndarray | None = None  # float [n, 4], `GIVEN_BOX_COLUMNS` of the sources; needed where crop is "box"
    points: np.ndarray | None = None  # float32 [n, 68, 2], landmarks that the corpus gives: none are looked for
    maps: tuple[tuple[str, tuple[Path, ...]], ...] = ()  # name of a guide made elsewhere, its file for each source

    @property
    def has_landmarks(self) -> bool:
        """Whether landmarks are needed, or given anyway."""
        return self.crop == "aligned" or self.points is not None or not NEEDS_LANDMARKS.isdisjoint(self.guides)

    @property
    def why_no_landmarks(self) -> str:
        """What was tried in a picture whose landmarks are not known."""
        if self.points is not None:
            return "the corpus gives none"
        if self.kind == "video":
            return "no detector that was asked in this frame found a face"
        scales = " and ".join(str(scale) for scale in (detection.COARSE_PX, detection.FINE_PX))
        return f"dlib (short side of {scales} pixels) and MTCNN found no face"

    def array_types(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Name -> (dtype, shape of a sample) of the arrays that the job writes."""
        square = (self.face_size_px, self.face_size_px)
        drawn = (*self.guides, *(name for name, _ in self.maps))
        types = {"image": (np.uint8, square)} | {f"guide/{name}": (np.uint8, square) for name in drawn}
        return types | ({"landmarks": (np.float32, (68, 2))} if self.has_landmarks else {})


@dataclass(frozen=True)
class Part:
    """What a job found: `rows` (one a frame), `videos` (one a source), `failures` (row, reason); arrays are on disk."""

    job: Job
    rows: pd.DataFrame
    videos: pd.DataFrame
    failures: pd.DataFrame

    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> memory-mapped array [len(rows), ...]; there must be a row."""
        return {
            name: np.memmap(_file(self.job.folder, name), dtype, "r", shape=(len(self.rows), *shape))
            for name, (dtype, shape) in self.job.array_types().items()
        }


def start_worker(stop) -> None:
    """Set up a worker process: one thread a library, since the processes share the cores; `stop` ends it early."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets Ctrl-C and sets `stop`
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch, which is imported only where MTCNN is needed
    cv2.setNumThreads(1)


def extract(job: Job) -> Part:
    """Do the job: decode, find faces, crop, draw guides, write the part below ``job.folder``.

    A whole part that lies there already, left by a run that was stopped, is read instead.
    """
    if (job.folder / _WHOLE).is_file():
        return Part(job, **{name: _read_table(job.folder, name) for name in _TABLES})
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir()
    rows, videos, failures = [], [], []
    with ExitStack() as stack:
        files = {name: stack.enter_context(_file(job.folder, name).open("wb")) for name in job.array_types()}
        for number, (row, path) in enumerate(zip(job.rows, job.paths, strict=True)):
            n_before, track = len(rows), Track()
            try:
                video = Video(path) if job.kind == "still" else open_video(path)
                for frame in _still(path) if job.kind == "still" else video.frames(frame_step=job.frame_step):
                    if _stop is not None and _stop.is_set():
                        raise InterruptedError(f"stopped in {path}")
                    box = None if job.crop == "aligned" else _ready_crop(frame.grey, job, number)
                    face, track = _face(frame.grey, box, track, job, number)
                    found, arrays = sample(frame.grey, face, job, box=box)
                    for name, values in (arrays | _maps(job, number)).items():
                        files[name].write(values.tobytes())
                    rows.append((row, frame.index, frame.time_s, *found))
            except MediaError as error:  # raised before the first frame only
                failures.append((row, error.reason))
            else:
                videos.append((row, *_account(rows[n_before:], video)))
    tables = {"rows": rows, "videos": videos, "failures": failures}
    tables = {name: _table(found, _TABLES[name]) for name, found in tables.items()}
    for name, table in tables.items():
        table.to_parquet(job.folder / f"{name}.parquet")
    (job.folder / _WHOLE).touch()
    return Part(job, **tables)


def sample(grey: np.ndarray, face: Face, job: Job, *, box: Box | None = None) -> tuple[tuple, dict[str, np.ndarray]]:
    """A frame's part of the manifest (face_ok, box, n_faces, detector) and its arrays, by the job's options.

    `box` is the part of the picture that is a ready crop, None where the face is to be aligned.
    """
    size_px = job.face_size_px
    image, points = np.zeros((size_px, size_px), np.uint8), NO_FACE.points
    if box is not None:
        left, top, right, bottom = box
        image = _resized(grey[top:bottom, left:right], size_px)
        transform = ready_transform(box)
        found = (True, *box, face.n_faces, face.detector if face.ok else "crop")
    else:
        found = (face.ok, *face.box, face.n_faces, face.detector)
        if face.ok:
            transform = landmarks.align(face.points)
            image = landmarks.crop(grey, transform, size_px=size_px)
    if found[0]:
        points = landmarks.to_crop(face.points, transform, size_px=size_px)
    arrays = {"image": image} | {f"guide/{name}": GUIDES[name](image, points) for name in job.guides}
    return found, arrays | ({"landmarks": face.points} if job.has_landmarks else {})


def ready_transform(box: Box | np.ndarray) -> np.ndarray:
    """Pixels of the picture to shares of the ready crop in `box`, float64 [2, 3], as `landmarks.align` gives them."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return np.array([[1 / width, 0, (0.5 - left) / width], [0, 1 / height, (0.5 - top) / height]])


def _still(path: Path) -> Iterator[Frame]:
    yield Frame(0, 0.0, read_image_grey(path))


def _ready_crop(grey: np.ndarray, job: Job, number: int) -> Box:
    """The whole picture, or its part in the box that the corpus gives."""
    height, width = grey.shape
    if job.crop == "none":
        return 0, 0, width, height
    x, y, box_width, box_height = job.boxes[number]
    left, top = max(0, round(x)), max(0, round(y))
    right, bottom = min(width, round(x + box_width)), min(height, round(y + box_height))
    if left >= right or top >= bottom:
        raise MediaError(job.paths[number], "the box of the face holds no pixel of the picture")
    inside_px = (min(width, x + box_width) - max(0, x)) * (min(height, y + box_height) - max(0, y))
    if inside_px < MIN_BOX_INSIDE * box_width * box_height:
        raise MediaError(job.paths[number], f"less than {MIN_BOX_INSIDE:.0%} of the face's box lies inside the picture")
    return left, top, right, bottom


def _face(grey: np.ndarray, box: Box | None, track: Track, job: Job, number: int) -> tuple[Face, Track]:
    """What is known of the face, its landmarks in pixels of the picture, and the track for the next frame."""
    if not job.has_landmarks:
        return NO_FACE, track
    if job.points is not None:
        points = job.points[number]
        if np.isnan(points).any():
            return NO_FACE, track
        own = landmarks.face_box(points)
        return Face(own, points, "given", 1, own), track
    if box is None:
        return follow(grey, track)
    left, top, right, bottom = box
    crop = np.ascontiguousarray(grey[top:bottom, left:right])
    factor = min(-(-LANDMARKS_MIN_PX // min(crop.shape)), LANDMARKS_MAX_ENLARGEMENT)
    if factor > 1:
        crop = cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    face, track = follow(crop, track)
    points = (face.points + 0.5) / factor - 0.5 + np.array([left, top])  # pixel centres lie at whole numbers
    return replace(face, points=points.astype(np.float32)), track


def _maps(job: Job, number: int) -> dict[str, np.ndarray]:
    """The guides made elsewhere of one source, by array name."""
    maps = {}
    for name, files in job.maps:
        try:
            maps[f"guide/{name}"] = _resized(read_image_grey(files[number]), job.face_size_px)
        except MediaError as error:
            raise MediaError(job.paths[number], f"map of guide {name!r}: {error.reason}") from error
    return maps


def _resized(grey: np.ndarray, size_px: int) -> np.ndarray:
    method = cv2.INTER_AREA if min(grey.shape) > size_px else cv2.INTER_LINEAR
    return cv2.resize(grey, (size_px, size_px), interpolation=method)


def _account(rows: list[tuple], video: Video) -> tuple:
    table = _table(rows, _ROW_DTYPES)
    n_ok = int(table["face_ok"].sum())
    notes = [*video.notes, *(["no face found"] if n_ok == 0 else [])]
    n_several, n_mtcnn = int((table["n_faces"] > 1).sum()), int((table["detector"] == "mtcnn").sum())
    counts = len(table), n_ok, len(table) - n_ok, n_several, n_mtcnn
    return *counts, video.frame_rate_hz, video.duration_s, "; ".join(notes)


def _table(rows: list[tuple], dtypes: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=list(dtypes)).astype(dtypes)


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{name}.parquet").astype(_TABLES[name])


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '.')}.bin"
