"""Recordings in RAVDESS naming: the sound of a performance, as an audio file or as the track of a video.

File names are ``MM-VV-EE-II-SS-RR-AA`` (see `emolib.corpora.ravdess`): modality 03 is sound alone, 01 a video with its
sound, 02 a video without. A performance that is there twice is used once, as sound alone where there is that. Whether a
file holds sound, and which files hold the same, is only known when they are decoded (`emolib.speech.store`).

Source: Livingstone and Russo 2018, doi 10.1371/journal.pone.0196391; Zenodo record 1188976.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from emolib import labels
from emolib.corpora import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Corpus, collect, find_files
from emolib.corpora.ravdess import CHANNELS, INTENSITIES, N_SONG_EMOTIONS, NAME, REPETITIONS, STATEMENTS

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
    for option, value, allowed in (
        ("modality", modality, ("any", *MODALITIES.values())),
        ("channel", channel, ("any", *CHANNELS.values())),
        ("max_actor", max_actor, range(1, 100)),
    ):
        if value not in allowed:
            raise ValueError(f"{option}: {value!r} given, allowed are {allowed}")
    files, excluded = find_files(root)
    rows, performances = [], {}
    for source in sorted(files, key=_sound_alone_first):
        row, reason = _parse(PurePosixPath(source), max_actor=max_actor)
        for option, wanted in (("modality", modality), ("channel", channel)):
            if not reason and wanted not in ("any", row[option]):
                reason = f"{option} {row[option]}, not asked for"
        if not reason:
            first = performances.setdefault(row["video"].split("-", 1)[1], source)  # all but the modality
            reason = "" if first == source else f"same performance as {first}"
        if reason:
            excluded.append({"source": source, "reason": reason})
        else:
            rows.append({"source": source, **row})
    return collect("ravdess_speech", root, rows, excluded, label_space="ravdess8", kind="audio")


def _sound_alone_first(source: str) -> tuple[bool, str]:
    return not PurePosixPath(source).name.startswith("03"), source


def _parse(path: PurePosixPath, *, max_actor: int) -> tuple[dict, str]:
    """The columns that a file name says, or why it is no sample."""
    if not (match := NAME.fullmatch(path.stem)):
        return {}, "name is not MM-VV-EE-II-SS-RR-AA"
    code = {field: int(text) for field, text in match.groupdict().items()}
    if code["modality"] == 2:
        return {}, "video only (modality 02)"
    n_emotions = N_SONG_EMOTIONS if code["channel"] == 2 else len(labels.names("ravdess8"))
    for field, allowed in (
        ("modality", MODALITIES),
        ("channel", CHANNELS),
        ("emotion", range(1, n_emotions + 1)),
        ("intensity", INTENSITIES),
        ("statement", STATEMENTS),
        ("repetition", REPETITIONS),
        ("actor", range(1, max_actor + 1)),
    ):
        if code[field] not in allowed:
            return {}, f"{field} {match[field]} is not in {min(allowed):02d}..{max(allowed):02d}"
    if code["emotion"] == 1 and code["intensity"] == 2:
        return {}, "neutral has no strong intensity"
    modality = MODALITIES[code["modality"]]
    if path.suffix.lower() not in SUFFIXES[modality]:
        return {}, f"no file with sound ({path.suffix or 'no suffix'})"
    return {
        "video": path.stem,
        "subject": match["actor"],
        "label": code["emotion"] - 1,
        "split": "",
        "emotion": labels.names("ravdess8")[code["emotion"] - 1],
        "intensity": INTENSITIES[code["intensity"]],
        "statement": STATEMENTS[code["statement"]],
        "repetition": code["repetition"],
        "sex": "male" if code["actor"] % 2 else "female",
        "modality": modality,
        "channel": CHANNELS[code["channel"]],
    }, ""
