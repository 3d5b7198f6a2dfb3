"""Action units of performances: from OpenFace's tables, from a store's landmarks, from the published means."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_openface import table, write

from emolib import action_units, au_tables, openface
from emolib.frames import FrameStore, FrameStoreWriter
from emolib.ragged import Ragged

UNITS = [*openface.INTENSITIES, *openface.PRESENCES]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Actor_02").mkdir()
    write(tmp_path / "01-01-03-01-01-01-01.csv", table(5))
    write(tmp_path / "Actor_02" / "01-01-01-01-01-01-02.csv", table(6, success=[0, 1, 0, 1, 1, 1]), separator=",")
    return tmp_path


def test_tables_become_sequences_with_their_performances(folder):
    found = au_tables.of_folder(folder)
    known = found.performances
    assert known["performance"].tolist() == ["01-03-01-01-01-01", "01-01-01-01-01-02"]
    assert known["subject"].tolist() == ["01", "02"] and known["label"].tolist() == [2, 0]
    assert known["n_frames"].tolist() == [5, 6] and known["n_measured"].tolist() == [5, 4]
    assert found.names == tuple(UNITS) and found.label_space == "ravdess8" and found.excluded.empty
    assert np.isnan(found.sequences[1]).all(axis=1).tolist() == [True, False, True, False, False, False]
    np.testing.assert_allclose(found.means[1], table(6)[UNITS].iloc[[1, 3, 4, 5]].mean(), rtol=1e-5)
    assert found.steps_of(1)["frame"].tolist() == list(range(6)) and found.steps_of(0)["time_s"][4] == 4 / 25
    assert len(found.steps) == len(found.sequences.values)


def test_gaps_are_filled_and_doubtful_frames_dropped_as_asked(folder):
    filled = au_tables.of_folder(folder, max_gap_frames=1)
    assert np.isnan(filled.sequences[1]).all(axis=1).tolist() == [True] + [False] * 5
    write(folder / "01-01-04-01-01-01-01.csv", table(4, confidence=[0.9, 0.5, 0.9, 0.9]))
    assert au_tables.of_folder(folder, min_confidence=0.8).performances["n_measured"].tolist() == [5, 3, 4]


def test_what_is_no_performance_is_listed_with_its_reason(folder):
    write(folder / "02-01-03-01-01-01-01.csv", table(3))
    write(folder / "01-02-03-01-01-01-05.csv", table(3))
    write(folder / "01-01-09-01-01-01-05.csv", table(3))
    write(folder / "01-01-08-01-01-01-05.csv", table(3, success=0))
    (folder / "clip1.csv").write_text("frame\n1\n")
    found = au_tables.of_folder(folder)
    assert len(found.performances) == 2
    assert dict(zip(found.excluded["source"], found.excluded["reason"], strict=True)) == {
        "02-01-03-01-01-01-01.csv": "same performance as 01-01-03-01-01-01-01.csv",
        "01-02-03-01-01-01-05.csv": "channel song, not asked for",
        "01-01-09-01-01-01-05.csv": "channel 01 and emotion 09 are not both known",
        "01-01-08-01-01-01-05.csv": au_tables.NOT_MEASURED,
        "clip1.csv": "name is not MM-VV-EE-II-SS-RR-AA",
    }
    assert len(au_tables.of_folder(folder, channel="any").performances) == 3


def test_columns_that_no_table_has_are_left_out_and_different_ones_refused(folder):
    older = table(3).drop(columns=list(openface.PRESENCES))
    with pytest.raises(ValueError, match=r"01-01-05.*csv and 01-01-03.*csv differ in .* AU01_c"):
        write(folder / "01-01-05-01-01-01-01.csv", older)
        au_tables.of_folder(folder)
    for path in folder.rglob("*.csv"):
        path.unlink()
    write(folder / "01-01-05-01-01-01-01.csv", older)
    assert au_tables.of_folder(folder).names == openface.INTENSITIES


def test_a_folder_without_a_table_or_with_a_damaged_one_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="channel: 'sing' given, allowed are any, speech, song"):
        au_tables.of_folder(folder, channel="sing")
    with pytest.raises(FileNotFoundError):
        au_tables.of_folder(folder / "nothing")
    write(folder / "01-01-07-01-01-01-01.csv", table(3).astype(object).assign(AU12_r=["1", "x", "2"]))
    with pytest.raises(ValueError, match=r"01-01-07-01-01-01-01.csv, line 3, column AU12_r: 'x'"):
        au_tables.of_folder(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "clip.csv").write_text("frame\n")
    with pytest.raises(ValueError, match=r"no table of a performance, 1 other file\(s\).*clip.csv"):
        au_tables.of_folder(tmp_path / "other")


def face(rng: np.random.Generator) -> np.ndarray:
    """68 points that move a little around a rough face."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([160 + 60 * np.cos(angle), 120 + 60 * np.sin(angle)], axis=1)
    points[36], points[45] = (130, 100), (190, 100)
    return points + rng.normal(0, 0.5, (68, 2))


@pytest.fixture
def store(tmp_path):
    """Three videos of two subjects, frames in another order than time; one video without a face."""
    rng, rows = np.random.default_rng(3), []
    for video, subject, label, n in (("01-01-03-01-01-01-01", "01", 2, 30), ("02-01-05-01-01-01-02", "02", 4, 25)):
        rows += [(video, subject, label, frame, frame % 7 != 3) for frame in range(n)]
    rows += [("01-01-02-01-01-01-02", "02", 1, frame, False) for frame in range(4)]
    manifest = pd.DataFrame(rows, columns=["video", "subject", "label", "frame", "face_ok"])
    manifest = manifest.sample(frac=1, random_state=0, ignore_index=True)
    manifest = manifest.assign(source="x.mp4", split="", time_s=manifest["frame"] / 30)
    manifest = manifest.assign(intensity="normal", **dict.fromkeys(["box_left", "box_top"], 0.0))
    manifest = manifest.assign(**dict.fromkeys(["box_right", "box_bottom"], 9.0))
    landmarks = np.stack([face(rng) if ok else np.full((68, 2), np.nan) for ok in manifest["face_ok"]])
    with FrameStoreWriter(tmp_path / "store", corpus="made", label_space="ravdess8") as writer:
        writer.append(manifest, {"landmarks": landmarks.astype(np.float32)})
    return FrameStore.open(tmp_path / "store")


def test_a_stores_landmarks_become_sequences_in_the_order_of_time(store):
    found = au_tables.of_store(store)
    known = found.performances
    assert known["performance"].tolist() == ["01-03-01-01-01-01", "01-05-01-01-01-02"]
    assert known["subject"].tolist() == ["01", "02"] and known["label"].tolist() == [2, 4]
    assert known["intensity"].tolist() == ["normal"] * 2 and found.names == openface.INTENSITIES
    assert found.excluded.to_dict("records") == [{"source": "01-01-02-01-01-01-02", "reason": au_tables.NOT_MEASURED}]
    steps = found.steps_of(1)
    assert steps["frame"].tolist() == list(range(25))
    rows = store.manifest.set_index("sample").loc[steps["sample"]]
    assert (rows["video"] == "02-01-05-01-01-01-02").all() and (rows["frame"].to_numpy() == steps["frame"]).all()
    units = action_units.estimate(store.array("landmarks"), store.manifest["subject"].to_numpy())
    np.testing.assert_allclose(found.sequences[1], units[steps["sample"]], rtol=1e-6)
    assert (np.isnan(found.sequences[1]).any(axis=1) == (steps["frame"] % 7 == 3)).all()
    filled = au_tables.of_store(store, max_gap_frames=1).sequences[1]
    assert np.isnan(filled).any(axis=1).tolist() == [False] * 24 + [True], "the last frame has nothing after it"


def test_the_published_means_have_no_sequences(tmp_path):
    names = ["01-01-03-01-01-01-01", "01-01-05-02-02-02-24"]
    content = pd.DataFrame(np.full((2, 35), 0.25), columns=UNITS).assign(name=names)
    content.to_csv(tmp_path / "means.csv", sep=";", index=False)
    found = au_tables.of_means(tmp_path / "means.csv")
    assert found.means.shape == (2, 35) and found.sequences is None and found.excluded.empty
    assert found.performances["performance"].tolist() == [name[3:] for name in names]
    with pytest.raises(ValueError, match="only means are known"):
        found.steps_of(0)


def test_real_tables_in_ravdess_naming(tmp_path):
    real = Path(__file__).parents[1] / "../shared/data/openface_csv.zip"
    if not real.is_file():
        pytest.skip("../shared/data/openface_csv.zip is not here")
    with zipfile.ZipFile(real) as archive:
        for number in (1, 4, 6):
            content = archive.read(next(n for n in archive.namelist() if n.endswith(f"clip{number}.csv")))
            (tmp_path / f"01-01-0{number}-01-01-01-01.csv").write_bytes(content)
    strict, kind = au_tables.of_folder(tmp_path), au_tables.of_folder(tmp_path, max_gap_frames=5)
    assert strict.names == tuple(UNITS) and (strict.performances["n_measured"] > 100).all()
    assert (kind.performances["n_measured"] >= strict.performances["n_measured"]).all()
    assert np.isfinite(strict.means).all()


def test_compression_keeps_the_form_and_refuses_what_was_normalised_before():
    values = np.array([[0, 1.44], [np.nan, 4]], dtype=np.float32)
    np.testing.assert_allclose(au_tables.compressed(values, method="sqrt"), [[0, 1.2], [np.nan, 2]], rtol=1e-6)
    np.testing.assert_array_equal(au_tables.compressed(values, method="none"), values)
    logged = au_tables.compressed(Ragged.of_list([values, values[:1]]), method="log")
    assert isinstance(logged, Ragged) and logged.length.tolist() == [2, 1]
    np.testing.assert_allclose(logged.values, np.log1p(np.concatenate([values, values[:1]])))
    with pytest.raises(ValueError, match="compression 'cube': one of none, sqrt, log"):
        au_tables.compressed(values, method="cube")
    with pytest.raises(ValueError, match="compress before you normalise"):
        au_tables.compressed(values - 1, method="sqrt")
