"""OpenFace's tables: real ones, and made ones of other versions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib import openface
from emolib.render.shape import AU_COLUMNS

REAL = Path(__file__).parents[1] / "../shared/data/openface_csv.zip"


def table(n: int = 6, **columns) -> pd.DataFrame:
    """A table as OpenFace 2 writes it, 25 frames a second."""
    given = {"frame": range(1, n + 1), "face_id": 0, "timestamp": np.arange(n) / 25, "confidence": 0.98, "success": 1}
    units = {name: np.round(np.linspace(0, 4, n) + k / 100, 2) for k, name in enumerate(openface.INTENSITIES)}
    return pd.DataFrame(given | units | dict.fromkeys(openface.PRESENCES, 1.0) | columns, index=range(n))


def write(path: Path, content: pd.DataFrame, *, separator: str = ", ") -> Path:
    lines = [separator.join(map(str, content.columns))]
    lines += [separator.join(map(str, row)) for row in content.astype(object).to_numpy()]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_names_and_their_order_are_those_of_the_drawn_corpus():
    assert openface.INTENSITIES == AU_COLUMNS and len(openface.PRESENCES) == 18


@pytest.mark.parametrize("separator", [",", ", ", "  ,  "])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_spelling_of_a_table_is_read_alike(tmp_path, separator, mark):
    path = write(tmp_path / "a.csv", table(x_0=3.5, somebodys="own"), separator=separator)
    path.write_text(mark + path.read_text(), encoding="utf-8")
    read = openface.read(path)
    first = ["frame", "time_s", "face_id", "confidence", "success"]
    assert read.columns.tolist() == [*first, *openface.INTENSITIES, *openface.PRESENCES]
    assert read["frame"].tolist() == list(range(6)) and read["time_s"].tolist() == [k / 25 for k in range(6)]
    assert np.allclose(read[list(openface.INTENSITIES)], table()[list(openface.INTENSITIES)])
    assert read["success"].all() and (read[list(openface.PRESENCES)] == 1).all(axis=None)


def test_failed_frames_and_doubtful_ones_are_nan(tmp_path):
    confidence = [0.98, 0.03, 0.98, 0.6, 0.98, 0.98]
    path = write(tmp_path / "a.csv", table(success=[1, 0, 1, 1, 1, 1], confidence=confidence))
    units = [*openface.INTENSITIES, *openface.PRESENCES]
    assert np.flatnonzero(openface.read(path)[units].isna().all(axis=1)).tolist() == [1]
    doubtful = openface.read(path, min_confidence=0.8)
    assert np.flatnonzero(doubtful[units].isna().all(axis=1)).tolist() == [1, 3]
    assert np.flatnonzero(~doubtful["success"]).tolist() == [1, 3]


def test_what_stands_in_a_failed_row_is_not_looked_at(tmp_path):
    content = table(success=[1, 0, 1, 1, 1, 1]).astype(object)
    content.loc[1, "AU01_r"] = "-nan(ind)"
    assert np.isnan(openface.read(write(tmp_path / "a.csv", content))["AU01_r"][1])


def test_an_older_version_without_faces_times_and_some_units_is_read(tmp_path):
    older = table().drop(columns=["face_id", "timestamp", "AU07_r", *openface.PRESENCES])
    read = openface.read(write(tmp_path / "a.csv", older))
    assert (read["face_id"] == 0).all() and read["time_s"].isna().all()
    assert read["AU07_r"].isna().all() and read[list(openface.PRESENCES)].isna().all(axis=None)
    assert read["AU06_r"].notna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AU12_r": [0, 1, "x", 1, 1, 1]}, r"line 4, column AU12_r: 'x' found, a number in \[0, 5"),
        ({"AU12_r": [0, 1, 1, 5.5, 1, 1]}, "line 5, column AU12_r: '5.5'"),
        ({"AU28_c": 2}, "line 2, column AU28_c"),
        ({"frame": range(6)}, r"line 2, column frame: '0' found, a whole number in \[1"),
        ({"frame": [1, 2, 2, 3, 4, 5]}, "line 4, column frame: frame 2 of face 0 is there twice"),
        ({"frame": [1, 2.5, 3, 4, 5, 6]}, "line 3, column frame"),
        ({"confidence": 7}, "column confidence"),
        ({"success": ""}, "column success: ''"),
    ],
)
def test_a_bad_cell_is_named_with_its_line_and_column(tmp_path, change, message):
    path = write(tmp_path / "a.csv", table().astype(object).assign(**change))
    with pytest.raises(ValueError, match=message) as raised:
        openface.read(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no OpenFace table"),
        ("frame,FE01\n1,0.5\n", "confidence, success missing; there are frame, FE01"),
        ("frame,confidence,success,FE01\n1,1,1,0.5\n", "no column of intensities"),
        ("frame,confidence,success,AU01_r,AU01_r\n1,1,1,0,1\n", r"\['AU01_r'\] are twice"),
        ("frame,confidence,success,AU01_r\n1,1\n", "line 2, column success: ''"),
        ("\x00\xff", "no OpenFace table"),
    ],
)
def test_what_is_no_table_of_openface_is_refused(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        openface.read(path)
    with pytest.raises(FileNotFoundError, match="b.csv"):
        openface.read(tmp_path / "b.csv")


def test_tables_are_joined_to_the_frames_of_a_manifest(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "one.csv", table(success=[1, 1, 0, 1, 1, 1]))
    two_faces = pd.concat([table(4, face_id=1, AU01_r=1.5), table(2, face_id=0, AU01_r=4.5)])
    write(tmp_path / "two.csv", two_faces, separator=",")
    manifest = pd.DataFrame({"video": ["one"] * 3 + ["two"] * 2 + ["one"], "frame": [0, 2, 4, 1, 5, 9]})
    manifest["time_s"] = manifest["frame"] / 25
    units = openface.for_videos(tmp_path, manifest.set_axis(range(100, 106)))
    assert units.dtype == np.float32 and units.shape == (6, 17)
    # failed, and not in the table: NaN; of two faces the one that was followed for longer
    assert np.isnan(units).all(axis=1).tolist() == [False, True, False, False, True, True]
    assert np.allclose(units[0], table()[list(openface.INTENSITIES)].iloc[0])
    assert np.allclose(units[2], table()[list(openface.INTENSITIES)].iloc[4]) and units[3, 0] == 1.5


def test_a_table_that_is_missing_double_or_of_another_recording_is_named(tmp_path):
    write(tmp_path / "one.csv", table())
    manifest = pd.DataFrame({"video": "one", "frame": range(6), "time_s": np.arange(6) / 25})
    with pytest.raises(FileNotFoundError, match=r"no table for 1 video\(s\), such as other.csv"):
        openface.for_videos(tmp_path, manifest.assign(video="other"))
    with pytest.raises(ValueError, match="one.csv: frame 5 is at 0.16 s, in the manifest at 0.8 s"):
        openface.for_videos(tmp_path, manifest.assign(time_s=np.arange(6) / 5))
    (tmp_path / "again").mkdir()
    write(tmp_path / "again" / "one.csv", table())
    with pytest.raises(ValueError, match="'one' has several tables"):
        openface.for_videos(tmp_path, manifest)


def test_a_table_as_ravdess_own_landmark_data_set_has_it_is_read(tmp_path):
    """Zenodo record 3255102: OpenFace 2 with everything it can write, blanks after commas, hundreds of columns."""
    n, rng = 4, np.random.default_rng(0)
    others = [f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"] + ["gaze_angle_x", "gaze_angle_y"]
    others += [f"{kind}_{k}" for kind in ("eye_lmk_x", "eye_lmk_y") for k in range(56)]
    others += [f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"]
    others += [f"{axis}_{k}" for axis in ("x", "y", "X", "Y", "Z") for k in range(68)]
    others += ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty", *(f"p_{k}" for k in range(34))]
    first = table(n).iloc[:, :5].astype({"frame": int})
    between = pd.DataFrame(rng.normal(100, 300, (n, len(others))).round(3), columns=others)
    content = pd.concat([first, between, table(n).iloc[:, 5:]], axis=1)
    read = openface.read(write(tmp_path / "01-01-01-01-01-01-01.csv", content))
    assert len(read) == n and read["success"].all()
    pd.testing.assert_frame_equal(read, openface.read(write(tmp_path / "plain.csv", table(n))))


def test_gaps_are_interpolated_up_to_a_length_and_never_at_the_edges():
    nan = np.nan
    values = np.array(
        [[nan, 1, nan, 2, nan, nan, 5, nan, nan, nan, 9, nan], [0, 1, 0, nan, 1, 0, nan, nan, 1, 1, 1, 1]]
    ).T
    same = openface.fill_gaps(values, max_gap_frames=0)
    np.testing.assert_array_equal(same, values)
    one = openface.fill_gaps(values, max_gap_frames=1)
    np.testing.assert_allclose(one[:, 0], [nan, 1, 1.5, 2, nan, nan, 5, nan, nan, nan, 9, nan])
    two = openface.fill_gaps(values, max_gap_frames=2)
    np.testing.assert_allclose(two[:, 0], [nan, 1, 1.5, 2, 3, 4, 5, nan, nan, nan, 9, nan])
    np.testing.assert_allclose(two[:, 1], [0, 1, 0, 0.5, 1, 0, 1 / 3, 2 / 3, 1, 1, 1, 1])
    assert np.isnan(openface.fill_gaps(values, max_gap_frames=99)[[0, 11], 0]).all()
    assert np.isnan(values[2, 0]), "the original is left as it was"
    np.testing.assert_array_equal(openface.fill_gaps(np.full((3, 2), nan), max_gap_frames=5), np.full((3, 2), nan))
    assert openface.fill_gaps(np.empty((0, 2)), max_gap_frames=5).shape == (0, 2)
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match=f"max_gap_frames: {wrong} received"):
            openface.fill_gaps(values, max_gap_frames=wrong)


@given(st.integers(0, 10_000), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_filling_gaps_is_pandas_interpolation_where_the_run_is_short_enough(seed, longest):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((40, 3)) < 0.5, np.nan, rng.normal(size=(40, 3)))
    filled = openface.fill_gaps(values, max_gap_frames=longest)
    inside = pd.DataFrame(values).interpolate(limit_area="inside")
    for column in range(3):
        empty = pd.Series(np.isnan(values[:, column]))
        run = empty.groupby((~empty).cumsum()).transform("sum").where(empty, 0)
        expected = inside[column].where(run <= longest, values[:, column])
        np.testing.assert_allclose(filled[:, column], expected, atol=1e-12)


def test_a_sequence_has_every_frame_of_the_face_that_was_followed_for_longest(tmp_path):
    late = table(8, success=[0, 0, 1, 1, 0, 1, 1, 1]).drop(index=6).assign(frame=lambda t: t["frame"] + 3)
    other = table(3, face_id=1, AU01_r=4.5)
    read = openface.read(write(tmp_path / "a.csv", pd.concat([late, other])))
    sequence = openface.sequence(read)
    assert sequence["frame"].tolist() == list(range(3, 11))
    assert sequence["AU01_r"].isna().tolist() == [True, True, False, False, True, False, True, False]
    assert np.isnan(sequence["time_s"][6]) and sequence["time_s"][7] == 7 / 25
    filled = openface.sequence(read, max_gap_frames=1)
    assert filled["AU01_r"].isna().tolist() == [True, True] + [False] * 6
    units = list(openface.INTENSITIES)
    np.testing.assert_allclose(filled[units].iloc[4], (filled[units].iloc[3] + filled[units].iloc[5]) / 2, rtol=1e-6)
    nobody = openface.sequence(read.iloc[:0])
    assert nobody.empty and nobody.columns.tolist() == sequence.columns.tolist()


def test_real_tables_are_read_and_others_beside_them_are_refused(tmp_path):
    if not REAL.is_file():
        pytest.skip("../shared/data/openface_csv.zip is not here")
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(tmp_path)
    failed, frames = 0, 0
    for path in sorted(tmp_path.glob("*.csv")):
        if "_" in path.stem:
            with pytest.raises(ValueError, match=path.name):
                openface.read(path)
            continue
        read = openface.read(path)
        lines = path.read_text().splitlines()[1:]
        assert len(read) == len(lines)
        assert (~read["success"]).sum() == sum(line.split(",")[4].strip() == "0" for line in lines)
        units = read[list(openface.INTENSITIES)]
        assert (units.isna().all(axis=1) == ~read["success"]).all() and units.max().max() <= 5
        step = read.drop_duplicates("frame")["time_s"].diff() / read.drop_duplicates("frame")["frame"].diff()
        assert step.dropna().between(0.03, 0.05).all()
        sequence = openface.sequence(read, max_gap_frames=3)
        assert (sequence["frame"].diff().dropna() == 1).all()
        assert sequence["AU12_r"].notna().sum() >= openface.sequence(read)["AU12_r"].notna().sum()
        failed, frames = failed + (~read["success"]).sum(), frames + len(read)
    assert (frames, failed) == (4981, 204)


def test_equal_names_in_several_folders_are_told_apart_and_no_table_serves_two_videos(tmp_path):
    for folder, value in (("s1", 1.0), ("s2", 2.0)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "clip.csv", table(AU01_r=value))
    times = pd.DataFrame({"frame": range(6), "time_s": np.arange(6) / 25})
    manifest = pd.concat([times.assign(video="s1/clip.mp4"), times.assign(video="s2/clip.mp4")], ignore_index=True)
    units = openface.for_videos(tmp_path, manifest)
    assert units[:, 0].tolist() == [1.0] * 6 + [2.0] * 6
    (tmp_path / "s2" / "clip.csv").unlink()
    with pytest.raises(ValueError, match="the table of two videos, 's1/clip.mp4' and 's2/clip.mp4'"):
        openface.for_videos(tmp_path, manifest)
