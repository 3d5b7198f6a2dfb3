"""Features of a corpus: aligned with its performances, made once, what fails is listed, equal sound is found."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_sound import voice, write_sound

from emolib import corpora
from emolib.corpora import Corpus
from emolib.speech import features, store
from emolib.speech.features import FeatureOptions

REAL = Path(__file__).parents[1] / "../shared/data/ravdess_speech_16k.zip"
OPTIONS = FeatureOptions(n_mels=16, n_fft=256, hop=128)
SAME = "03-01-02-02-01-02-01"  # the same sound as the one of repetition 01


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    """Four recordings that sound (two of them alike), a silent one, a broken one, and a video without sound."""
    root = tmp_path / "recordings"
    for number, name in enumerate(["03-01-01-01-01-01-01", "03-01-02-02-01-01-01", "03-01-03-01-01-01-02"]):
        write_sound(root / f"{name}.wav", voice(0.3 + 0.1 * number, hz=150.0 + 60 * number))
    write_sound(root / f"{SAME}.flac", voice(0.4, hz=210.0))
    write_sound(root / "03-01-04-01-01-01-02.wav", np.zeros(9000, np.float32))
    (root / "03-01-05-01-01-01-02.ogg").write_bytes(b"OggS and nothing")
    write_sound(root / "01-01-06-01-01-01-02.mp4", voice(0.5))
    (root / "readme.txt").write_text("no recording")
    return corpora.scan("ravdess_speech", root)


@pytest.mark.parametrize("workers", [1, 2])
def test_features_lie_in_the_order_of_the_performances(corpus, tmp_path, workers):
    store.prepare(corpus, tmp_path / "store", OPTIONS, workers=workers, progress=False)
    found = store.open_store(tmp_path / "store")
    assert (found.corpus, found.label_space, found.options) == ("ravdess_speech", "ravdess8", OPTIONS)
    assert len(found.features) == len(found.performances) == 5
    assert isinstance(found.features.values, np.memmap)
    for row, known in found.performances.iterrows():
        expected, facts = features.of_file(corpus.root / known["source"], OPTIONS)
        np.testing.assert_array_equal(found.features[row], expected)
        assert known["length"] == len(expected) and known["sha256"] == facts["sha256"]
    names = ["01-06-01-01-01-02", "01-01-01-01-01-01", "01-02-02-01-01-01", SAME[3:], "01-03-01-01-01-02"]
    assert found.performances["performance"].tolist() == names


def test_what_cannot_be_heard_is_listed_with_the_reason(corpus, tmp_path):
    store.prepare(corpus, tmp_path / "store", OPTIONS, workers=1, progress=False)
    reason = store.open_store(tmp_path / "store").excluded.set_index("source")["reason"]
    assert reason["readme.txt"] == "name is not MM-VV-EE-II-SS-RR-AA"
    assert reason["03-01-04-01-01-01-02.wav"].startswith("silent")
    assert "not a media file" in reason["03-01-05-01-01-01-02.ogg"] and len(reason) == 3


def test_the_same_sound_in_another_format_is_found(corpus, tmp_path):
    store.prepare(corpus, tmp_path / "store", OPTIONS, workers=1, progress=False)
    found = store.open_store(tmp_path / "store").duplicates
    assert found.to_dict("records") == [
        {"source": f"{SAME}.flac", "performance": SAME[3:], "same_as": "01-02-02-01-01-01", "same_label": True}
    ]


def test_duplicates_of_three_and_of_another_label():
    known = pd.DataFrame({"source": list("abcd"), "performance": list("wxyz"), "label": [0, 0, 1, 0], "sha256": "k"})
    known.loc[3, "sha256"] = "other"
    found = store.duplicates(known)
    assert found["same_as"].tolist() == ["w", "w"] and found["same_label"].tolist() == [True, False]


def test_equal_files_and_options_open_the_same_store(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path / "data"))
    first = store.prepare_once(corpus, OPTIONS, workers=1, progress=False)
    changed_ns = (first.path / "values.npy").stat().st_mtime_ns
    again = store.prepare_once(corpus, OPTIONS, workers=1, progress=False)
    assert again.path == first.path and (again.path / "values.npy").stat().st_mtime_ns == changed_ns
    other = store.prepare_once(corpus, FeatureOptions(n_mels=20, n_fft=256, hop=128), workers=1, progress=False)
    write_sound(corpus.root / corpus.sources["source"].iloc[-1], voice(0.9))
    louder = store.prepare_once(corpus, OPTIONS, workers=1, progress=False)
    assert len({first.path, other.path, louder.path}) == 3
    assert sorted(path.name for path in first.path.parent.iterdir()) == sorted(
        path.name for path in (first.path, other.path, louder.path)
    )


def test_a_corpus_without_sound_and_a_column_of_our_own_are_errors(corpus, tmp_path):
    mute = corpus.sources[corpus.sources["source"] == "03-01-04-01-01-01-02.wav"]
    with pytest.raises(ValueError, match="no recording could be used, 1 x silent"):
        store.prepare(
            Corpus("own", "ravdess8", "audio", corpus.root, mute, corpus.excluded), tmp_path / "s", OPTIONS, workers=1
        )
    taken = Corpus("own", "ravdess8", "audio", corpus.root, corpus.sources.assign(peak=1.0), corpus.excluded)
    with pytest.raises(ValueError, match="column.* peak, which prepare writes"):
        store.prepare(taken, tmp_path / "s", OPTIONS)
    assert not (tmp_path / "s").exists()


def test_a_store_that_is_none_is_refused(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="store.json is missing"):
        store.open_store(tmp_path)
    store.prepare(corpus, tmp_path / "store", OPTIONS, workers=1, progress=False)
    about = (tmp_path / "store/store.json").read_text()
    (tmp_path / "store/store.json").write_text(about.replace('"schema_version": 1', '"schema_version": 0'))
    with pytest.raises(ValueError, match="schema version 0 found, 1 is allowed"):
        store.open_store(tmp_path / "store")
    (tmp_path / "store/store.json").write_text(about)
    np.save(tmp_path / "store/values.npy", np.zeros((3, 16), np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        store.open_store(tmp_path / "store")


def test_real_recordings_and_the_known_duplicate(tmp_path):
    if not REAL.is_file():
        pytest.skip("../shared/data/ravdess_speech_16k.zip is not here")
    with zipfile.ZipFile(REAL) as archive:
        for name in archive.namelist():
            if "/03-01-03-01-02-" in name and name.endswith("-07.ogg"):
                archive.extract(name, tmp_path / "raw")
    corpus = corpora.scan("ravdess_speech", tmp_path / "raw")
    store.prepare(corpus, tmp_path / "store", FeatureOptions(), workers=1, progress=False)
    found = store.open_store(tmp_path / "store")
    assert found.duplicates[["performance", "same_as"]].to_numpy().tolist() == [
        ["01-03-01-02-02-07", "01-03-01-02-01-07"]
    ]
    assert found.features.values.min() >= 0 and found.features.values.max() == 1
