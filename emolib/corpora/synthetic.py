"""The embedded corpus: drawn people in RAVDESS-like videos and AffectNet-like stills, with their truth.

A generated corpus is a folder::

    corpus.json          parameters, versions, summary, and size and SHA-256 of every file
    videos.csv           a row a clip
    truth.parquet        a row a frame: true_intensity, blink, 17 action units, box, 68 landmarks (`render.clip.truth`)
    Actor_NN/*.mp4       H.264 and AAC, RAVDESS naming
    stills.csv           a row a still: path, subject, label, true_label, label_is_wrong, intensity, split
    stills/*.jpg

``true_intensity`` says how much of its own emotion a frame shows: the emotion's curve (0..1), independent of speech and
blinks (blinks are flagged). It is 1 throughout in neutral clips; calm clips have a curve: a weak smile comes and goes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from emolib import labels
from emolib.atomic import remove_abandoned, temporary_folder
from emolib.corpora import Corpus, collect, find_files
from emolib.corpora.ravdess import CHANNELS, INTENSITIES, MODALITIES, STATEMENTS
from emolib.frames import replace_folder
from emolib.render import RENDERER_VERSION
from emolib.render.produce import write_corpus
from emolib.render.shape import AU_COLUMNS

_VERSIONS = {"schema_version": 1, "renderer_version": RENDERER_VERSION}
_EMOTIONS = labels.names("ravdess8")
_TEXT = dict.fromkeys(("source", "video", "subject", "path", "split"), str)
_SEX = {True: "female", False: "male"}


def generate(
    root: str | Path,
    *,
    n_subjects: int = 8,
    emotions: tuple[str, ...] = _EMOTIONS,
    intensities: tuple[int, ...] = (1, 2),
    statements: tuple[int, ...] = (1,),
    repetitions: tuple[int, ...] = (1,),
    duration_s: float = 2.0,
    frame_rate_hz: int = 30,
    width_px: int = 320,
    height_px: int = 240,
    n_stills: int = 1500,
    still_label_noise: float = 0.1,
    seed: int = 2020,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> dict:
    """Make the embedded corpus in the folder `root`; a complete one made with the same parameters is left as it is.

    Parameters
    ----------
    n_subjects : actors, 1..99; odd numbers are male, even ones female
    emotions : names in ravdess8
    intensities : 1 normal, 2 strong (neutral has normal only, and always)
    statements : 1, 2
    repetitions : 1..99
    duration_s : mean length of a clip; each varies by up to 12 %
    width_px, height_px : of the videos, even; stills are squares of height_px
    still_label_noise : share of stills with a wrong label, 0..1
    workers : processes; None is one a core. The bytes do not depend on it.
    overwrite : replace the embedded corpus at `root`; anything else there is never replaced

    Returns
    -------
    dict : n_videos, n_frames, n_stills, n_wrong_labels, n_bytes

    Raises
    ------
    ValueError
        A parameter is out of range.
    FileExistsError
        `root` holds something else, or a corpus made with other parameters or by another version of the renderer.
    """
    root = Path(root)
    parameters = {
        **{"n_subjects": n_subjects, "emotions": list(emotions), "intensities": list(intensities)},
        **{"statements": list(statements), "repetitions": list(repetitions), "duration_s": float(duration_s)},
        **{"frame_rate_hz": frame_rate_hz, "width_px": width_px, "height_px": height_px, "n_stills": n_stills},
        **{"still_label_noise": float(still_label_noise), "seed": seed},
    }
    _check(parameters, workers)
    if root.exists() and not _may_replace(root, overwrite):
        return _same(root, parameters)
    remove_abandoned(root.parent, root.name)
    temporary = temporary_folder(root.parent, root.name)
    temporary.mkdir(parents=True)
    try:
        summary = write_corpus(
            temporary, parameters, versions=_VERSIONS, workers=workers or os.cpu_count() or 1, progress=progress
        )
        replace_folder(temporary, root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return summary


def _check(p: dict, workers: int | None) -> None:
    rate = p["frame_rate_hz"]
    rules = {
        "n_subjects": (1 <= p["n_subjects"] <= 99, "1..99"),
        "emotions": (set(p["emotions"]) <= set(_EMOTIONS), f"names of {list(_EMOTIONS)}"),
        "intensities": (set(p["intensities"]) <= {1, 2}, "1 and 2"),
        "statements": (set(p["statements"]) <= {1, 2}, "1 and 2"),
        "repetitions": (all(1 <= number <= 99 for number in p["repetitions"]), "1..99"),
        "duration_s": (0.5 <= p["duration_s"] <= 60, "0.5..60"),
        "frame_rate_hz": (5 <= rate <= 120 and rate == int(rate), "5..120, whole"),
        "width_px": (p["width_px"] % 2 == 0 and p["width_px"] >= p["height_px"], "even, at least height_px"),
        "height_px": (p["height_px"] % 2 == 0 and 160 <= p["height_px"] <= 2160, "even, 160..2160"),
        "n_stills": (0 <= p["n_stills"] <= 999_999, "0..999999"),
        "still_label_noise": (0 <= p["still_label_noise"] <= 1, "0..1"),
        "seed": (p["seed"] >= 0, "0 or more"),
    }
    for name, (good, allowed) in rules.items():
        several = isinstance(p[name], list)
        if not good or several and (not p[name] or len(set(p[name])) < len(p[name])):
            raise ValueError(f"generate: {name}={p[name]!r}, allowed: {allowed}{', each once' if several else ''}")
    if workers is not None and workers < 1:
        raise ValueError(f"generate: workers={workers!r}, allowed: 1 or more, or None for one a core")


def _may_replace(root: Path, overwrite: bool) -> bool:
    """Whether what is at `root` may go: an empty folder, or an embedded corpus where asked for."""
    if root.is_dir() and not any(root.iterdir()):
        return True
    if not (root / "corpus.json").is_file():
        raise FileExistsError(f"{root} exists and is no embedded corpus (no corpus.json); choose another folder")
    return overwrite


def _same(root: Path, parameters: dict) -> dict:
    """Summary of the corpus at `root` when it is just the one asked for."""
    about = _about(root)
    wanted = {**parameters, **_VERSIONS}
    found = {**about["parameters"], **{key: about[key] for key in _VERSIONS}}
    if differ := [
        f"{key}: {found.get(key)!r} there, {wanted[key]!r} asked for" for key in wanted if found.get(key) != wanted[key]
    ]:
        raise FileExistsError(f"{root} holds another embedded corpus ({'; '.join(differ)}); overwrite=True replaces it")
    return about["summary"]


def _about(root: Path) -> dict:
    """corpus.json of the corpus at `root`; every file that it names is there in its full size."""
    file = root / "corpus.json"
    if not file.is_file():
        raise FileNotFoundError(f"{root}: no embedded corpus (corpus.json is missing); synthetic.generate makes one")
    about = json.loads(file.read_text(encoding="utf-8"))
    for name, entry in about["files"].items():
        part = root / name
        if not part.is_file() or part.stat().st_size != entry["bytes"]:
            raise FileNotFoundError(f"{part} is missing or cut; synthetic.generate(..., overwrite=True) makes it again")
    return about


def scan(root: str | Path) -> Corpus:
    """The clips of the embedded corpus at `root`, with the columns of RAVDESS (`ravdess.scan`) beside the usual.

    ``frame_truth`` has video, frame, true_intensity, blink and the 17 action units.

    Raises
    ------
    FileNotFoundError
        There is no complete embedded corpus at `root`.
    """
    root = Path(root)
    about = _about(root)
    rows = pd.read_csv(root / "videos.csv", dtype=_TEXT, keep_default_na=False).drop(columns="length_s")
    rows = rows.assign(
        split="",
        intensity=rows["intensity"].map(INTENSITIES),
        statement=rows["statement"].map(STATEMENTS),
        sex=rows.pop("female").map(_SEX),
        modality=MODALITIES[1],
        channel=CHANNELS[1],
    )
    truth = pd.read_parquet(root / "truth.parquet", columns=["video", "frame", "true_intensity", "blink", *AU_COLUMNS])
    return _corpus(root, about, rows, "synthetic", "ravdess8", "video", frame_truth=truth)


def scan_stills(root: str | Path) -> Corpus:
    """The stills of the embedded corpus at `root`: true_label, label_is_wrong, intensity and sex beside the usual.

    ``label`` is the one given, which is wrong for a known share.

    Raises
    ------
    FileNotFoundError
        There is no complete embedded corpus at `root`.
    """
    root = Path(root)
    about = _about(root)
    rows = pd.read_csv(root / "stills.csv", dtype=_TEXT, keep_default_na=False).rename(columns={"path": "source"})
    rows["video"] = [Path(source).with_suffix("").as_posix() for source in rows["source"]]
    rows["sex"] = rows.pop("female").map(_SEX)
    return _corpus(root, about, rows, "synthetic_stills", "affectnet7", "still")


def _corpus(
    root: Path,
    about: dict,
    rows: pd.DataFrame,
    name: str,
    label_space: str,
    kind: str,
    frame_truth: pd.DataFrame | None = None,
) -> Corpus:
    files, excluded = find_files(root)
    own = {"corpus.json", *about["files"]}  # the other part and the tables of truth are no findings
    excluded += [{"source": file, "reason": "not of the embedded corpus"} for file in files if file not in own]
    corpus = collect(name, root, rows.to_dict("records"), excluded, label_space=label_space, kind=kind)
    return corpus if frame_truth is None else replace(corpus, frame_truth=frame_truth)
