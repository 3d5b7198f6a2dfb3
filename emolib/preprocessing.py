"""From a corpus to a frame store: decode, follow the face, crop, draw guides; a process a core over the sources."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib import atomic, extraction
from emolib.extraction import CROPS, GIVEN_BOX_COLUMNS, Job, Part
from emolib.frames import MANIFEST_COLUMNS, FrameStore, FrameStoreWriter
from emolib.given_maps import check_maps, map_files
from emolib.guides import GUIDES

STILLS_PER_JOB = 64
# Jobs handed out ahead of the one that is written next: enough to keep all workers busy behind a long video.
JOBS_AHEAD_PER_WORKER = 4
_ROW_COLUMNS = set(MANIFEST_COLUMNS) - {"source", "video", "subject", "label", "split"} | {"n_faces", "detector"}


def prepare(
    corpus,
    out: str | Path,
    *,
    crop: str = "aligned",
    guides: tuple[str, ...] = ("saliency", "landmarks"),
    guide_maps: Mapping[str, str | Path] | None = None,
    frame_step: int = 1,
    face_size_px: int = 48,
    max_sources: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    resume: bool = False,
) -> FrameStore:
    """Make the frame store of a corpus. The result does not depend on the number of workers.

    Parameters
    ----------
    corpus : emolib.corpora.Corpus
    out : folder of the store; an older store there is replaced when the new one is complete.
    crop : "aligned" finds and follows the face and cuts it out upright; "none" only resizes each picture to a square
        (for stills that are face crops already; their sides are not kept in proportion); "box" does that with the part
        of each picture inside the box that the corpus gives (columns `face_x`, `face_y`, `face_width`, `face_height` of
        its sources, in pixels; clipped to the picture).
    guides : names in `guides.GUIDES`. With a ready crop ("none", "box"), landmarks are looked for, in the crop, only if
        a guide needs them. Where the corpus has landmarks of its own (`Corpus.landmarks`), those are used instead.
    guide_maps : guides made elsewhere (such as MSI-Net's saliency maps), for stills that are ready crops: name ->
        folder with a picture of each crop, of any size, under its source's own name with the suffix ``.png``. A source
        whose map is missing or broken is excluded with that reason.
    frame_step : keep every n-th frame of a video.
    face_size_px : side of the crops and guides.
    max_sources : take only so many sources, evenly spaced over the table.
    workers : processes; one a core if None.
    progress : show a bar with sources done, total and time left.
    resume : what a run that was stopped has done for the same `out` is not done again; only where the name of `out`
        stands for the files, the options and the code, as in `stages.prepare_once`. Takes twice the store's space
        until it is complete; what is stopped and never gone on with stays as ``.<name>.parts.<...>.tmp`` beside `out`.

    Returns
    -------
    FrameStore
        Rows in the order of the sources, then of frames. Beside the manifest's own columns: `n_faces` (int), `detector`
        ("dlib", "track", "mtcnn", "given" by the corpus, "none", "crop": nothing was looked for or found in a ready
        crop), the further columns of the corpus' sources and of its `frame_truth`. Tables: `videos` (what was found, a
        row a source), `excluded` (the corpus' own and the files that could not be used, with the reason) and, where
        landmarks are stored, `no_landmarks` (sample, source, frame, label, reason: whose landmarks nobody found).

    Raises
    ------
    ValueError
        The corpus is empty, or an option or a column's name is not allowed, or no source could be used.
    FileNotFoundError
        A folder of `guide_maps` is not there.
    RuntimeError
        A worker process died; no new store is left.
    """
    _check(corpus, crop, guides, frame_step, face_size_px, max_sources, workers)
    guide_maps = {name: Path(folder) for name, folder in (guide_maps or {}).items()}
    check_maps(corpus, crop, guide_maps)
    out, sources = Path(out), corpus.sources.reset_index(drop=True)
    points = corpus.landmarks
    if max_sources is not None and max_sources < len(sources):
        taken = np.linspace(0, len(sources) - 1, max_sources).round().astype(int)
        sources, points = sources.iloc[taken].reset_index(drop=True), None if points is None else points[taken]
    truth = _truth_by_video(corpus)
    videos, failures, without, n_frames = [], [], [], 0
    options = dict(crop=crop, guides=tuple(guides), frame_step=frame_step, face_size_px=face_size_px)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        _scratch(out, resume=resume) as scratch,
        FrameStoreWriter(out, corpus=corpus.name, label_space=corpus.label_space) as writer,
        tqdm(total=len(sources), unit="source", desc=f"prepare {corpus.name}", disable=not progress) as bar,
    ):
        jobs = _jobs(corpus, sources, points, guide_maps, scratch, options)
        for part in _in_order(jobs, workers=workers or _n_cores()):
            if len(part.rows):
                manifest, arrays = _manifest_rows(part.rows, sources, truth), part.arrays()
                writer.append(manifest, arrays)
                if part.job.has_landmarks:
                    without.append(_without_landmarks(manifest, arrays["landmarks"], part.job, n_before=n_frames))
            if not resume:
                shutil.rmtree(part.job.folder)
            videos.append(part.videos)
            failures.append(part.failures)
            bar.update(len(part.videos) + len(part.failures))
            n_frames += len(part.rows)
            bar.set_postfix(frames=n_frames, refresh=False)
        failed = pd.concat(failures, ignore_index=True)
        if n_frames == 0:
            counted = "; ".join(f"{n} x {reason}" for reason, n in Counter(failed["reason"]).most_common(5))
            raise ValueError(f"corpus {corpus.name!r}: no sample was written, {counted}")
        found = pd.concat(videos, ignore_index=True)
        found.insert(0, "source", sources["source"].to_numpy()[found["row"]])
        found.insert(0, "video", sources["video"].to_numpy()[found["row"]])
        writer.add_table("videos", found.drop(columns="row"))
        writer.add_table("excluded", _excluded(corpus, sources, failed))
        if without:
            writer.add_table("no_landmarks", pd.concat(without, ignore_index=True))
    return FrameStore.open(out)


@contextmanager
def _scratch(out: Path, *, resume: bool) -> Iterator[Path]:
    """Folder of the parts; with `resume`, one that a stopped run left, and it stays when this one is stopped."""
    name = f"{out.name}.parts"
    if not resume:
        atomic.remove_abandoned(out.parent, name)
    folder, keep = atomic.adopt_abandoned(out.parent, name), resume
    try:
        yield folder
        keep = False
    except ValueError:  # the work itself is at fault: it begins anew
        keep = False
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _check(corpus, crop, guides, frame_step, face_size_px, max_sources, workers) -> None:
    if corpus.sources.empty:
        raise ValueError(
            f"corpus {corpus.name!r} below {corpus.root} has no source, {len(corpus.excluded)} were excluded"
        )
    if crop not in CROPS:
        raise ValueError(f"crop is {crop!r}, allowed are {', '.join(CROPS)}")
    if unknown := [name for name in guides if name not in GUIDES]:
        raise ValueError(f"guides: {', '.join(map(repr, unknown))} unknown, allowed are {', '.join(GUIDES)}")
    counts = dict(frame_step=frame_step, face_size_px=face_size_px, max_sources=max_sources, workers=workers)
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}, at least 1 is allowed")
    if crop == "box":
        _check_boxes(corpus)
    if taken := sorted(_ROW_COLUMNS & set(corpus.sources.columns)):
        raise ValueError(f"corpus {corpus.name!r}: sources have the column(s) {', '.join(taken)}, which prepare writes")
    if len(twice := corpus.sources["video"][corpus.sources["video"].duplicated()]):
        raise ValueError(f"corpus {corpus.name!r}: the video id {twice.iloc[0]!r} occurs more than once in sources")


def _check_boxes(corpus) -> None:
    there = list(corpus.sources.columns)
    if missing := [column for column in GIVEN_BOX_COLUMNS if column not in there]:
        raise ValueError(f"crop 'box': corpus {corpus.name!r} has no column(s) {', '.join(missing)}; it has {there}")
    boxes = corpus.sources[GIVEN_BOX_COLUMNS].to_numpy(dtype=np.float64)
    if len(bad := np.flatnonzero(~np.isfinite(boxes).all(axis=1))):
        raise ValueError(f"crop 'box': the box of {corpus.sources['source'].iloc[bad[0]]} is {boxes[bad[0]].tolist()}")


def _truth_by_video(corpus) -> dict[str, pd.DataFrame]:
    truth = corpus.frame_truth
    if truth is None:
        return {}
    taken = (_ROW_COLUMNS | set(corpus.sources.columns)) & set(truth.columns) - {"video", "frame"}
    if taken:
        raise ValueError(f"corpus {corpus.name!r}: frame_truth has the column(s) {', '.join(sorted(taken))} of sources")
    if truth.duplicated(["video", "frame"]).any():
        row = truth[truth.duplicated(["video", "frame"])].iloc[0]
        raise ValueError(f"corpus {corpus.name!r}: frame_truth has frame {row.frame} of video {row.video!r} twice")
    groups = {video: table.set_index("frame").drop(columns="video") for video, table in truth.groupby("video")}
    return groups | {None: truth.iloc[:0].set_index("frame").drop(columns="video")}


def _jobs(
    corpus,
    sources: pd.DataFrame,
    points: np.ndarray | None,
    guide_maps: Mapping[str, Path],
    scratch: Path,
    options: dict,
) -> Iterator[Job]:
    size = STILLS_PER_JOB if corpus.kind == "still" else 1
    for first in range(0, len(sources), size):
        some = sources.iloc[first : first + size]
        paths = tuple(Path(corpus.root) / source for source in some["source"])
        yield Job(
            tuple(range(first, first + len(some))),
            paths,
            corpus.kind,
            scratch / f"{first:08d}-{len(some)}",
            boxes=some[GIVEN_BOX_COLUMNS].to_numpy(dtype=np.float64) if options["crop"] == "box" else None,
            points=None if points is None else points[first : first + size],
            maps=tuple((name, tuple(map_files(folder, some["source"]))) for name, folder in guide_maps.items()),
            **options,
        )


def _in_order(jobs: Iterator[Job], *, workers: int) -> Iterator[Part]:
    """Run the jobs in `workers` processes; yield the parts in the order of the jobs, a bounded number of them ahead."""
    # spawn: a forked copy of a process with threads (torch, a notebook's kernel) may hang.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, initializer=extraction.start_worker, initargs=(stop,))
    waiting: deque[tuple[Job, Future]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(extraction.extract, job)))
            if len(waiting) >= JOBS_AHEAD_PER_WORKER * workers:
                yield waiting[0][1].result()
                waiting.popleft()
        while waiting:
            yield waiting[0][1].result()
            waiting.popleft()
    except BrokenProcessPool as error:
        at_work = ", ".join(str(job.paths[0]) for job, future in waiting if not future.done() or future.exception())
        raise RuntimeError(f"a worker process died, at one of these sources or the one before: {at_work}") from error
    finally:
        stop.set()  # an interrupted or failed run ends the workers at their next frame
        pool.shutdown(wait=True, cancel_futures=True)


def _manifest_rows(rows: pd.DataFrame, sources: pd.DataFrame, truth: dict) -> pd.DataFrame:
    found = rows.drop(columns="row")
    of_source = sources.iloc[rows["row"].to_numpy()].reset_index(drop=True)
    tables = [of_source, found]
    if truth:
        parts = [
            truth.get(sources["video"].iat[row], truth[None]).reindex(frames.to_numpy())
            for row, frames in rows.groupby("row", sort=False)["frame"]
        ]
        tables.append(pd.concat(parts, ignore_index=True))
    return pd.concat(tables, axis=1)


def _without_landmarks(rows: pd.DataFrame, points: np.ndarray, job: Job, *, n_before: int) -> pd.DataFrame:
    unknown = np.flatnonzero(np.isnan(points).any(axis=(1, 2)))
    table = rows.iloc[unknown][["source", "frame", "label"]].reset_index(drop=True)
    table.insert(0, "sample", n_before + unknown)
    return table.assign(reason=job.why_no_landmarks).astype({"reason": "str"})


def _excluded(corpus, sources: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    failed = pd.DataFrame({"source": sources["source"].to_numpy()[failures["row"]], "reason": failures["reason"]})
    return pd.concat([corpus.excluded[["source", "reason"]], failed], ignore_index=True).astype("str")


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
