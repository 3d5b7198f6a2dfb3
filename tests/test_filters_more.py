"""The filters beyond threshold and percentile, against plain loops, and what must hold for every filter there is."""

import warnings

import numpy as np
import pandas as pd
import pytest
from cleanlab.count import compute_confident_joint
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from test_filters import corpus

from emolib import filters, normals
from emolib.action_units import UNITS
from emolib.filters import confident

# options under which a filter drops some frames and keeps some; a second line is the same filter, stronger or weaker
OPTIONS = {
    "none": {},
    "threshold": {"threshold": 0.3},
    "threshold_balanced": {"threshold": 0.2, "seed": 4},
    "percentile": {"percentile": 60.0},
    "low_confidence": {"percentile": 60.0},
    "cleanlab": {},
    "random": {"share": 0.4, "seed": 4},
    "fps": {"every": 3, "phase": 1},
    "apex": {"window_s": 0.4},
    "au45": {"threshold": 0.5},
    "mvn": {"percentile": 60.0},
}
DRAWN = {"random", "threshold_balanced"}
SEEDS = st.integers(0, 10**6)


def world(seed, **options):
    """The corpus of test_filters with frame indices, times of an uneven frame rate, and action units, some missing."""
    frames, posterior = corpus(seed, **options)
    rng = np.random.default_rng(seed)
    frames["frame"] = rng.permutation(10 * len(frames))[: len(frames)]
    steps = pd.Series(rng.uniform(0.01, 0.2, len(frames)), index=frames.sort_values("frame").index)
    frames["time_s"] = steps.groupby(frames["video"]).cumsum()
    units = rng.gamma(0.5, 1.0, (len(frames), len(UNITS)))
    units[rng.random(len(frames)) < 0.1] = np.nan
    return frames, {"posterior": posterior, "action_units": units, "nothing": None}


def select(name, frames, values, **options):
    return filters.select(name, frames, values[filters.FILTERS[name].reads], **options)


def seen_rows(frames, values, reads):
    """Rows that a filter may judge, and a group of them for each video, by frame index."""
    seen = frames["face_ok"].to_numpy(copy=True)
    if reads == "action_units":
        seen &= ~np.isnan(values["action_units"]).any(axis=1)
    return seen


def groups(frames, seen, column):
    of = frames[seen].sort_values("frame")
    return [of.index[of[column] == value].to_numpy() for value in of[column].unique()]


def own_of(frames, values):
    return np.array([row[label] for row, label in zip(values["posterior"], frames["label"], strict=True)], np.float64)


# ---- every filter


def test_every_filter_is_tested_here():
    assert set(OPTIONS) == set(filters.FILTERS)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_frames_that_cannot_be_judged_are_never_kept_nor_counted(name, seed):
    frames, values = world(seed, faceless=0.3)
    values["posterior"][~frames["face_ok"]] = np.nan
    selection = select(name, frames, values, **OPTIONS[name])
    seen = seen_rows(frames, values, filters.FILTERS[name].reads)
    assert not selection.keep[~seen].any() and np.isnan(selection.score[~seen]).all()
    assert (name == "none") or np.isfinite(selection.score[seen]).all()
    table = frames.assign(keep=selection.keep)[seen]
    of_class = table.groupby("label")["keep"]
    account = selection.account.set_index("label")
    pd.testing.assert_series_equal(account["frames"], of_class.size(), check_names=False)
    pd.testing.assert_series_equal(account["kept"], of_class.sum(), check_names=False, check_dtype=False)
    emptied = (table.groupby(["label", "video"])["keep"].sum() == 0).groupby("label").sum()
    pd.testing.assert_series_equal(account["videos_emptied"], emptied, check_names=False, check_dtype=False)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_kept_does_not_depend_on_names_of_videos(name, seed):
    frames, values = world(seed)
    names = np.random.default_rng(seed).permutation(frames["video"].unique())
    other = frames.assign(video=frames["video"].map(dict(zip(frames["video"].unique(), names, strict=True))))
    a, b = (select(name, f, values, **OPTIONS[name]) for f in (frames, other))
    np.testing.assert_array_equal(a.keep, b.keep)
    np.testing.assert_array_equal(a.score, b.score)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_kept_does_not_depend_on_the_order_of_rows(name, seed):
    frames, values = world(seed)
    order = np.random.default_rng(seed).permutation(len(frames))
    shuffled = {reads: None if v is None else v[order] for reads, v in values.items()}
    a = select(name, frames, values, **OPTIONS[name])
    b = select(name, frames.iloc[order], shuffled, **OPTIONS[name])
    pd.testing.assert_frame_equal(a.account[["label", "frames", "kept"]], b.account[["label", "frames", "kept"]])
    if name not in DRAWN:
        pd.testing.assert_frame_equal(a.account, b.account)
        np.testing.assert_array_equal(a.keep[order], b.keep)
        np.testing.assert_allclose(a.score[order], b.score, rtol=1e-5, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
@pytest.mark.parametrize(
    ("name", "option", "rising"),
    [
        ("threshold", "threshold", [0.9, 0.5, 0.1]),
        ("percentile", "percentile", [90.0, 42.5, 10.0]),
        ("low_confidence", "percentile", [90.0, 42.5, 10.0]),
        ("cleanlab", "frac_noise", [1.0, 0.5, 0.0]),
        ("random", "share", [0.1, 0.5, 1.0]),
        ("fps", "every", [4, 2, 1]),
        ("apex", "window_s", [0.0, 0.3, 1.0]),
        ("au45", "threshold", [0.1, 0.75, 3.0]),
        ("mvn", "percentile", [10.0, 42.5, 90.0]),
    ],
)
def test_a_weaker_filter_keeps_the_same_frames_and_further_ones(name, option, rising, seed):
    frames, values = world(seed)
    kept = [select(name, frames, values, **{option: value}).keep for value in rising]
    assert (kept[0] <= kept[1]).all() and (kept[1] <= kept[2]).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_list_without_any_face_is_no_error(name):
    frames, values = world(1)
    selection = select(name, frames.assign(face_ok=False), values, **OPTIONS[name])
    assert not selection.keep.any() and selection.account.empty


# ---- by posterior


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, q=st.floats(0, 100).map(lambda q: round(q, 1)))
@pytest.mark.parametrize(("scope", "column"), [("video", "video"), ("class", "label")])
def test_percentile_and_low_confidence_equal_numpy_group_by_group(scope, column, seed, q):
    frames, values = world(seed)
    own = own_of(frames, values)
    best, doubted = np.zeros(len(frames), bool), np.zeros(len(frames), bool)
    for rows in groups(frames, frames["face_ok"], column):
        best[rows] = own[rows] >= np.percentile(own[rows], q) - 1e-12
        doubted[rows] = own[rows] <= np.percentile(own[rows], 100 - q) + 1e-12
    for name, expected in (("percentile", best), ("low_confidence", doubted)):
        kept = select(name, frames, values, percentile=q, scope=scope).keep
        np.testing.assert_array_equal(kept, expected)
    assert best.sum() == doubted.sum()  # without ties: a fair opponent


def test_stills_need_the_scope_of_the_class():
    frames, values = world(3)
    stills = frames.assign(video=[f"still-{k}" for k in range(len(frames))])
    face = frames["face_ok"].to_numpy()
    np.testing.assert_array_equal(select("percentile", stills, values, percentile=80.0).keep, face)
    kept = select("percentile", stills, values, percentile=80.0, scope="class").keep
    assert 0.15 < kept.sum() / face.sum() < 0.3


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, t=st.sampled_from([0.0, 0.2, 0.5, 0.9]), keep_best=st.booleans())
def test_balanced_is_threshold_and_then_every_class_has_the_frames_of_the_smallest(seed, t, keep_best):
    frames, values = world(seed)
    passed = select("threshold", frames, values, threshold=t, keep_best=keep_best).keep
    kept = select("threshold_balanced", frames, values, threshold=t, keep_best=keep_best, seed=seed).keep
    assert (kept <= passed).all()
    of_class = {k: int(passed[frames["label"] == k].sum()) for k in range(4)}
    smallest = min((n for n in of_class.values() if n), default=0)
    for k, n in of_class.items():
        assert kept[frames["label"] == k].sum() == (smallest if n else 0)


def test_a_class_that_lost_every_frame_stays_empty_and_is_reported():
    frames = pd.DataFrame({"video": ["a"] * 3 + ["b"] * 2 + ["c"], "label": [0, 0, 0, 1, 1, 2], "face_ok": True})
    own = np.array([0.9, 0.8, 0.1, 0.7, 0.2, 0.1])
    selection = filters.select("threshold_balanced", frames, own, threshold=0.5)
    assert selection.account["kept"].tolist() == [1, 1, 0]
    assert selection.account["videos_emptied"].tolist() == [0, 0, 1]


def test_the_balancing_draw_is_uniform_and_follows_its_seed():
    frames = pd.DataFrame({"video": ["a"] * 8 + ["b"] * 2, "label": [0] * 8 + [1] * 2, "face_ok": True})
    own = np.full(10, 0.9)
    drawn = [filters.select("threshold_balanced", frames, own, threshold=0.5, seed=s).keep for s in range(150)]
    again = filters.select("threshold_balanced", frames, own, threshold=0.5, seed=7).keep
    np.testing.assert_array_equal(drawn[7], again)
    share = np.mean(drawn, axis=0)
    assert (share[8:] == 1).all() and np.abs(share[:8] - 0.25).max() < 0.15


# ---- confident learning


@pytest.mark.parametrize("filter_by", confident.PRUNING + confident.OTHERS)
@pytest.mark.parametrize("frac_noise", [1.0, 0.5])
def test_cleanlab_is_the_library(filter_by, frac_noise):
    options = {"filter_by": filter_by} | ({"frac_noise": frac_noise} if filter_by in confident.PRUNING else {})
    frames, values = world(11, n_videos=40)
    face = frames["face_ok"].to_numpy()
    label, posterior = frames["label"].to_numpy()[face], values["posterior"][face].astype(np.float64)
    posterior /= posterior.sum(axis=1, keepdims=True)
    selection = select("cleanlab", frames, values, **options)
    issue = find_label_issues(label, posterior, **options)
    assert issue.any()
    np.testing.assert_array_equal(selection.keep[face], ~issue)
    np.testing.assert_allclose(selection.score[face], get_label_quality_scores(label, posterior), rtol=1e-6)


def stills(seed, *, n=600, n_classes=4, flipped=0.1):
    """Stills whose posteriors are of their true class, and labels of which some are another class's."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) % n_classes
    posterior = rng.dirichlet(np.full(n_classes, 0.3), n) * 0.4
    posterior[np.arange(n), true] += 0.6
    wrong = rng.random(n) < flipped
    label = np.where(wrong, (true + rng.integers(1, n_classes, n)) % n_classes, true)
    return pd.DataFrame({"video": np.arange(n).astype(str), "label": label, "face_ok": True}), posterior, wrong


def test_cleanlab_finds_labels_that_were_flipped():
    frames, posterior, wrong = stills(0)
    keep = filters.select("cleanlab", frames, posterior).keep
    assert wrong[~keep].all() and (~keep)[wrong].mean() > 0.7


def test_cleanlab_does_not_mind_rows_that_do_not_sum_to_one():
    frames, posterior, _ = stills(1)
    scaled = posterior * np.random.default_rng(1).uniform(0.2, 2, (len(posterior), 1))
    a, b = (filters.select("cleanlab", frames, p) for p in (posterior, scaled))
    np.testing.assert_array_equal(a.keep, b.keep)
    np.testing.assert_allclose(a.score, b.score, rtol=1e-6)


def test_classes_that_share_a_column_are_one_class_to_cleanlab():
    # calm (label 4) has neutral's column (0)
    frames, posterior, wrong = stills(2)
    calm = ((frames["label"] == 0) & (np.arange(len(frames)) % 8 == 0)).to_numpy()
    label = frames["label"].mask(calm, 4)
    spread = np.column_stack([posterior, posterior[:, 0]])
    for filter_by in confident.PRUNING + confident.OTHERS:
        apart = filters.select("cleanlab", frames.assign(label=label), spread, filter_by=filter_by)
        merged = filters.select("cleanlab", frames, posterior, filter_by=filter_by)
        np.testing.assert_array_equal(apart.keep, merged.keep)
        np.testing.assert_array_equal(apart.score, merged.score)
        assert apart.keep[calm & ~wrong].all()
    # taken apart, the library is confident of no calm frame (its diagonal is never below 1) and counts them as neutral
    naive = spread / spread.sum(axis=1, keepdims=True)
    joint = compute_confident_joint(label.to_numpy(), naive, calibrate=False)
    assert joint[4, 4] == 1 and joint[4, 0] > 10


def test_a_class_that_does_not_occur_may_still_be_what_a_frame_looks_like():
    frames, posterior, wrong = stills(3)
    keep = (frames["label"] != 3).to_numpy()  # no label 3 is left, but frames whose truth is 3 are
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the library wonders why it finds no issue among no frames
        selection = filters.select("cleanlab", frames[keep], posterior[keep])
    kept = selection.keep
    assert wrong[keep][~kept].all() and not kept.all()
    own = posterior[keep, frames["label"][keep]]
    np.testing.assert_allclose(selection.score, own / posterior[keep].sum(axis=1), rtol=1e-5)
    with_nan = np.column_stack([posterior[keep], np.full(keep.sum(), np.nan)])  # a class that the model cannot answer
    np.testing.assert_array_equal(filters.select("cleanlab", frames[keep], with_nan).keep, kept)


@pytest.mark.filterwarnings("ignore:May not flag all label issues in class. 1,")
def test_a_class_of_one_frame_is_kept():
    frames, posterior, _ = stills(4, flipped=0.0)
    frames.loc[0, "label"] = 1
    only = (frames["label"] != 1) | (frames.index == 0)
    assert filters.select("cleanlab", frames[only], posterior[only]).keep[0]


# ---- samples


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, name=st.sampled_from(["threshold", "percentile", "fps", "apex", "cleanlab"]))
def test_the_random_control_has_the_frames_of_what_it_is_matched_to_video_by_video(seed, name):
    frames, values = world(seed)
    kept = select(name, frames, values, **OPTIONS[name]).keep
    n_per_video = frames.assign(kept=kept).groupby("video")["kept"].sum().to_dict()
    control = select("random", frames, values, n_per_video=n_per_video, seed=seed).keep
    assert frames.assign(kept=control).groupby("video")["kept"].sum().to_dict() == n_per_video
    assert not control[~frames["face_ok"]].any()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, share=st.floats(0, 1))
def test_a_random_share_is_rounded_and_leaves_each_video_a_frame(seed, share):
    frames, values = world(seed)
    kept = select("random", frames, values, share=share, seed=seed).keep
    for rows in groups(frames, frames["face_ok"], "video"):
        assert kept[rows].sum() >= 1
        assert abs(kept[rows].sum() - share * len(rows)) <= 0.5 or kept[rows].sum() == 1


def test_the_random_draw_is_uniform_within_a_video_and_follows_its_seed():
    frames = pd.DataFrame({"video": ["a"] * 6 + ["b"] * 2, "label": 0, "face_ok": True})
    drawn = [filters.select("random", frames, None, n_per_video={"a": 3, "b": 1}, seed=s).keep for s in range(150)]
    assert np.abs(np.mean(drawn, axis=0) - 0.5).max() < 0.17
    again = filters.select("random", frames, None, n_per_video={"a": 3, "b": 1}, seed=5).keep
    np.testing.assert_array_equal(drawn[5], again)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, every=st.integers(1, 5), data=st.data())
def test_fps_is_every_kth_frame_of_the_video_by_frame_index(seed, every, data):
    phase = data.draw(st.integers(0, every - 1))
    frames, values = world(seed)
    expected = np.zeros(len(frames), bool)
    for rows in groups(frames, frames["face_ok"], "video"):  # sorted by frame index
        expected[rows[phase::every]] = True
    np.testing.assert_array_equal(select("fps", frames, values, every=every, phase=phase).keep, expected)


# ---- in time


def smoothed_by_trapezoids(time, value, smooth_s):
    """The curve's mean over each window, from its corners."""
    means = []
    for moment in time:
        low, high = max(moment - smooth_s / 2, time[0]), min(moment + smooth_s / 2, time[-1])
        corners = np.unique(np.concatenate([[low, high], time[(time > low) & (time < high)]]))
        mean = np.trapezoid(np.interp(corners, time, value), corners) / (high - low) if high > low else None
        means.append(np.interp(moment, time, value) if mean is None else mean)
    return np.array(means)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, window_s=st.sampled_from([0.0, 0.35, 1.0]), smooth_s=st.sampled_from([0.0, 0.07, 0.5, 10.0]))
def test_apex_equals_the_loop_over_videos(seed, window_s, smooth_s):
    frames, values = world(seed)
    own, expected = own_of(frames, values), np.zeros(len(frames), bool)
    for rows in groups(frames, frames["face_ok"], "video"):
        time = frames["time_s"].to_numpy()[rows]
        intensity = smoothed_by_trapezoids(time, own[rows], smooth_s)
        apex_s = time[np.flatnonzero(intensity >= intensity.max() - 1e-9)[0]]
        expected[rows] = np.abs(time - apex_s) <= window_s / 2 + 1e-6
    kept = select("apex", frames, values, window_s=window_s, smooth_s=smooth_s)
    np.testing.assert_array_equal(kept.keep, expected)


def test_more_frames_a_second_do_not_move_the_apex():
    time = np.concatenate([np.arange(30) / 30, 1 + np.arange(6) / 5])  # 30 frames a second, 5 after the peak at 1 s
    frames = pd.DataFrame({"video": "v", "label": 0, "face_ok": True, "time_s": time})
    own = 1 - np.abs(time - 1)
    frame_mean = [own[np.abs(time - t) <= 0.5].mean() for t in time]
    assert time[np.argmax(frame_mean)] > 1  # a mean over frames goes to where few of the rising ones are
    selection = filters.select("apex", frames, own, window_s=0.4, smooth_s=1.0)
    assert time[selection.score.argmax()] == 1 and selection.account["threshold"].tolist() == [-0.2]
    np.testing.assert_allclose(time[selection.keep], [*np.arange(24, 30) / 30, 1, 1.2])


def test_of_a_plateau_the_first_frame_is_the_apex():
    frames = pd.DataFrame({"video": "v", "label": 0, "face_ok": True, "time_s": np.arange(20) / 10})
    kept = filters.select("apex", frames, np.repeat([0.1, 1.0], 10), window_s=0.2, smooth_s=0.0).keep
    assert np.flatnonzero(kept).tolist() == [9, 10, 11]


# ---- by action units


def test_au45_drops_blinks():
    frames = pd.DataFrame({"video": ["a"] * 4, "label": 0, "face_ok": [True, True, True, False]})
    units = np.zeros((4, 17), np.float32)
    units[:, UNITS.index("AU45")] = [0.75, 0.8, 0.0, 0.0]
    selection = filters.select("au45", frames, units)
    assert selection.keep.tolist() == [True, False, True, False]
    assert selection.account[["frames", "kept", "threshold"]].to_numpy().tolist() == [[3, 2, -0.75]]
    assert filters.select("au45", frames, units, threshold=np.float64(np.float32(0.8))).keep.sum() == 3


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, q=st.floats(0, 100).map(lambda q: round(q, 1)), given_normals=st.booleans())
@pytest.mark.parametrize(("scope", "column"), [("corpus", "label"), ("video", "video")])
def test_mvn_equals_scipys_distance_and_numpys_percentile(scope, column, seed, q, given_normals):
    frames, values = world(seed, n_videos=30)
    units, label = values["action_units"], frames["label"].to_numpy()
    seen = seen_rows(frames, values, "action_units")
    others = np.random.default_rng(seed + 1).gamma(0.5, 1.0, (400, 17))
    source, of = (others, np.arange(400) % 4) if given_normals else (units[seen], label[seen])
    fitted = normals.fit(source, of, classes=list("abcd"))
    inverse = np.linalg.inv(fitted.covariance)
    distance = np.full(len(frames), np.nan)
    for row in np.flatnonzero(seen):
        distance[row] = mahalanobis(units[row], fitted.mean[label[row]], inverse[label[row]])
    expected = np.zeros(len(frames), bool)
    for rows in groups(frames, seen, column):
        expected[rows] = distance[rows] <= np.percentile(distance[rows], q) + 1e-9
    options = {"normals": fitted} if given_normals else {}
    selection = select("mvn", frames, values, percentile=q, scope=scope, **options)
    np.testing.assert_array_equal(selection.keep, expected)
    np.testing.assert_allclose(selection.score[seen], -distance[seen], rtol=1e-4)


# ---- labels for test frames


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_an_assumed_label_is_the_videos_own_favourite(seed):
    frames, values = world(seed, faceless=0.4)
    posterior = values["posterior"].copy()
    posterior[~frames["face_ok"]] = np.nan
    distance = normals.distances(
        values["action_units"],
        fitted := normals.fit(
            np.random.default_rng(0).gamma(0.5, 1.0, (100, 17)), np.arange(100) % 4, classes=list("abcd")
        ),
    )
    by_posterior = filters.assumed_labels(frames.drop(columns="label"), posterior, reads="posterior")
    by_units = filters.assumed_labels(
        frames.drop(columns="label"), values["action_units"], reads="action_units", normals=fitted
    )
    for video in frames["video"].unique():
        rows = (frames["video"] == video) & frames["face_ok"]
        expected = posterior[rows].sum(axis=0).argmax() if rows.any() else -1
        assert set(by_posterior[frames["video"] == video]) == {expected}
        rows &= ~np.isnan(distance).any(axis=1)
        expected = distance[rows].mean(axis=0).argmin() if rows.any() else -1
        assert set(by_units[frames["video"] == video]) == {expected}
    # and test frames can be filtered by it
    assumed = frames.assign(label=by_posterior)
    assert select("percentile", assumed, values, percentile=50.0).keep.any()


def test_a_class_without_posterior_is_never_assumed_and_of_equal_columns_it_is_the_first():
    frames = pd.DataFrame({"video": ["a", "a", "b"], "face_ok": [True, True, False]})
    posterior = np.array([[np.nan, 0.2, 0.5, 0.5], [np.nan, 0.3, 0.4, 0.4], [np.nan] * 4])
    assert filters.assumed_labels(frames, posterior, reads="posterior").tolist() == [2, 2, -1]


# ---- errors


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("percentile", {"percentile": 5.0, "scope": "corpus"}, r"scope = 'corpus': allowed are \['class', 'video'\]"),
        ("mvn", {"percentile": 5.0, "scope": "class"}, r"allowed are \['corpus', 'video'\]"),
        ("threshold_balanced", {"threshold": 0.5, "seed": -1}, "seed = -1: an int from 0"),
        ("random", {}, "n_per_video or share: exactly one"),
        ("random", {"share": 0.5, "n_per_video": {}}, "exactly one"),
        ("random", {"share": 1.5}, r"share = 1.5: a number in \[0, 1\]"),
        ("random", {"n_per_video": {}}, "no number for 12 video"),
        ("random", {"share": 0.5, "seed": 1.0}, "seed = 1.0: an int"),
        ("fps", {"every": 0}, "every = 0: an int from 1"),
        ("fps", {"every": 2, "phase": 2}, "phase = 2: an int from 0 to 1"),
        ("apex", {"window_s": -1.0}, r"window_s = -1.0: a number in \[0, inf\]"),
        ("au45", {"threshold": 6}, r"threshold = 6: a number in \[0, 5\]"),
        ("cleanlab", {"filter_by": "magic"}, "'magic': allowed are prune_by_noise_rate"),
        ("cleanlab", {"frac_noise": 2}, r"frac_noise = 2: a number in \[0, 1\]"),
        ("cleanlab", {"filter_by": "confident_learning", "frac_noise": 0.5}, "allows only 1"),
    ],
)
def test_wrong_options_say_what_is_allowed(name, options, says):
    frames, values = world(0)
    with pytest.raises(ValueError, match=says):
        select(name, frames, values, **options)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("fps", lambda f, v: f.drop(columns="frame"), r"lacks column\(s\) \['frame'\]"),
        ("apex", lambda f, v: f.assign(time_s=np.nan), "time_s of video 'v[0-9]+' is not finite"),
        ("apex", lambda f, v: v.update(posterior=None), "'apex' judges frames by posterior, and none was given"),
        ("au45", lambda f, v: v.update(action_units=v["posterior"]), "action units .* are needed, got shape"),
        ("mvn", lambda f, v: v.update(action_units=None), "by action_units, and none was given"),
        ("mvn", lambda f, v: v["action_units"].__setitem__((slice(None), 3), np.nan), "some action units, but not all"),
        ("cleanlab", lambda f, v: v.update(posterior=v["posterior"][:, 0]), r"needs posteriors \[N, C\]"),
        ("cleanlab", lambda f, v: v.update(posterior=v["posterior"] * 0), "0 in every column|tell apart"),
        ("cleanlab", lambda f, v: v["posterior"].__setitem__((slice(None), 1), np.nan), r"labels \[1\], whose .* NaN"),
        ("cleanlab", lambda f, v: f.assign(label=2), "two classes that the posteriors tell apart.*column 2"),
    ],
)
def test_wrong_input_is_named(name, change, says):
    frames, values = world(0)
    changed = change(frames, values)
    with pytest.raises(ValueError, match=says):
        select(name, frames if changed is None else changed, values, **{**OPTIONS[name]})


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"a": 3, "b": 0}, r"n_per_video\['a'\] = 3: an int from 0 to 2"),
        ({"a": 1}, "no number for 1 video.*'b'"),
        ({"a": 1, "b": 1, "c": 2}, r"\['c'\], which have none"),
    ],
)
def test_a_control_of_equal_size_that_cannot_be_is_an_error(wanted, says):
    frames = pd.DataFrame({"video": ["a", "a", "b"], "label": 0, "face_ok": True})
    with pytest.raises(ValueError, match=says):
        filters.select("random", frames, None, n_per_video=wanted)


def test_normals_of_other_classes_than_the_labels_are_an_error():
    frames, values = world(0)
    fitted = normals.fit(np.random.default_rng(0).random((50, 17)), np.arange(50) % 2, classes=["x", "y"])
    with pytest.raises(ValueError, match=r"labels \[2, 3\] have no normal: there are 2, \['x', 'y'\]"):
        select("mvn", frames, values, percentile=50.0, normals=fitted)
    unknown = normals.fit(np.random.default_rng(0).random((50, 17)), np.arange(50) % 2, classes=list("xyzu"))
    with pytest.raises(ValueError, match="no finite score"):
        select("mvn", frames, values, percentile=50.0, normals=unknown)


@pytest.mark.parametrize(
    ("reads", "with_normals", "says"),
    [("nothing", False, "got 'nothing'"), ("action_units", False, "normals are needed"), ("posterior", True, "only")],
)
def test_labels_are_assumed_from_what_can_tell_them(reads, with_normals, says):
    frames, values = world(0)
    fitted = normals.fit(np.random.default_rng(0).random((50, 17)), np.arange(50) % 2, classes=["x", "y"])
    with pytest.raises(ValueError, match=says):
        filters.assumed_labels(frames, values["posterior"], reads=reads, normals=fitted if with_normals else None)
