"""Frame filters, against plain loops over videos and numpy.percentile."""

import inspect

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib import filters


def corpus(seed, *, n_videos=12, n_classes=4, faceless=0.1, decimals=None):
    """Frames of videos of unequal length, shuffled, some without a face; posteriors rounded where ties are wanted."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 30, n_videos)
    video = np.repeat(np.arange(n_videos), length)
    frames = pd.DataFrame({"video": [f"v{v}" for v in video], "label": (video * 7) % n_classes})
    frames["face_ok"] = rng.random(len(frames)) >= faceless
    frames = frames.sample(frac=1, random_state=seed).reset_index(drop=True)
    posterior = rng.dirichlet(np.full(n_classes, 0.5), len(frames)).astype(np.float32)
    return frames, posterior if decimals is None else np.round(posterior, decimals)


def loop(frames, posterior, judge):
    """The plain way: video by video, row by row."""
    keep = np.zeros(len(frames), dtype=bool)
    for video in frames["video"].unique():
        rows = [i for i in range(len(frames)) if frames["video"][i] == video and frames["face_ok"][i]]
        own = [float(posterior[i, frames["label"][i]]) for i in rows]
        top = [float(posterior[i].max()) for i in rows]
        for i, kept in zip(rows, judge(own, top), strict=True):
            keep[i] = kept
    return keep


def best_if_empty(scores, kept):
    return [i == int(np.argmax(scores)) for i in range(len(scores))] if scores and not any(kept) else kept


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), q=st.floats(0, 100).map(lambda q: round(q, 1)), decimals=st.sampled_from([None, 1]))
def test_percentile_equals_numpy_video_by_video(seed, q, decimals):
    frames, posterior = corpus(seed, decimals=decimals)

    def judge(own, top):
        asked = np.percentile(np.array(own, dtype=np.float64), q) if own else 0
        return [value >= asked - 1e-12 for value in own]

    kept = filters.select("percentile", frames, posterior, percentile=q).keep
    np.testing.assert_array_equal(kept, loop(frames, posterior, judge))


@pytest.mark.parametrize("q", [0, 10, 42.5, 50, 55, 90, 99.9, 100])
def test_the_asked_percentile_is_numpys(q):
    score = np.random.default_rng(1).random(101)
    frames = pd.DataFrame({"video": "v", "label": 0, "face_ok": True}, index=range(101))
    selection = filters.select("percentile", frames, score, percentile=q)
    np.testing.assert_allclose(selection.account["threshold"], [np.percentile(score, q)], rtol=1e-12)


def test_the_frame_that_is_the_percentile_is_kept_although_numpys_rank_is_rounded_up():
    assert 100 * (55 / 100) > 55  # the trap: numpy asks for a hair more than the 55th of 101 frames
    frames = pd.DataFrame({"video": "v", "label": 0, "face_ok": True}, index=range(101))
    kept = filters.select("percentile", frames, np.linspace(0, 1, 101), percentile=55.0).keep
    assert kept.sum() == 46 and kept[55]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), t=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]))
@pytest.mark.parametrize("variant", ["train", "keep_best", "largest"])
def test_threshold_equals_the_loop(variant, seed, t):
    frames, posterior = corpus(seed, decimals=1)
    options = {} if variant == "train" else {variant: True}

    def judge(own, top):
        scores = top if variant == "largest" else own
        kept = [value >= float(np.float32(t)) for value in scores]
        return kept if variant == "train" else best_if_empty(scores, kept)

    selection = filters.select("threshold", frames, posterior, threshold=t, **options)
    np.testing.assert_array_equal(selection.keep, loop(frames, posterior, judge))


def test_a_float32_posterior_of_exactly_the_threshold_is_kept():
    frames = pd.DataFrame({"video": ["a"], "label": [0], "face_ok": [True]})
    assert np.float64(np.float32(0.7)) < 0.7
    assert filters.select("threshold", frames, np.array([[0.7, 0.3]], np.float32), threshold=0.7).keep.all()


def test_of_equally_good_frames_the_first_is_the_best():
    frames = pd.DataFrame({"video": ["a"] * 3, "label": 0, "face_ok": True})
    kept = filters.select("threshold", frames, np.array([0.2, 0.3, 0.3]), threshold=0.9, keep_best=True).keep
    assert kept.tolist() == [False, True, False]


def test_the_test_variant_does_not_look_at_labels():
    frames, posterior = corpus(5)
    relabelled = frames.assign(label=(frames["label"] + 1) % 4)
    a, b = (filters.select("threshold", f, posterior, threshold=0.6, largest=True) for f in (frames, relabelled))
    np.testing.assert_array_equal(a.keep, b.keep)
    np.testing.assert_array_equal(a.score, b.score)


def test_none_keeps_every_face_with_and_without_posteriors():
    frames, posterior = corpus(2)
    with_scores = filters.select("none", frames, posterior)
    np.testing.assert_array_equal(with_scores.keep, frames["face_ok"])
    face = frames["face_ok"].to_numpy()
    own = posterior[np.arange(len(frames)), frames["label"]]
    np.testing.assert_array_equal(with_scores.score[face], own[face])
    without = filters.select("none", frames, None)
    np.testing.assert_array_equal(without.keep, frames["face_ok"])
    assert np.isnan(without.score).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(["none", "threshold", "percentile"]))
def test_account_adds_up_and_frames_without_a_face_are_never_kept_nor_counted(seed, name):
    frames, posterior = corpus(seed, faceless=0.4)
    posterior[~frames["face_ok"]] = np.nan
    options = {"none": {}, "threshold": {"threshold": 0.4}, "percentile": {"percentile": 60}}[name]
    selection = filters.select(name, frames, posterior, **options)
    assert selection.keep.dtype == bool and selection.score.dtype == np.float32
    assert not selection.keep[~frames["face_ok"]].any() and np.isnan(selection.score[~frames["face_ok"]]).all()
    seen = frames[frames["face_ok"]].assign(keep=selection.keep[frames["face_ok"]])
    assert selection.account["label"].tolist() == sorted(seen["label"].unique())
    for row in selection.account.itertuples():
        of_class = seen[seen["label"] == row.label]
        kept_a_video = of_class.groupby("video")["keep"].sum()
        assert (row.frames, row.kept) == (len(of_class), of_class["keep"].sum())
        assert row.kept_share == pytest.approx(row.kept / row.frames)
        assert (row.videos, row.videos_emptied) == (len(kept_a_video), (kept_a_video == 0).sum())


def test_a_video_whose_frames_without_a_face_had_high_scores_is_judged_by_the_others():
    frames = pd.DataFrame({"video": ["a"] * 4, "label": 0, "face_ok": [True, True, False, False]})
    selection = filters.select("percentile", frames, np.array([0.1, 0.2, 0.9, 0.9]), percentile=100)
    assert selection.keep.tolist() == [False, True, False, False]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_higher_percentile_or_threshold_keeps_a_subset(seed):
    frames, posterior = corpus(seed)
    for name in ("percentile", "threshold"):
        scale = 100 if name == "percentile" else 1
        kept = [filters.select(name, frames, posterior, **{name: x * scale}).keep for x in (0.2, 0.5, 0.8)]
        assert (kept[1] <= kept[0]).all() and (kept[2] <= kept[1]).all()


def test_own_scores_may_be_given_instead_of_posteriors():
    frames, posterior = corpus(9)
    own = posterior[np.arange(len(frames)), frames["label"]]
    for options in ({"percentile": 35.0}, {"threshold": 0.3}):
        name = next(iter(options))
        a, b = filters.select(name, frames, posterior, **options), filters.select(name, frames, own, **options)
        np.testing.assert_array_equal(a.keep, b.keep)


def test_a_corpus_without_any_face_gives_an_empty_account():
    frames, posterior = corpus(1)
    selection = filters.select("percentile", frames.assign(face_ok=False), posterior, percentile=50)
    assert not selection.keep.any() and selection.account.empty


def test_every_filter_has_one_signature_and_documents_its_options():
    for name, (function, reads, _) in filters.FILTERS.items():
        assert reads in ("nothing", "posterior", "action_units")
        parameters = list(inspect.signature(function).parameters.values())
        assert [p.name for p in parameters[:2]] == ["frames", "values"]
        for option in parameters[2:]:
            assert option.kind is option.KEYWORD_ONLY and f"{option.name} :" in function.__doc__, (name, option)


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("quartile", {}, ValueError, "'quartile'.*none.*percentile.*threshold"),
        ("percentile", {}, TypeError, r"needs option \['percentile'\]"),
        ("percentile", {"q": 5}, TypeError, r"no option \['q'\]; its options: percentile"),
        ("none", {"threshold": 0.1}, TypeError, "its options: none"),
        ("percentile", {"percentile": 101}, ValueError, r"percentile = 101: a number in \[0, 100\]"),
        ("percentile", {"percentile": float("nan")}, ValueError, "nan"),
        ("percentile", {"percentile": "35"}, ValueError, "'35'"),
        ("threshold", {"threshold": -0.1}, ValueError, r"\[0, 1\]"),
        ("threshold", {"threshold": True}, ValueError, "True"),
    ],
)
def test_wrong_names_and_options_say_what_is_allowed(name, options, error, says):
    frames, posterior = corpus(0)
    with pytest.raises(error, match=says):
        filters.select(name, frames, posterior, **options)


def _with(frames, posterior, what):
    if what == "two labels":
        v = frames["video"].mode()[0]
        frames.loc[frames.index[(frames["video"] == v) & frames["face_ok"]][0], "label"] = 99
        return frames, posterior
    if what == "nan":
        posterior[np.flatnonzero(frames["face_ok"])[3]] = np.nan
        return frames, posterior
    if what == "short":
        return frames, posterior[:-1]
    if what == "label":
        return frames.assign(label=frames["label"] + 1), posterior
    if what == "column":
        return frames.drop(columns="face_ok"), posterior
    return frames, None


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("two labels", "'v[0-9]+' has frames labelled"),
        ("nan", "row [0-9]+ has a face, but no finite score"),
        ("short", "posteriors of shape"),
        ("label", r"labels \[4\] have no column"),
        ("column", "face_ok"),
        ("no posterior", "none was given"),
    ],
)
def test_wrong_input_is_named(what, says):
    frames, posterior = _with(*corpus(0), what)
    with pytest.raises(ValueError, match=says):
        filters.select("percentile", frames, posterior, percentile=50)


def test_largest_needs_all_columns():
    frames, posterior = corpus(0)
    with pytest.raises(ValueError, match="largest=True needs posteriors"):
        filters.select("threshold", frames, posterior[:, 0], threshold=0.5, largest=True)
