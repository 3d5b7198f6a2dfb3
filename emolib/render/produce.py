"""Writes the files of an embedded corpus into an empty folder, a task a process."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import cv2
import pandas as pd
from tqdm import tqdm

from emolib import labels
from emolib.render.clip import ClipSpec, random_still, render_clip
from emolib.render.identity import generator, identity
from emolib.render.plan import still_table, video_table

_PACKAGES = ("av", "numpy", "opencv-contrib-python-headless", "pandas", "pyarrow", "scipy")
_RENDERED = {labels.emotion(name): name for name in labels.names("ravdess8")}  # the renderer's names of the emotions
_STILLS_A_TASK = 25
_JPEG_QUALITY = 92


def write_corpus(folder: Path, parameters: dict, *, versions: dict, workers: int, progress: bool) -> dict:
    """Write the whole corpus of `parameters` (see `emolib.corpora.synthetic.generate`) into the empty `folder`.

    Returns the summary that corpus.json also holds, beside `versions`, packages and every file's size and SHA-256.
    """
    p = parameters
    plan = {key: p[key] for key in ("n_subjects", "emotions", "intensities", "statements", "repetitions", "duration_s")}
    videos = video_table(**plan, seed=p["seed"])
    stills = still_table(n_stills=p["n_stills"], label_noise=p["still_label_noise"], seed=p["seed"])
    for source in videos["source"]:
        (folder / source).parent.mkdir(exist_ok=True)
    (folder / "stills").mkdir()
    rows = stills.to_dict("records")
    tasks = [(folder, p, "clip", [row]) for row in videos.to_dict("records")]
    tasks += [(folder, p, "still", rows[at : at + _STILLS_A_TASK]) for at in range(0, len(rows), _STILLS_A_TASK)]
    truths = []
    with tqdm(total=len(videos) + len(stills), unit="file", desc="embedded corpus", disable=not progress) as bar:
        for task, truth in zip(tasks, _results(tasks, workers), strict=True):
            truths.append(truth)
            bar.update(len(task[-1]))
    truth = pd.concat([table for table in truths if table is not None], ignore_index=True)
    truth.to_parquet(folder / "truth.parquet", index=False)
    videos.to_csv(folder / "videos.csv", index=False)
    stills.to_csv(folder / "stills.csv", index=False)
    counts = {"n_videos": len(videos), "n_frames": len(truth), "n_stills": len(stills)}
    return _describe(folder, p, versions, counts | {"n_wrong_labels": int(stills["label_is_wrong"].sum())})


def _results(tasks: list[tuple], workers: int) -> Iterator[pd.DataFrame | None]:
    """What `_render` returns for each task, in order."""
    if workers == 1:
        yield from map(_render, tasks)
        return
    # Spawned: a fork would copy threads of OpenCV and FFmpeg half-way through their work.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    )
    try:
        yield from pool.map(_render, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _render(task: tuple) -> pd.DataFrame | None:
    """Write one clip (its truth is returned) or a few stills."""
    folder, p, kind, rows = task
    if kind == "clip":
        row = rows[0]
        who = identity(p["seed"], row["subject"], female=row["female"])
        spec = ClipSpec(row["video"], row["emotion"], row["intensity"] == 2, row["statement"], row["length_s"])
        size = {key: p[key] for key in ("frame_rate_hz", "width_px", "height_px")}
        return render_clip(folder / row["source"], spec, who, seed=p["seed"], **size)
    for row in rows:
        _write_still(folder / row["path"], row, seed=p["seed"], size_px=p["height_px"])
    return None


def _write_still(file: Path, row: dict, *, seed: int, size_px: int) -> None:
    who = identity(seed, row["subject"], female=row["female"])
    emotion = _RENDERED[labels.emotion(labels.names("affectnet7")[row["true_label"]])]
    random = generator(seed, "still", row["path"])
    image, _, _ = random_still(random, who, emotion, intensity=row["intensity"], size_px=size_px)
    if not cv2.imwrite(str(file), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
        raise OSError(f"{file}: the picture could not be written")


def _describe(folder: Path, parameters: dict, versions: dict, counts: dict) -> dict:
    """Write corpus.json."""
    files = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        content = file.read_bytes()
        name = file.relative_to(folder).as_posix()
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    summary = {**counts, "n_bytes": sum(entry["bytes"] for entry in files.values())}
    packages = {name: version(name) for name in _PACKAGES}
    about = {**versions, "parameters": parameters, "packages": packages, "summary": summary, "files": files}
    (folder / "corpus.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return summary
