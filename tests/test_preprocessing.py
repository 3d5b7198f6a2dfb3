"""From a corpus of real files to a store: every kind of source, the same bytes with any number of workers."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from emolib import preprocessing
from emolib.corpora import Corpus
from emolib.extraction import Job, extract
from emolib.preprocessing import prepare
from emolib.render.clip import render_still
from emolib.render.identity import identity


def face_picture(smile: float, *, size_px: int = 160) -> np.ndarray:
    return render_still(identity(1, "01", female=True), {12: smile}, size_px=size_px, seed=3)[0]


def write_clip(path: Path, pictures, *, pts_ms=None) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = pts_ms[number] if pts_ms else 40 * number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def corpus_of(root: Path, names, *, kind: str = "video", truth: pd.DataFrame | None = None) -> Corpus:
    sources = pd.DataFrame({"source": names, "video": [Path(name).stem for name in names], "subject": "01"})
    sources = sources.assign(label=[number % 3 for number in range(len(names))], split="", statement="kids")
    excluded = pd.DataFrame({"source": ["notes.txt"], "reason": ["no video"]}, dtype="str")
    return Corpus("test", "valence3", kind, root, sources, excluded, truth)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    faces = [face_picture(smile) for smile in np.linspace(0, 4, 6)]
    blank = np.full_like(faces[0], 90)
    write_clip(folder / "face.mp4", faces)
    write_clip(folder / "uneven.mkv", faces[:3], pts_ms=[0, 100, 700])
    write_clip(folder / "comes.mp4", [blank, blank, *faces[:3]])
    write_clip(folder / "nobody.mp4", [blank] * 3)
    write_clip(folder / "one.mp4", faces[:1])
    write_clip(folder / "two.mp4", [np.hstack([faces[0], faces[0]])] * 2)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "broken.avi").write_bytes(b"no video at all\n" * 50)
    return folder


NAMES = ["face.mp4", "empty.mp4", "uneven.mkv", "comes.mp4", "nobody.mp4", "one.mp4", "broken.avi", "two.mp4"]


@pytest.fixture(scope="module")
def store(root, tmp_path_factory):
    truth = pd.DataFrame({"video": "face", "frame": range(6), "true_intensity": np.linspace(0, 1, 6)})
    return prepare(
        corpus_of(root, NAMES, truth=truth), tmp_path_factory.mktemp("a") / "store", workers=2, progress=False
    )


def test_rows_are_in_the_order_of_the_sources_and_their_frames(store):
    rows = store.manifest
    assert list(rows["source"].unique()) == [name for name in NAMES if name not in ("empty.mp4", "broken.avi")]
    assert rows.groupby("video", sort=False)["frame"].agg(list).to_dict() == {
        **{"face": [0, 1, 2, 3, 4, 5], "uneven": [0, 1, 2], "comes": [0, 1, 2, 3, 4]},
        **{"nobody": [0, 1, 2], "one": [0], "two": [0, 1]},
    }
    assert (rows["statement"] == "kids").all() and rows["n_faces"].dtype == np.int32
    assert np.allclose(rows.loc[rows["video"] == "uneven", "time_s"], [0, 0.1, 0.7], atol=2e-3)
    assert store.array_names == ["guide/landmarks", "guide/saliency", "image", "landmarks"]


def test_a_frame_without_a_face_is_kept_and_empty(store):
    rows = store.manifest
    assert list(rows.loc[rows["video"] == "comes", "face_ok"]) == [False, False, True, True, True]
    absent = (~rows["face_ok"]).to_numpy()
    assert set(rows.loc[absent, "detector"]) == {"none"} and rows.loc[absent, "box_left"].isna().all()
    for name in ("image", "guide/landmarks", "guide/saliency"):
        values = store.array(name).reshape(len(rows), -1)
        assert not values[absent].any() and values[~absent].any(axis=1).all()
    assert np.array_equal(np.isnan(store.array("landmarks")).all(axis=(1, 2)), absent)


def test_what_was_found_is_listed_by_video(store):
    videos = store.table("videos").set_index("video")
    assert list(videos.columns) == (
        ["source", "n_frames", "n_face_ok", "n_without_face", "n_several_faces", "n_mtcnn"]
        + ["frame_rate_hz", "duration_s", "note"]
    )
    assert dict(videos["n_face_ok"]) == {"face": 6, "uneven": 3, "comes": 3, "nobody": 0, "one": 1, "two": 2}
    assert videos.loc["two", "n_several_faces"] == 2 and videos.loc["nobody", "note"] == "no face found"
    assert np.isclose(videos.loc["face", "duration_s"], 0.24, atol=0.01)
    excluded = store.table("excluded").set_index("source")["reason"]
    assert list(excluded.index) == ["notes.txt", "empty.mp4", "broken.avi"]
    assert excluded["empty.mp4"] == "the file is empty" and "not a media file" in excluded["broken.avi"]


def test_the_truth_is_joined_by_video_and_frame(store):
    truth = store.manifest.set_index("video")["true_intensity"]
    assert np.allclose(truth["face"], np.linspace(0, 1, 6)) and truth.drop("face").isna().all()


def test_the_store_does_not_depend_on_the_number_of_workers(store, root, tmp_path):
    truth = pd.DataFrame({"video": "face", "frame": range(6), "true_intensity": np.linspace(0, 1, 6)})
    again = prepare(corpus_of(root, NAMES, truth=truth), tmp_path / "store", workers=1, progress=False)
    files = sorted(file.relative_to(store.path) for file in store.path.rglob("*") if file.is_file())
    assert len(files) == 7
    for file in files:
        assert (store.path / file).read_bytes() == (again.path / file).read_bytes(), file


def test_frame_step_and_max_sources(root, tmp_path):
    corpus = corpus_of(root, ["face.mp4", "one.mp4", "uneven.mkv"])
    few = prepare(corpus, tmp_path / "s", frame_step=2, max_sources=2, guides=(), workers=1, progress=False)
    assert few.manifest.groupby("video", sort=False)["frame"].agg(list).to_dict() == {
        "face": [0, 2, 4],
        "uneven": [0, 2],
    }
    assert few.array_names == ["image", "landmarks"]


def job(folder: Path, path: Path, **options) -> Job:
    given = dict(kind="still", crop="none", guides=("saliency",), frame_step=1, face_size_px=48) | options
    return Job((0,), (path,), folder=folder / "part", **given)


@pytest.mark.parametrize(("size", "guides"), [((48, 48), ("saliency",)), ((160, 160), ("landmarks",))])
def test_a_ready_crop_is_only_resized(tmp_path, size, guides):
    picture = cv2.cvtColor(face_picture(2, size_px=size[0]), cv2.COLOR_RGB2GRAY)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    part = extract(job(tmp_path, tmp_path / "a.png", guides=guides))
    row, arrays = part.rows.iloc[0], part.arrays()
    assert row["face_ok"] and [row["box_left"], row["box_bottom"]] == [0, size[0]]
    expected = picture if size == (48, 48) else cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA)
    assert np.array_equal(arrays["image"][0], expected)
    if guides == ("saliency",):
        assert "landmarks" not in arrays and row["detector"] == "crop"
    else:
        assert row["detector"] == "dlib" and arrays["guide/landmarks"].any()
        assert (arrays["landmarks"] > 0).all() and (arrays["landmarks"] < 160).all()


def test_stills_are_prepared_and_a_broken_one_is_excluded(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), face_picture(number)[..., ::-1])
    (tmp_path / "3.png").write_bytes(b"broken")
    corpus = corpus_of(tmp_path, [f"{number}.png" for number in range(4)], kind="still")
    stills = prepare(corpus, tmp_path / "store", workers=1, progress=False)
    assert stills.manifest["face_ok"].tolist() == [True] * 3 and (stills.manifest["time_s"] == 0).all()
    assert list(stills.table("excluded")["source"]) == ["notes.txt", "3.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(crop="round"), "crop is 'round', allowed are aligned, none"),
        (dict(guides=("heat",)), "'heat' unknown, allowed are landmarks, saliency"),
        (dict(frame_step=0), "frame_step is 0"),
        (dict(max_sources=0), "max_sources is 0"),
    ],
)
def test_wrong_options_are_named(root, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(corpus_of(root, ["face.mp4"]), tmp_path / "s", **options)


def test_an_empty_corpus_and_clashing_columns_are_errors(root, tmp_path):
    with pytest.raises(ValueError, match="no source, 1 were excluded"):
        prepare(corpus_of(root, []), tmp_path / "s")
    corpus = corpus_of(root, ["face.mp4"])
    corpus.sources["n_faces"] = 1
    with pytest.raises(ValueError, match="n_faces"):
        prepare(corpus, tmp_path / "s")


def die(job: Job) -> None:
    """In the place of `extract`: the worker process ends at once, as after a crash in a C library."""
    os._exit(3)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, ValueError])
def test_a_run_that_fails_leaves_the_old_store_and_no_scraps(root, tmp_path, monkeypatch, failure):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").touch()
    names = ["face.mp4", "one.mp4", "comes.mp4"]
    if failure is KeyboardInterrupt:

        def interrupt(*args, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr(preprocessing.FrameStoreWriter, "append", interrupt)
    elif failure is RuntimeError:
        monkeypatch.setattr(preprocessing.extraction, "extract", die)
    else:
        names = ["broken.avi"]
    messages = {RuntimeError: "a worker process died.*face.mp4", ValueError: "no sample was written"}
    with pytest.raises(failure, match=messages.get(failure)):
        prepare(corpus_of(root, names), tmp_path / "store", workers=1, progress=False)
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["old", "store"]
