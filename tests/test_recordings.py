"""Recordings in RAVDESS naming: what is one, what is listed, and which of two is used."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from emolib.corpora import recordings, scan

REAL = Path(__file__).parents[1] / "../shared/data/ravdess_speech_16k.zip"
NAME = "03-01-06-02-02-01-07"


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def reasons(corpus) -> dict[str, str]:
    return dict(zip(corpus.excluded["source"], corpus.excluded["reason"], strict=True))


@pytest.mark.parametrize("suffix", [".ogg", ".wav", ".flac", ".mp3", ".m4a", ".WAV"])
def test_a_name_is_read(tmp_path, suffix):
    corpus = scan("ravdess_speech", make(tmp_path, f"Actor_07/{NAME}{suffix}"))
    assert (corpus.name, corpus.label_space, corpus.kind) == ("ravdess_speech", "ravdess8", "audio")
    row = corpus.sources.iloc[0].to_dict()
    assert row == {
        **{"source": f"Actor_07/{NAME}{suffix}", "video": NAME, "subject": "07", "label": 5, "split": ""},
        **{"emotion": "fearful", "intensity": "strong", "statement": "dogs", "repetition": 1, "sex": "male"},
        **{"modality": "audio_only", "channel": "speech"},
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("notes.txt", "name is not MM-VV-EE-II-SS-RR-AA"),
        ("02-01-06-02-02-01-07.mp4", "video only (modality 02)"),
        ("04-01-06-02-02-01-07.wav", "modality 04 is not in 01..03"),
        ("03-01-09-02-02-01-07.wav", "emotion 09 is not in 01..08"),
        ("03-02-07-02-02-01-07.wav", "emotion 07 is not in 01..06"),
        ("03-01-01-02-02-01-07.wav", "neutral has no strong intensity"),
        ("03-01-06-02-02-01-25.wav", "actor 25 is not in 01..24"),
        (f"{NAME}.mp4", "no file with sound (.mp4)"),
        (f"{NAME}.csv", "no file with sound (.csv)"),
        ("03-02-06-02-02-01-07.wav", "channel song, not asked for"),
    ],
)
def test_what_is_no_recording_is_listed(tmp_path, name, reason):
    corpus = recordings.scan(make(tmp_path, name, "03-01-06-02-02-01-08.wav"))
    assert reasons(corpus) == {name: reason}


def test_a_performance_is_used_once_as_sound_alone_where_there_is_that(tmp_path):
    video = f"01{NAME[2:]}.mp4"
    root = make(tmp_path, f"a/{video}", f"b/{NAME}.ogg", f"c/{NAME}.wav", f"02{NAME[2:]}.mp4")
    corpus = scan("ravdess_speech", root)
    assert corpus.sources["source"].tolist() == [f"b/{NAME}.ogg"]
    same, mute = f"same performance as b/{NAME}.ogg", "video only (modality 02)"
    assert reasons(corpus) == {f"a/{video}": same, f"c/{NAME}.wav": same, f"02{NAME[2:]}.mp4": mute}
    sounding = scan("ravdess_speech", root, modality="audio_video").sources
    assert sounding["source"].tolist() == [f"a/{video}"] and sounding["modality"].tolist() == ["audio_video"]


def test_options(tmp_path):
    root = make(tmp_path, "03-02-06-02-02-01-31.wav", f"{NAME}.wav")
    assert sorted(scan("ravdess_speech", root, channel="any", max_actor=99).sources["subject"]) == ["07", "31"]
    for option in ({"modality": "video_only"}, {"channel": "whisper"}, {"max_actor": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: .* given, allowed are"):
            scan("ravdess_speech", root, **option)


def test_the_real_recordings_are_1440_of_24_actors(tmp_path):
    if not REAL.is_file():
        pytest.skip("../shared/data/ravdess_speech_16k.zip is not here")
    with zipfile.ZipFile(REAL) as archive:
        names = [name for name in archive.namelist() if name.endswith(".ogg")]
    corpus = scan("ravdess_speech", make(tmp_path, *names))
    counts = corpus.sources["label"].value_counts().sort_index().tolist()
    assert counts == [96] + [192] * 7
    assert corpus.sources["subject"].value_counts().tolist() == [60] * 24 and corpus.excluded.empty
