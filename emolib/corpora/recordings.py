"""Recordings in RAVDESS naming: the sound of a performance, as an audio file or as the track of a video.

File names are ``MM-VV-EE-II-SS-RR-AA`` (see `emolib.corpora.ravdess`): modality 03 is sound alone, 01 a video with its
sound, 02 a video without. A performance that is there twice is used once, as sound alone where there is that. Whether a
file holds sound, and which files hold the same, is only known when they are decoded (`emolib.speech.store`).

Source: Livingstone and Russo 2018, doi 10.1371/journal.pone.0196391; Zenodo record 1188976.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from emolib.corpora import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Corpus
from emolib.corpora.ravdess import NO_NAME, columns_of, read_name, scan_names

MODALITIES = {1: "audio_video", 3: "audio_only"}
SUFFIXES = {"audio_video": VIDEO_SUFFIXES | AUDIO_SUFFIXES, "audio_only": AUDIO_SUFFIXES}


def scan(root: Path, *, modality: str = "any", channel: str = "speech", max_actor: int = 24) -> Corpus:
    """Recordings in RAVDESS naming anywhere below `root`.

    Parameters
    ----------
    root : folder
    modality : {"any", "audio_only", "audio_video"}
    channel : {"speech", "song", "any"}
    max_actor : int
        Highest actor number, 1..99.

    Returns
    -------
    Corpus
        `ravdess8`, kind "audio"; adds emotion (class name), intensity ("normal", "strong"), statement ("kids", "dogs"),
        repetition (1, 2), sex ("male", "female"), modality and channel. Subjects are "01", "02", ...
    """
    wanted = {"modality": modality, "channel": channel}
    named = {"name": "ravdess_speech", "kind": "audio", "max_actor": max_actor}
    return scan_names(root, wanted, MODALITIES, parse=_parse, order=_sound_alone_first, **named)


def _sound_alone_first(source: str) -> tuple[bool, str]:
    return not PurePosixPath(source).name.startswith("03"), source


def _parse(path: PurePosixPath, *, max_actor: int) -> tuple[dict, str]:
    """The columns that a file name says, or why it is no sample."""
    if (code := read_name(path)) is None:
        return {}, NO_NAME
    if code["modality"] == 2:
        return {}, "video only (modality 02)"
    row, reason = columns_of(path.stem, code, modalities=MODALITIES, max_actor=max_actor)
    if not reason and path.suffix.lower() not in SUFFIXES[row["modality"]]:
        return {}, f"no file with sound ({path.suffix or 'no suffix'})"
    return row, reason
