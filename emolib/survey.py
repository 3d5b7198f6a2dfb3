"""What is in a corpus before any frame is decoded: counts, exclusions, durations. Tables for notebook 00."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pandas as pd

from emolib import labels
from emolib.corpora import Corpus
from emolib.video import MediaError, open_video


def class_names(space: str, label: Sequence[int]) -> list[str]:
    """The class name of each label."""
    names = labels.names(space)
    return [names[k] for k in label]


def counts(*found: Corpus | None) -> pd.DataFrame:
    """One row a corpus: samples, subjects, classes, smallest and largest class, files excluded, notes."""
    rows = []
    for corpus in filter(None, found):
        of_class = corpus.sources["label"].value_counts()
        names = labels.names(corpus.label_space)
        rows.append(
            {
                "corpus": corpus.name,
                "kind": corpus.kind,
                "samples": len(corpus.sources),
                "subjects": corpus.sources["subject"].nunique(),
                "label space": corpus.label_space,
                "smallest class": f"{names[of_class.idxmin()]} ({of_class.min()})",
                "largest class": f"{names[of_class.idxmax()]} ({of_class.max()})",
                "excluded files": len(corpus.excluded),
                "notes": "; ".join(corpus.notes),
            }
        )
    return pd.DataFrame(rows)


def excluded(*found: Corpus | None) -> pd.DataFrame:
    """Every file that is no sample, with the reason: corpus, source, reason."""
    tables = [corpus.excluded[["source", "reason"]].assign(corpus=corpus.name) for corpus in filter(None, found)]
    return pd.concat(tables, ignore_index=True)[["corpus", "source", "reason"]]


def middle_frames(corpus: Corpus, sources: Sequence[str]) -> list[np.ndarray]:
    """The frame in the middle of each video, uint8 [H, W, 3].

    Raises
    ------
    MediaError
        A file cannot be decoded.
    """
    pictures = []
    for source in sources:
        opened = open_video(corpus.root / source)
        middle = sum(1 for _ in opened.frames()) // 2  # decoded twice, but never more than a frame in memory
        pictures.append(next(islice(opened.frames(rgb=True), middle, None)).rgb)
    return pictures


def example_rows(manifest: pd.DataFrame, *, n: int) -> np.ndarray:
    """Up to `n` samples to look at, int64: a frame with a face from the middle of a video, classes in turn."""
    seen = manifest[manifest["face_ok"]]
    middle = seen.groupby("video", sort=True)["sample"].apply(lambda samples: samples.iloc[len(samples) // 2])
    videos = manifest.loc[middle.to_numpy()].sort_values(["subject", "label"], kind="stable")
    turn = videos.groupby("label").cumcount()
    return videos.assign(turn=turn).sort_values(["turn", "label"], kind="stable")["sample"].head(n).to_numpy()


def durations(corpus: Corpus) -> pd.DataFrame:
    """Length of each video as its container states it: video, subject, emotion, duration_s, frame_rate_hz, note.

    NaN with a note where the file cannot be opened or states no duration; notebook 01 decodes the file.
    """
    rows = []
    for one in corpus.sources.itertuples():
        duration_s, rate_hz, note = np.nan, np.nan, ""
        try:
            opened = open_video(corpus.root / one.source)
            duration_s, rate_hz = opened.declared_s, opened.frame_rate_hz
        except MediaError as error:
            note = str(error)
        rows.append((one.video, one.subject, duration_s, rate_hz, note))
    table = pd.DataFrame(rows, columns=["video", "subject", "duration_s", "frame_rate_hz", "note"])
    table.insert(2, "emotion", class_names(corpus.label_space, corpus.sources["label"]))
    return table
