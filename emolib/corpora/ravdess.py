"""RAVDESS and everything that is named like it: acted emotion, one file a performance.

File names are ``MM-VV-EE-II-SS-RR-AA``: modality (01 audio and video, 02 video only, 03 audio only), vocal channel
(01 speech, 02 song), emotion (01..08 in the order of `ravdess8`), intensity (01 normal, 02 strong; neutral has no
strong one), statement (01 "Kids are talking by the door", 02 "Dogs are sitting by the door"), repetition, actor (odd
male, even female). The folders that they lie in do not matter.

Source: Livingstone and Russo 2018, doi 10.1371/journal.pone.0196391; Zenodo record 1188976.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from emolib import labels
from emolib.corpora import VIDEO_SUFFIXES, Corpus, collect, find_files

FIELDS = ("modality", "channel", "emotion", "intensity", "statement", "repetition", "actor")
NAME = re.compile("-".join(f"(?P<{field}>[0-9]{{2}})" for field in FIELDS))
MODALITIES = {1: "audio_video", 2: "video_only"}
CHANNELS = {1: "speech", 2: "song"}
INTENSITIES = {1: "normal", 2: "strong"}
STATEMENTS = {1: "kids", 2: "dogs"}
REPETITIONS = (1, 2)
NO_NAME = "name is not MM-VV-EE-II-SS-RR-AA"
N_SONG_EMOTIONS = 6  # nobody sings disgust or surprise


def scan(root: Path, *, modality: str = "any", channel: str = "speech", max_actor: int = 24) -> Corpus:
    """Videos in RAVDESS naming anywhere below `root`.

    Parameters
    ----------
    root : folder
    modality : {"any", "audio_video", "video_only"}
        With "any" a performance that is there twice is used once, with its sound where it has one.
    channel : {"speech", "song", "any"}
    max_actor : int
        Highest actor number, 1..99. RAVDESS has 24; more is for corpora that only share its naming.

    Returns
    -------
    Corpus
        `ravdess8`, videos; adds emotion (class name), intensity ("normal", "strong"), statement ("kids", "dogs"),
        repetition (1, 2), sex ("male", "female"), modality and channel. Subjects are "01", "02", ...
    """
    wanted = {"modality": modality, "channel": channel}
    named = {"name": "ravdess", "kind": "video", "max_actor": max_actor}
    return scan_names(root, wanted, MODALITIES, parse=_parse, order=_sound_first, **named)


def scan_names(
    root: Path,
    wanted: Mapping[str, str],
    modalities: Mapping[int, str],
    *,
    name: str,
    kind: str,
    max_actor: int,
    parse: Callable[..., tuple[dict, str]],
    order: Callable[[str], tuple],
) -> Corpus:
    """Corpus `name` of the files below `root`, each performance once.

    Parameters
    ----------
    wanted : modality and channel, each one of its names or "any".
    modalities : those that the corpus has.
    parse : (path, max_actor=) -> columns that a file name says, or why it is no sample.
    order : of two files of a performance, that which sorts first is used.
    """
    for option, value, allowed in (
        ("modality", wanted["modality"], ("any", *modalities.values())),
        ("channel", wanted["channel"], ("any", *CHANNELS.values())),
        ("max_actor", max_actor, range(1, 100)),
    ):
        if value not in allowed:
            raise ValueError(f"{option}: {value!r} given, allowed are {allowed}")
    files, excluded = find_files(root)
    rows, performances = [], {}
    for source in sorted(files, key=order):
        row, reason = parse(PurePosixPath(source), max_actor=max_actor)
        if not reason:
            reason = _not_wanted(row, **wanted)
        if not reason:
            first = performances.setdefault(row["video"].split("-", 1)[1], source)  # all but the modality
            reason = "" if first == source else f"same performance as {first}"
        if reason:
            excluded.append({"source": source, "reason": reason})
        else:
            rows.append({"source": source, **row})
    return collect(name, root, rows, excluded, label_space="ravdess8", kind=kind)


def _sound_first(source: str) -> tuple[str, str]:
    return PurePosixPath(source).name[:2], source


def _parse(path: PurePosixPath, *, max_actor: int) -> tuple[dict, str]:
    """The columns that a file name says, or why it is no sample."""
    if (code := read_name(path)) is None:
        return {}, NO_NAME
    if code["modality"] == 3:
        return {}, "audio only (modality 03)"
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return {}, f"no video file ({path.suffix or 'no suffix'})"
    return columns_of(path.stem, code, modalities=MODALITIES, max_actor=max_actor)


def read_name(path: PurePosixPath) -> dict[str, int] | None:
    """Number of each of `FIELDS` in a file's name; None where it is not in RAVDESS's form."""
    match = NAME.fullmatch(path.stem)
    return {field: int(text) for field, text in match.groupdict().items()} if match else None


def columns_of(
    video: str, code: Mapping[str, int], *, modalities: Mapping[int, str], max_actor: int
) -> tuple[dict, str]:
    """The columns that `read_name`'s numbers mean, or why there is no such performance."""
    classes = labels.names("ravdess8")
    n_emotions = N_SONG_EMOTIONS if code["channel"] == 2 else len(classes)
    for field, allowed in (
        ("modality", modalities),
        ("channel", CHANNELS),
        ("emotion", range(1, n_emotions + 1)),
        ("intensity", INTENSITIES),
        ("statement", STATEMENTS),
        ("repetition", REPETITIONS),
        ("actor", range(1, max_actor + 1)),
    ):
        if code[field] not in allowed:
            return {}, f"{field} {code[field]:02d} is not in {min(allowed):02d}..{max(allowed):02d}"
    if code["emotion"] == 1 and code["intensity"] == 2:
        return {}, "neutral has no strong intensity"
    return {
        "video": video,
        "subject": f"{code['actor']:02d}",
        "label": code["emotion"] - 1,
        "split": "",
        "emotion": classes[code["emotion"] - 1],
        "intensity": INTENSITIES[code["intensity"]],
        "statement": STATEMENTS[code["statement"]],
        "repetition": code["repetition"],
        "sex": "male" if code["actor"] % 2 else "female",
        "modality": modalities[code["modality"]],
        "channel": CHANNELS[code["channel"]],
    }, ""


def _not_wanted(row: dict, *, modality: str, channel: str) -> str:
    for option, wanted, found in (("modality", modality, row["modality"]), ("channel", channel, row["channel"])):
        if wanted not in ("any", found):
            return f"{option} {found}, not asked for"
    return ""
