"""The worker's part of preprocessing: one video, or a few stills, to rows and arrays on disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from emolib import landmarks
from emolib.frames import BOX_COLUMNS
from emolib.guides import GUIDES, NEEDS_LANDMARKS
from emolib.tracking import NO_FACE, Face, Track, follow
from emolib.video import Frame, MediaError, Video, open_video, read_image_grey

CROPS = ("aligned", "none")
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

    @property
    def looks_for_faces(self) -> bool:
        """Whether landmarks are needed."""
        return self.crop == "aligned" or not NEEDS_LANDMARKS.isdisjoint(self.guides)

    def array_types(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Name -> (dtype, shape of a sample) of the arrays that the job writes."""
        square = (self.face_size_px, self.face_size_px)
        types = {"image": (np.uint8, square)} | {f"guide/{name}": (np.uint8, square) for name in self.guides}
        return types | ({"landmarks": (np.float32, (68, 2))} if self.looks_for_faces else {})


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
    """Do the job: decode, find faces, crop, draw guides, write the arrays below ``job.folder``."""
    job.folder.mkdir()
    rows, videos, failures = [], [], []
    with ExitStack() as stack:
        files = {name: stack.enter_context(_file(job.folder, name).open("wb")) for name in job.array_types()}
        for row, path in zip(job.rows, job.paths, strict=True):
            n_before, track = len(rows), Track()
            try:
                video = Video(path) if job.kind == "still" else open_video(path)
                for frame in _still(path) if job.kind == "still" else video.frames(frame_step=job.frame_step):
                    if _stop is not None and _stop.is_set():
                        raise InterruptedError(f"stopped in {path}")
                    face, track = follow(frame.grey, track) if job.looks_for_faces else (NO_FACE, track)
                    found, arrays = sample(frame.grey, face, job)
                    for name, values in arrays.items():
                        files[name].write(values.tobytes())
                    rows.append((row, frame.index, frame.time_s, *found))
            except MediaError as error:  # raised before the first frame only
                failures.append((row, error.reason))
            else:
                videos.append((row, *_account(rows[n_before:], video)))
    return Part(job, _table(rows, _ROW_DTYPES), _table(videos, _VIDEO_DTYPES), _table(failures, _FAILURE_DTYPES))


def sample(grey: np.ndarray, face: Face, job: Job) -> tuple[tuple, dict[str, np.ndarray]]:
    """A frame's part of the manifest (face_ok, box, n_faces, detector) and its arrays, by the job's options."""
    size_px = job.face_size_px
    if job.crop == "none":
        height, width = grey.shape
        shrinks = min(grey.shape) > size_px
        image = cv2.resize(grey, (size_px, size_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        transform = np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height]])
        found = (True, 0, 0, width, height, face.n_faces, face.detector if face.ok else "crop")
    else:
        found = (face.ok, *face.box, face.n_faces, face.detector)
        if face.ok:
            transform = landmarks.align(face.points)
            image = landmarks.crop(grey, transform, size_px=size_px)
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in job.array_types().items()}
    if job.looks_for_faces:
        arrays["landmarks"] = face.points
    if found[0]:
        arrays["image"] = image
        points = landmarks.to_crop(face.points, transform, size_px=size_px)
        arrays |= {f"guide/{name}": GUIDES[name](image, points) for name in job.guides}
    return found, arrays


def _still(path: Path) -> Iterator[Frame]:
    yield Frame(0, 0.0, read_image_grey(path))


def _account(rows: list[tuple], video: Video) -> tuple:
    table = _table(rows, _ROW_DTYPES)
    n_ok = int(table["face_ok"].sum())
    notes = [*video.notes, *(["no face found"] if n_ok == 0 else [])]
    n_several, n_mtcnn = int((table["n_faces"] > 1).sum()), int((table["detector"] == "mtcnn").sum())
    counts = len(table), n_ok, len(table) - n_ok, n_several, n_mtcnn
    return *counts, video.frame_rate_hz, video.duration_s, "; ".join(notes)


def _table(rows: list[tuple], dtypes: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=list(dtypes)).astype(dtypes)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '.')}.bin"
