"""What every notebook begins with, and the survey of a corpus, on a few drawn stills and videos."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emolib import runs, stages, survey
from emolib.corpora import scan
from emolib.corpora.synthetic import generate


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw") / "drawn"
    generate(root, n_subjects=2, emotions=("neutral", "happy"), intensities=(1,), duration_s=0.5, frame_rate_hz=15,
             n_stills=40, seed=1, workers=1, progress=False)  # fmt: skip
    return root


@pytest.fixture
def place(tmp_path, monkeypatch, drawn):
    """A data folder of its own with the drawn corpus in data/raw, and notebooks in a project of its own."""
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EMOLIB_ROOT", str(tmp_path))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "emolib"\n')
    (tmp_path / "notebooks").mkdir()
    source = 'study = "s"\nvariant = "main"\nmake_missing = False\nbase_study = ""\nvideo_corpus = "synthetic"\n'
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": source, "outputs": []}
    notebook = {"cells": [cell | {"execution_count": None}], "nbformat": 4, "nbformat_minor": 5}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (tmp_path / "notebooks" / "00_corpus.ipynb").write_text(json.dumps(notebook | {"metadata": kernel}))
    (tmp_path / "data" / "raw").mkdir(parents=True)
    shutil.copytree(drawn, tmp_path / "data" / "raw" / "drawn")
    return tmp_path


def test_a_run_begins_with_the_parameters_of_its_notebook_and_no_others(place):
    namespace = {"study": "s", "variant": "v", "make_missing": False, "base_study": "", "video_corpus": "ravdess"}
    run = stages.begin("00_corpus", namespace | {"other": 1})
    assert (run.stage, run.variant, run.study) == ("corpus", "v", "s")
    assert run.params == {"study": "s", "variant": "v", "video_corpus": "ravdess"}


def corpus_run(**params):
    run = runs.begin(stage="corpus", variant="main", study="s", params=params)
    run.finish()
    return runs.load("s", "corpus")


def test_the_corpus_of_a_run_is_read_again_by_part(place):
    done = corpus_run(
        video_corpus="synthetic", video_root="drawn", video_options={},
        still_corpus="synthetic_stills", still_root="drawn", still_options={},
    )  # fmt: skip
    assert stages.open_corpus(done, part="videos").kind == "video"
    assert stages.open_corpus(done, part="stills").kind == "still"
    with pytest.raises(ValueError, match="'sounds': allowed are videos, stills"):
        stages.open_corpus(done, part="sounds")


def test_a_study_without_stills_says_so(place):
    done = corpus_run(still_corpus="", still_root="", still_options={})
    with pytest.raises(ValueError, match="names no still_corpus"):
        stages.open_corpus(done, part="stills")


def test_a_store_is_made_once_and_again_when_a_file_or_an_option_changes(place, monkeypatch):
    made = []
    real = stages.preprocessing.prepare
    monkeypatch.setattr(stages.preprocessing, "prepare", lambda *a, **k: made.append(1) or real(*a, **k))
    corpus = scan("synthetic", place / "data/raw/drawn")
    options = {"crop": "aligned", "guides": ["saliency"], "workers": 1, "progress": False}
    first = stages.prepare_once(corpus, **options)
    assert stages.prepare_once(corpus, **options).path == first.path and len(made) == 1
    assert first.path.parent == place / "data/corpora"
    assert stages.prepare_once(corpus, **options | {"frame_step": 3}).path != first.path
    video = corpus.root / corpus.sources["source"].iloc[0]
    video.write_bytes(video.read_bytes())  # another time of change
    assert stages.prepare_once(corpus, **options).path != first.path and len(made) == 3


def test_a_store_with_maps_made_elsewhere_is_made_again_when_a_map_comes_or_changes(place, monkeypatch):
    corpus = scan("synthetic_stills", place / "data/raw/drawn")
    corpus = replace(corpus, sources=corpus.sources.head(3))
    maps = place / "data/raw/maps"
    for source in corpus.sources["source"][:2]:
        (maps / source).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (48, 48), 7).save((maps / source).with_suffix(".png"))
    options = {"crop": "none", "guides": [], "workers": 1, "progress": False}
    first = stages.prepare_once(corpus, guide_maps={"msi": "maps"}, **options)
    assert len(first.manifest) == 2 and (first.array("guide/msi") == 7).all()
    with monkeypatch.context() as patched:
        patched.setattr(stages.preprocessing, "prepare", None)  # it is not called again
        assert stages.prepare_once(corpus, guide_maps={"msi": "maps"}, **options).path == first.path
    assert stages.prepare_once(corpus, **options).path != first.path
    Image.new("L", (48, 48), 9).save((maps / corpus.sources["source"][2]).with_suffix(".png"))
    again = stages.prepare_once(corpus, guide_maps={"msi": "maps"}, **options)
    assert again.path != first.path and again.array("guide/msi")[:, 0, 0].tolist() == [7, 7, 9]
    with pytest.raises(FileNotFoundError, match="'nowhere' is neither"):
        stages.prepare_once(corpus, guide_maps={"msi": "nowhere"}, **options)


def test_the_key_of_a_store_knows_the_landmarks_that_the_corpus_gives(place):
    corpus = scan("synthetic_stills", place / "data/raw/drawn")
    keys = {stages._store_key(corpus, {}, {})}
    for value in (0, 1):
        points = np.full((len(corpus.sources), 68, 2), value, np.float32)
        keys.add(stages._store_key(replace(corpus, landmarks=points), {}, {}))
    assert len(keys) == 3


def test_a_removed_store_is_an_error_that_names_the_command(place):
    run = runs.begin(stage="preprocessing", variant="videos", study="s", params={})
    run.finish(metrics={"store": "corpora/gone"})
    with pytest.raises(FileNotFoundError, match="emolib run params/s.yaml --force --until preprocessing"):
        stages.open_store(runs.load("s", "preprocessing", "videos"))


def test_survey_counts_what_is_there(drawn):
    videos, stills = scan("synthetic", drawn), scan("synthetic_stills", drawn)
    counts = survey.counts(videos, stills, None).set_index("kind")
    assert counts.loc["video", "samples"] == 4 and counts.loc["video", "subjects"] == 2
    assert counts.loc["still", "samples"] == 40
    assert set(survey.excluded(videos, stills)["corpus"]) <= {"synthetic", "synthetic_stills"}
    lengths = survey.durations(videos)
    assert lengths["duration_s"].between(0.3, 0.9).all() and (lengths["frame_rate_hz"] == 15).all()
    [picture] = survey.middle_frames(videos, videos.sources["source"].head(1))
    assert picture.dtype == np.uint8 and picture.ndim == 3


def test_a_file_that_cannot_be_opened_has_no_duration_but_a_note(drawn, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(drawn, root)
    corpus = scan("synthetic", root)
    broken = corpus.root / corpus.sources["source"].iloc[0]
    broken.write_bytes(b"no video")
    row = survey.durations(corpus).iloc[0]
    assert np.isnan(row["duration_s"]) and broken.name in row["note"]


def test_example_rows_take_classes_in_turn_and_frames_with_a_face():
    manifest = pd.DataFrame({"label": np.repeat([0, 1, 2], 10), "frame": list(range(5)) * 6})
    manifest = manifest.assign(video=np.repeat(list("abcdef"), 5), subject=np.repeat(list("xyxyxy"), 5))
    manifest = manifest.assign(sample=np.arange(30), face_ok=manifest["frame"] > 0)
    rows = survey.example_rows(manifest, n=4)
    assert manifest.loc[rows, "label"].tolist() == [0, 1, 2, 0]
    assert manifest.loc[rows, "face_ok"].all() and len(set(rows)) == 4
    assert len(survey.example_rows(manifest, n=99)) == 6
