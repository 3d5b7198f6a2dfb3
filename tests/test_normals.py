"""Normals over action units, against scipy, scikit-learn and the published files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from emolib import labels, normals
from emolib.action_units import UNITS

REAL = Path(__file__).parents[1] / "../shared/data/affectnet_au_normals.zip"


def frames(n: int = 300, *, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_classes, n)
    mixing = rng.normal(size=(n_classes, len(UNITS), len(UNITS))) / 10 + np.eye(len(UNITS))
    return np.einsum("nij,nj->ni", mixing[label], rng.normal(size=(n, len(UNITS)))) + label[:, None], label


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if not REAL.is_file():
        pytest.skip("../shared/data/affectnet_au_normals.zip is not here")
    folder = tmp_path_factory.mktemp("normals")
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(folder)
    return folder


def folder_of(root: Path, found: normals.Normals) -> Path:
    """What `read_folder` reads, from `found`."""
    root.mkdir()
    header = ";".join(f"{unit}_r" for unit in UNITS)
    spread = np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2))
    for name, rows in (("mean", found.mean), ("std", spread)):
        lines = [
            ";".join([*map(repr, map(float, row)), one.title()]) for row, one in zip(rows, found.classes, strict=True)
        ]
        (root / f"GMM_{name}.csv").write_text("\n".join([f"{header};emotion", *lines]))
    for one, matrix in zip(found.classes, found.covariance, strict=True):
        lines = [";".join(map(repr, map(float, row))) for row in matrix]
        (root / f"GMM_covM_{one.title()}.csv").write_text("\n".join([header, *lines]))
    return root


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", 0, 0.3])
def test_fit_and_distance_are_those_of_scikit_learn_and_scipy(shrinkage):
    values, label = frames()
    found = normals.fit(values, label, classes="abc", shrinkage=shrinkage)
    distance = normals.distances(values, found)
    for k in range(3):
        own = values[label == k]
        expected = (LedoitWolf() if shrinkage == "ledoit_wolf" else EmpiricalCovariance()).fit(own).covariance_
        if shrinkage == 0.3:
            expected = 0.7 * expected + 0.3 * np.trace(expected) / len(UNITS) * np.eye(len(UNITS))
        assert found.n[k] == len(own) and np.allclose(found.covariance[k], expected)
        inverse = np.linalg.inv(expected)
        assert np.allclose(distance[:9, k], [mahalanobis(row, own.mean(0), inverse) for row in values[:9]])


def test_the_mean_square_distance_of_the_frames_of_a_plain_fit_is_the_number_of_units():
    values, label = frames(2000)
    distance = normals.distances(values, normals.fit(values, label, classes="abc", shrinkage=0))
    own = distance[np.arange(len(values)), label]
    assert np.mean(own**2) == pytest.approx(len(UNITS))


def test_a_unit_that_never_moves_and_fewer_frames_than_units_still_give_finite_distances():
    values, label = frames(20, n_classes=2)
    values[:, 3] = 0.0
    for shrinkage in ("ledoit_wolf", 0):
        found = normals.fit(values, label, classes="ab", shrinkage=shrinkage)
        moved = np.zeros((1, len(UNITS))) + found.mean[0]
        assert normals.distances(moved, found)[0, 0] == pytest.approx(0, abs=1e-6)
        moved[0, 3] = 1.0  # what the emotion never does is far away, not ignored
        assert 1 < normals.distances(moved, found)[0, 0] < np.inf
    still = normals.fit(np.ones((5, len(UNITS))), np.zeros(5, dtype=int), classes="a")
    step = normals.distances(np.ones((1, len(UNITS))) + np.eye(len(UNITS))[0], still)
    assert step[0, 0] == pytest.approx(1 / np.sqrt(normals.VARIANCE_FLOOR))


def test_frames_that_were_not_measured_and_classes_without_frames_are_nan():
    values, label = frames(n_classes=2)
    values[5, 2] = np.nan
    found = normals.fit(values, label, classes="abc")
    assert found.n.tolist() == [*np.bincount(np.delete(label, 5)).tolist(), 0] and np.isnan(found.mean[2]).all()
    distance = normals.distances(values, found)
    assert np.isnan(distance[5]).all() and np.isnan(distance[:, 2]).all()
    assert np.isfinite(np.delete(distance, 5, axis=0)[:, :2]).all()


def test_a_subject_left_out_does_not_take_part_in_its_own_normals():
    values, label = frames()
    subject = np.arange(len(values)) % 4
    distance = normals.distances_left_out(values, label, subject, classes="abc")
    others = normals.fit(values[subject != 2], label[subject != 2], classes="abc")
    assert np.array_equal(distance[subject == 2], normals.distances(values[subject == 2], others))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [0, 1]}, "label"),
        ({"label": [0] * 29 + [7]}, "0..1 are allowed"),
        ({"label": [0] * 29 + [1]}, "'b' has one measured frame"),
        ({"shrinkage": 1.5}, "shrinkage=1.5"),
        ({"shrinkage": "oas"}, "'ledoit_wolf' or a share"),
        ({"values": np.zeros((30, 16))}, r"\[N, 17\] is allowed"),
    ],
)
def test_what_cannot_be_fitted_is_named(change, message):
    given = {"values": frames(30)[0], "label": np.arange(30) % 2, "classes": "ab"} | change
    with pytest.raises(ValueError, match=message):
        normals.fit(given.pop("values"), given.pop("label"), **given)


def test_classes_are_mapped_by_name_and_merged_ones_are_their_mixture():
    values, label = frames(800, n_classes=7)
    found = normals.fit(values, label, classes=labels.names("affectnet7"), shrinkage=0)
    mapped = normals.to_space(found, source="affectnet7", target="ravdess8")
    assert mapped.classes == labels.names("ravdess8")
    by_name = dict(zip(mapped.classes, mapped.mean, strict=True))
    assert np.array_equal(by_name["calm"], found.mean[0]) and np.array_equal(by_name["angry"], found.mean[6])
    merged = normals.to_space(found, source="affectnet7", target="valence3")
    valence = labels.map_labels(label, source="affectnet7", target="valence3")
    direct = normals.fit(values[valence >= 0], valence[valence >= 0], classes=merged.classes, shrinkage=0)
    assert np.allclose(merged.mean, direct.mean) and np.allclose(merged.covariance, direct.covariance)
    assert merged.n.tolist() == direct.n.tolist()
    with pytest.raises(ValueError, match="ravdess8"):
        normals.to_space(found, source="ravdess8", target="affectnet7")


def test_a_class_without_a_counterpart_is_unknown():
    values, label = frames(600, n_classes=6)
    found = normals.fit(values, label, classes=labels.names("pedfe6"))
    mapped = normals.to_space(found, source="pedfe6", target="affectnet7")
    assert np.isnan(mapped.mean[0]).all() and mapped.n[0] == 0 and np.isfinite(mapped.mean[1:]).all()


def test_written_normals_are_read_as_they_were(tmp_path):
    values, label = frames(n_classes=2)
    found = normals.fit(values, label, classes=("happy", "sad", "fear"))
    normals.write(found, tmp_path / "normals.parquet")
    again = normals.read(tmp_path / "normals.parquet")
    assert again.classes == found.classes
    for name in ("mean", "covariance", "n"):
        assert np.array_equal(getattr(again, name), getattr(found, name), equal_nan=True)
    (tmp_path / "folder").mkdir()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["normals.parquet"]


def test_a_folder_of_csvs_is_read_and_what_is_wrong_with_it_is_named(tmp_path):
    values, label = frames(n_classes=2)
    found = normals.fit(values, label, classes=("happy", "sad"))
    root = folder_of(tmp_path / "good", found)
    read = normals.read_folder(root, classes=("sad", "hap"))  # any order, any spelling
    assert np.allclose(read.mean, found.mean[::-1]) and np.allclose(read.covariance, found.covariance[::-1])
    assert read.n.tolist() == [normals.N_UNKNOWN] * 2
    with pytest.raises(ValueError, match="GMM_mean.csv: no row for 'fear'"):
        normals.read_folder(root, classes=("fear",))
    text = (root / "GMM_covM_Sad.csv").read_text()
    cell = text.splitlines()[3].split(";")[4]
    (root / "GMM_covM_Sad.csv").write_text(text.replace(cell, "n/a", 1))
    with pytest.raises(ValueError, match="GMM_covM_Sad.csv, line"):
        normals.read_folder(root, classes=("sad",))
    (root / "GMM_covM_Sad.csv").unlink()
    with pytest.raises(FileNotFoundError, match="for 'sad'"):
        normals.read_folder(root, classes=("sad",))
    doubled = normals.Normals(found.classes, found.mean, found.covariance * 2, found.n)
    other = folder_of(tmp_path / "other", doubled)
    (other / "GMM_std.csv").write_text((root / "GMM_std.csv").read_text())
    with pytest.raises(ValueError, match="SD of GMM_std.csv squared"):
        normals.read_folder(other, classes=("happy",))
    with pytest.raises(FileNotFoundError, match="GMM_mean.csv"):
        normals.read_folder(tmp_path, classes=("happy",))


@pytest.mark.parametrize(("folder", "space"), [("GMM_AUs", "affectnet7"), ("GMM_AUs_RAVDESS", "ravdess8")])
def test_the_published_normals_are_read_and_measured_as_they_are(real, folder, space):
    found = normals.read_folder(real / folder, classes=labels.names(space))
    assert np.linalg.eigvalsh(found.covariance).min() > normals.VARIANCE_FLOOR
    smile = {
        labels.emotion(name): mean[UNITS.index("AU12")] for name, mean in zip(found.classes, found.mean, strict=True)
    }
    assert max(smile, key=smile.get) == "happiness"
    values = np.abs(frames(50)[0])
    inverse = np.linalg.inv(found.covariance)
    expected = [[mahalanobis(row, found.mean[k], inverse[k]) for k in range(len(inverse))] for row in values]
    assert np.allclose(normals.distances(values, found), expected)
