"""Action units from landmarks, against the drawn face, whose action units are known."""

from __future__ import annotations

import numpy as np
import pytest

from emolib import action_units
from emolib.action_units import FORMULAS, UNITS, agreement, estimate
from emolib.render.identity import identity
from emolib.render.shape import AU_INDEX, Pose, move, project

N_UNITS = len(UNITS)


def drawn(units: np.ndarray, *, name: str = "01", seed: int = 5, poses: list[Pose] | None = None) -> np.ndarray:
    """True landmarks of one subject under `units` [n, 17]: [n, 68, 2]."""
    who = identity(seed, name, female=name == "02")
    poses = poses or [Pose(160, 103, 62)] * len(units)
    return np.stack(
        [
            project(move(who.points[:68], one, asymmetry=who.asymmetry), who.z[:68], pose)
            for one, pose in zip(units, poses, strict=True)
        ]
    )


def clip(unit: int, value: float = 4.0, *, n: int = 40) -> np.ndarray:
    """A face at rest which shows one unit in its last quarter."""
    units = np.zeros((n, N_UNITS))
    units[-n // 4 :, AU_INDEX[unit]] = value
    return units


def corpus(n: int = 150, *, noise_px: float = 0.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks, true units and subjects of three people whose heads move; units come one or two at a time."""
    rng = np.random.default_rng(seed)
    landmarks, truth = [], []
    for name in ("01", "02", "03"):
        units = np.zeros((n, N_UNITS))
        for frame in range(0, n, 3):
            units[frame, rng.choice(N_UNITS, 2, replace=False)] = rng.uniform(1, 5, 2)
        turns = rng.normal(0, [0.05, 0.08, 0.05], (n, 3))
        poses = [Pose(*rng.normal(160, 9, 2), 62 * rng.uniform(0.8, 1.2), *turn) for turn in turns]
        landmarks.append(drawn(units, name=name, poses=poses) + rng.normal(0, noise_px, (n, 68, 2)))
        truth.append(units)
    return np.concatenate(landmarks), np.concatenate(truth), np.repeat(["a", "b", "c"], n)


def test_the_units_are_those_of_openface_and_each_has_a_formula():
    assert UNITS == tuple(FORMULAS) == tuple(f"AU{unit:02d}" for unit in AU_INDEX)
    faces = np.zeros((1, 68, 2))
    known = {*action_units.measure(faces), "+down", "+up", "+open"}
    assert {name for weights, _ in FORMULAS.values() for name in weights} <= known


@pytest.mark.parametrize("unit", AU_INDEX)
def test_a_unit_shown_alone_is_found_and_a_face_at_rest_shows_nothing(unit):
    found = estimate(drawn(clip(unit)), np.zeros(40))
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 5
    rest, shown = found[:30], found[30:]
    assert np.allclose(np.delete(rest, UNITS.index("AU25"), axis=1), 0, atol=0.05)
    assert shown[:, AU_INDEX[unit]].min() > 1.0


@pytest.mark.parametrize("unit", [1, 2, 4, 5, 12, 15, 20, 26, 45])
def test_stronger_is_more(unit):
    by_strength = [estimate(drawn(clip(unit, value)), np.zeros(40))[-1, AU_INDEX[unit]] for value in (1.5, 2.5, 3.5)]
    assert by_strength == sorted(by_strength) and by_strength[0] < by_strength[-1]


@pytest.mark.parametrize(("unit", "other"), [(1, 4), (12, 15), (25, 23), (5, 45)])
def test_a_unit_is_not_taken_for_its_opposite(unit, other):
    found = estimate(drawn(clip(unit)), np.zeros(40))
    assert found[30:, AU_INDEX[other]].max() < 0.5


def test_place_size_and_tilt_of_the_head_do_not_matter():
    units = clip(12)
    still = estimate(drawn(units), np.zeros(40))
    rng = np.random.default_rng(1)
    poses = [Pose(*rng.uniform(50, 400, 2), rng.uniform(40, 160), rng.uniform(-0.5, 0.5)) for _ in units]
    assert np.allclose(estimate(drawn(units, poses=poses), np.zeros(40)), still, atol=1e-3)


def test_turns_and_nods_of_a_head_of_typical_depth_are_half_taken_out():
    rng = np.random.default_rng(2)
    flat = action_units._normalised(drawn(np.zeros((1, N_UNITS))))[0]
    turned = []
    for turn, nod in rng.normal(0, 0.1, (60, 2)):
        x, y = flat.T
        depth = action_units._DEPTH
        seen = (x * np.cos(turn) + depth * np.sin(turn), y * np.cos(nod) + depth * np.sin(nod))
        turned.append(80 * np.stack(seen, axis=1) + 200)
    shapes = action_units._normalised(np.array(turned))
    before = np.abs(shapes - flat).mean()
    assert np.abs(action_units._turned_back(shapes, flat) - flat).mean() < 0.6 * before
    assert estimate(np.array(turned), np.zeros(60)).mean() < 0.1


def test_the_estimate_follows_the_truth_of_moving_heads_with_noisy_landmarks():
    landmarks, truth, subject = corpus()
    table = agreement(estimate(landmarks, subject), truth, subject).set_index("unit")
    correlation = table["correlation"]
    assert correlation.min() > 0.1  # the poor proxies, since any two units come together here
    seen_well = ["AU01", "AU02", "AU04", "AU05", "AU09", "AU12", "AU20", "AU23", "AU26", "AU45"]
    assert correlation[seen_well].min() > 0.7, correlation.round(2).to_dict()


def test_people_are_measured_against_their_own_neutral():
    landmarks, _, subject = corpus(60)
    together = estimate(landmarks, subject)
    for one in "abc":
        assert np.array_equal(together[subject == one], estimate(landmarks[subject == one], np.zeros(60)))
    shuffled = np.random.default_rng(0).permutation(len(landmarks))
    assert np.allclose(estimate(landmarks[shuffled], subject[shuffled]), together[shuffled], atol=1e-5)


def test_people_with_few_faces_are_measured_against_everybody():
    landmarks, _, subject = corpus(60)
    alone = np.arange(len(landmarks)).astype(str)  # stills: each its own subject
    stills = estimate(landmarks, alone)
    assert np.array_equal(stills, estimate(landmarks, np.zeros(len(landmarks))))
    few = np.where(np.arange(len(landmarks)) < 5, "few", subject)
    mixed = estimate(landmarks, few)
    assert np.array_equal(mixed[subject != "a"], estimate(landmarks, subject)[subject != "a"])
    assert np.array_equal(mixed[:5], stills[:5])


def test_a_frame_without_a_face_is_nan_and_changes_no_other():
    landmarks, _, subject = corpus(60)
    gaps = landmarks.copy()
    gaps[7], gaps[100, 3, 1] = np.nan, np.nan
    found = estimate(gaps, subject)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [7, 100] and np.isnan(found[[7, 100]]).all()
    kept = np.delete(np.arange(len(landmarks)), [7, 100])
    assert np.array_equal(found[kept], estimate(landmarks[kept], subject[kept]))


@pytest.mark.parametrize(
    ("landmarks", "n_subjects", "message"),
    [
        (np.zeros((30, 68)), 30, r"\[30, 68, 2\] is allowed"),
        (np.zeros((30, 68, 2)), 29, "29 subjects"),
        (np.full((30, 68, 2), np.nan), 30, "0 faces received, at least 20"),
        (np.zeros((30, 68, 2)), 30, "eye corners of face 0 are one point"),
    ],
)
def test_what_cannot_be_measured_is_named(landmarks, n_subjects, message):
    with pytest.raises(ValueError, match=message):
        estimate(landmarks, np.zeros(n_subjects))


def test_agreement_is_pearsons_correlation_with_an_interval_over_subjects():
    rng = np.random.default_rng(3)
    true = rng.uniform(0, 5, (400, N_UNITS))
    estimated = true + rng.normal(0, np.linspace(0.1, 4, N_UNITS), true.shape)
    true[:, 9], estimated[3] = 0.0, np.nan
    subject = np.arange(400) % 10
    table = agreement(estimated, true, subject, seed=1)
    measured = np.delete(np.arange(400), 3)
    for k, row in table.iterrows():
        if k == 9:
            assert np.isnan(row[["correlation", "correlation_low", "correlation_high"]].to_numpy(dtype=float)).all()
            continue
        assert row["correlation"] == pytest.approx(np.corrcoef(estimated[measured, k], true[measured, k])[0, 1])
        assert row["correlation_low"] < row["correlation"] < row["correlation_high"]
    assert (table["n_frames"] == 399).all() and (table["n_subjects"] == 10).all()
    # one resample by hand: all draws of a single person give that person's own correlation
    alone = agreement(estimated[subject == 4], true[subject == 4], subject[subject == 4])
    assert alone["correlation_low"][0] == pytest.approx(alone["correlation"][0])
