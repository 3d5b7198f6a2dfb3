"""Label noise: the truth, who learns from what, and filters as finders of wrong labels, against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from emolib import filters, label_noise, labels, noise_plots, training
from emolib.corpora import fer2013
from emolib.label_noise import detection

VOTES = Path(__file__).parents[1] / "../shared/data/fer2013.zip"
FER7 = labels.names("fer7")


def voted(**votes):
    """A row of ten votes."""
    return {f"votes_{name}": float(votes.get(name, 0)) for name in fer2013.VOTED}


# ---- which labels are wrong


@pytest.mark.parametrize(
    ("label", "votes", "true", "kind", "wrong"),
    [
        ("happy", {"happiness": 6, "neutral": 4}, "happy", "class", False),
        ("sad", {"happiness": 6, "neutral": 4}, "happy", "class", True),
        ("angry", {"anger": 10}, "angry", "class", False),
        ("sad", {"sadness": 4, "contempt": 6}, None, "other answer", True),
        ("sad", {"sadness": 4, "unknown": 6}, None, "other answer", True),
        ("sad", {"sadness": 4, "NF": 6}, None, "other answer", True),
        ("sad", {"sadness": 5, "neutral": 5}, None, "tie", False),
        ("fear", {"sadness": 5, "unknown": 5}, None, "tie", False),
    ],
)
def test_the_crowd_says_which_label_is_wrong(label, votes, true, kind, wrong):
    manifest = pd.DataFrame([{"label": FER7.index(label), **voted(**votes)}])
    found = label_noise.truth(manifest, source="crowd", label_space="fer7").iloc[0]
    assert (found["true"], found["kind"]) == (FER7.index(true) if true else -1, kind)
    assert (found["known"], found["wrong"]) == (kind in ("class", "other answer"), wrong)


def test_a_still_without_votes_is_evidence_of_nothing():
    manifest = pd.DataFrame([{"label": 0, **voted()} | {"votes_neutral": np.nan}])
    found = label_noise.truth(manifest, source="crowd", label_space="fer7").iloc[0]
    assert (found["kind"], found["true"], found["known"], found["wrong"]) == ("no votes", -1, False, False)


def test_the_embedded_truth_is_the_manifest_s():
    manifest = pd.DataFrame({"label": [0, 1], "true_label": [0, 2]}, index=[7, 3])
    found = label_noise.truth(manifest, source="true_label", label_space="affectnet7")
    assert found.index.tolist() == [7, 3] and found["wrong"].tolist() == [False, True] and found["known"].all()


@pytest.mark.parametrize(("source", "message"), [("votes", "crowd, true_label"), ("crowd", "lacks.*votes_neutral")])
def test_a_truth_that_is_not_there_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        label_noise.truth(pd.DataFrame({"label": [0]}), source=source, label_space="fer7")


def test_the_real_votes_agree_with_the_labels_as_often_as_counted_before(tmp_path):
    if not VOTES.is_file():
        pytest.skip("../shared/data/fer2013.zip is not here")
    import zipfile

    with zipfile.ZipFile(VOTES) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("ferplus_votes.csv")]
        (tmp_path / "votes.csv").write_bytes(archive.read(name))
    table = fer2013.read_votes(tmp_path / "votes.csv").reset_index()
    table["label"] = [FER7.index(emotion) for emotion in table["fer_label"]]
    found = label_noise.truth(table, source="crowd", label_space="fer7")
    assert (found["kind"] == "tie").mean() == pytest.approx(0.05, abs=0.01)
    agree = 1 - found.loc[found["known"], "wrong"].groupby(table["label"]).mean()
    # with ties given to their first answer: happy 92, neutral 87, surprise 80, angry 47, sad 40, disgust 31, fear 13 %
    expected = {"happy": 0.92, "neutral": 0.87, "surprise": 0.80, "angry": 0.47, "sad": 0.40, "disgust": 0.31}
    for emotion, share in (expected | {"fear": 0.13}).items():
        assert agree[FER7.index(emotion)] == pytest.approx(share, abs=0.04)


# ---- who learns from what


def stills(seed, *, n=240, n_classes=3, n_people=None):
    rng = np.random.default_rng(seed)
    frames = pd.DataFrame({"sample": np.arange(n), "label": np.arange(n) % n_classes, "face_ok": True})
    frames["video"] = [f"v{k}" for k in range(n)]
    frames["split"] = np.where(rng.random(n) < 0.25, "validation", "train")
    frames["group"] = rng.integers(0, n_people or int(0.8 * n), n)
    frames["known"] = rng.random(n) < 0.9
    frames["wrong"] = frames["known"] & (rng.random(n) < 0.3)
    frames["true"] = np.where(frames["wrong"], (frames["label"] + 1) % n_classes, frames["label"])
    return frames


def divided(seed, **options):
    frames = stills(seed)
    asked = {"learn_split": "train", "test_split": "validation", "max_pictures": 0, "validation_share": 0.25}
    return frames.join(label_noise.divide(frames, **(asked | {"cross_fit_folds": 3, "seed": seed} | options)))


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_no_group_is_on_two_sides(seed):
    frames = divided(seed)
    assert (frames.loc[frames["split"] == "validation", "part"] == "test").all()
    learn = frames[frames["fold"] >= 0]
    assert set(learn["part"]) == {"train", "validation"} and set(learn["fold"]) == {0, 1, 2}
    tested = set(frames.loc[frames["part"] == "test", "group"])
    assert not tested & set(learn["group"])
    unused = frames[frames["part"] == ""]
    assert set(unused["group"]) <= tested and (unused["fold"] == -1).all()
    assert (learn.groupby("group")[["fold", "part"]].nunique() == 1).all(axis=None)
    for k, member in enumerate(label_noise.judges(learn, seed=1)):
        knew = frames.loc[[*member.train, *member.validation]]
        assert not set(knew["group"]) & set(learn.loc[learn["fold"] == k, "group"])
        assert set(member.train) | set(member.validation) == set(learn.index[learn["fold"] != k])
        assert len(member.validation) and not set(member.train) & set(member.validation)


def test_max_pictures_are_drawn_by_class():
    frames = divided(3, max_pictures=90)
    learn = frames[frames["fold"] >= 0]
    assert len(learn) == 90 and learn["label"].value_counts().between(24, 36).all()


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'PublicTest'.*train"):
        divided(0, test_split="PublicTest")


def test_each_still_is_judged_by_the_judge_of_its_fold(monkeypatch):
    learn = divided(6).query("fold >= 0")

    def predict(images, guides, rows, *, state, n_classes, model):
        assert (learn.loc[rows, "fold"] == state["fold"]).all() and (images, guides, model) == ("i", "g", "m")
        return np.column_stack([rows / 1000, 1 - rows / 1000, np.zeros(len(rows))])

    monkeypatch.setattr("emolib.posteriors.predict", predict)
    trained = [training.Trained(f"judge{k}", {"fold": k}, 1, pd.DataFrame()) for k in range(3)]
    table = label_noise.judge(learn, trained, "i", "g", classes=["a", "b", "c"], model="m")
    assert table["sample"].tolist() == learn["sample"].tolist()
    np.testing.assert_allclose(table["p_a"], learn.index / 1000)
    assert table["fold"].tolist() == learn["fold"].tolist()


# ---- filters as finders of wrong labels


def chosen(learn, seed=0, *, decimals=2):
    """Filters over made-up posteriors that know a little of the truth, with ties."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.ones(3), len(learn)) + 0.3 * np.eye(3)[learn["true"]]
    posterior = np.round(posterior / posterior.sum(axis=1, keepdims=True), decimals)
    posterior /= posterior.sum(axis=1, keepdims=True)
    compared = {
        "p30": {"filter": "percentile", "filter_options": {"percentile": 30.0, "scope": "class"}},
        "low30": {"filter": "low_confidence", "filter_options": {"percentile": 30.0, "scope": "class"}},
        "t20": {"filter": "threshold", "filter_options": {"threshold": 0.2}},
        "cleanlab": {"filter": "cleanlab"},
        "random30": {"filter": "random", "filter_options": {"share": 0.7, "seed": 4}},
    }
    return label_noise.select(compared, learn, posterior)


def test_the_filter_random_draws_from_each_class():
    learn = divided(1).query("fold >= 0")
    kept = learn["label"][chosen(learn)["random30"].keep].value_counts() / learn["label"].value_counts()
    assert kept.between(0.68, 0.72).all()


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_one_resample_has_the_values_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 60))
    wrong = rng.random(n) < 0.4
    wrong[:2] = [True, False]
    score, keep = np.round(rng.random(n), 1).astype(np.float32), rng.random(n) < 0.6
    weight = rng.integers(0, 4, n).astype(float)
    weight[:2] += 1
    one = filters.FrameSelection(keep, score, pd.DataFrame())
    found = dict(zip(detection.METRICS, detection._of(one, wrong, np.arange(n), weight[None])[0], strict=True))
    asked = {"sample_weight": weight}
    assert found["kept_share"] == pytest.approx(np.average(keep, weights=weight))
    assert found["recall"] == pytest.approx(metrics.recall_score(wrong, ~keep, **asked))
    if weight[~keep].sum():
        assert found["precision"] == pytest.approx(metrics.precision_score(wrong, ~keep, **asked))
    else:
        assert np.isnan(found["precision"])
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(wrong, -score, **asked))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(wrong, -score, **asked))


def test_quality_by_class_with_intervals_that_hold_the_value():
    learn = divided(5).query("fold >= 0")
    known = learn["known"].to_numpy()
    evident, told = label_noise.known_only(chosen(learn), known), learn[known]
    asked = {"classes": ["a", "b", "c"], "n_resamples": 200, "seed": 1}
    table = label_noise.quality(evident, told["wrong"], told["label"], told["group"], **asked)
    assert len(table) == 5 * 4 and set(table["class"]) == {"all", "a", "b", "c"}
    for metric in detection.METRICS:
        assert (table[f"{metric}_low"] <= table[metric]).all() and (table[metric] <= table[f"{metric}_high"]).all()
    indexed = table.set_index(["filter", "class"])
    here = (told["label"] == 1).to_numpy()
    dropped = ~evident["p30"].keep & here
    assert indexed.loc[("p30", "b"), "precision"] == pytest.approx(told["wrong"][dropped].mean())
    assert indexed.loc[("p30", "b"), "n"] == here.sum()
    assert indexed.loc[("p30", "all"), "auc"] + indexed.loc[("low30", "all"), "auc"] == pytest.approx(1)
    assert indexed.loc[("p30", "all"), "auc"] > 0.6 > indexed.loc[("random30", "all"), "auc"]
    again = label_noise.quality(evident, told["wrong"], told["label"], told["group"], **asked)
    pd.testing.assert_frame_equal(table, again)


def test_copies_make_intervals_wider_only_where_they_are_drawn_apart():
    rng = np.random.default_rng(0)
    n = 100
    wrong, score = rng.random(n) < 0.3, rng.random(n).astype(np.float32)
    one = filters.FrameSelection(score > 0.3, score, pd.DataFrame())
    ten = filters.FrameSelection(np.tile(one.keep, 10), np.tile(score, 10), pd.DataFrame())

    def width(selection, times, group):
        asked = {"classes": ["a"], "n_resamples": 400, "seed": 0}
        table = label_noise.quality({"f": selection}, np.tile(wrong, times), np.zeros(n * times, int), group, **asked)
        row = table.iloc[0]
        return row["auc_high"] - row["auc_low"]

    alone, together = width(one, 1, np.arange(n)), width(ten, 10, np.tile(np.arange(n), 10))
    assert together == pytest.approx(alone, rel=1e-6)  # ten copies are no more evidence than one
    assert width(ten, 10, np.arange(10 * n)) < 0.5 * alone


def test_what_is_undefined_is_nan():
    keep = np.array([True, True, True])
    one = filters.FrameSelection(keep, np.arange(3, dtype=np.float32), pd.DataFrame())
    table = label_noise.quality({"f": one}, ~keep, np.zeros(3, int), np.arange(3), classes=["a"], n_resamples=5)
    row = table.iloc[0]
    assert row["kept_share"] == 1
    for metric in ("precision", "recall", "auc", "average_precision"):
        assert np.isnan(row[[metric, f"{metric}_low", f"{metric}_high"]].astype(float)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.array([0.1, np.nan], dtype=np.float32)}, "'f': 1 stills have no finite score"),
        ({"keep": np.array([True])}, r"one length.*\[1, 2\]"),
    ],
)
def test_quality_refuses_what_does_not_fit(change, message):
    given = {"keep": np.array([True, False]), "score": np.zeros(2, dtype=np.float32), "account": pd.DataFrame()}
    one = filters.FrameSelection(**(given | change))
    with pytest.raises(ValueError, match=message):
        label_noise.quality({"f": one}, np.array([True, False]), np.zeros(2, int), np.arange(2), classes=["a"])


def test_the_figure_has_a_point_a_filter_and_a_curve_a_score():
    learn = divided(5).query("fold >= 0")
    evident, told = label_noise.known_only(chosen(learn), learn["known"].to_numpy()), learn[learn["known"]]
    asked = {"classes": ["a", "b", "c"], "n_resamples": 20}
    table = label_noise.quality(evident, told["wrong"], told["label"], told["group"], **asked)
    ax = noise_plots.precision_recall(evident, told["wrong"], table)
    assert len(ax.containers) == 5
    with pytest.raises(ValueError, match="p30"):
        noise_plots.precision_recall(evident, told["wrong"], table[table["filter"] != "p30"])
    plt.close("all")


# ---- learning from what they keep


def test_variants_and_controls():
    learn = divided(2).query("fold >= 0")
    selections = chosen(learn)
    kept = label_noise.variants(selections, learn)
    train = (learn["part"] == "train").to_numpy()
    assert kept["all"].tolist() == train.tolist() and not (kept["oracle"] & learn["wrong"]).any()
    assert kept["oracle"].sum() == (train & ~learn["wrong"]).sum()
    stack = {member.name: member for member in label_noise.members(kept, learn, seeds=[1, 2])}
    control = label_noise.controls(kept, learn["label"].to_numpy())
    assert set(stack) == {f"{name}.{seed}" for name in [*kept, *control.values()] for seed in (1, 2)}
    for name, random in control.items():
        for seed in (1, 2):
            mine, drawn = stack[f"{name}.{seed}"], stack[f"{random}.{seed}"]
            sizes = [learn.loc[member.train, "label"].value_counts().sort_index() for member in (mine, drawn)]
            pd.testing.assert_series_equal(*sizes)
            assert (learn.loc[drawn.train, "part"] == "train").all() and drawn.seed == seed
            assert drawn.validation.tolist() == learn.index[learn["part"] == "validation"].tolist()
    random = control["p30"]
    assert set(stack[f"{random}.1"].train) != set(stack[f"{random}.2"].train)


def test_variants_refuses_names_that_are_taken_and_filters_that_keep_nothing():
    learn = divided(2).query("fold >= 0")
    one = chosen(learn)["p30"]
    with pytest.raises(ValueError, match=r"\['all', 'random_as_x'\] are taken"):
        label_noise.variants({"all": one, "random_as_x": one}, learn)
    nothing = filters.FrameSelection(np.zeros(len(learn), dtype=bool), one.score, one.account)
    with pytest.raises(ValueError, match=r"\['t99'\] keep none"):
        label_noise.variants({"t99": nothing}, learn)


def answered(test, right, *, seeds=(1, 2)):
    """Answers of variants that are right (against the true label) in a given share of stills."""
    rng = np.random.default_rng(0)
    tables = []
    for variant, share in right.items():
        for seed in seeds:
            good = rng.random(len(test)) < share
            predicted = np.where(good, test["true"], (test["true"] + 1) % 3)
            tables.append(
                pd.DataFrame({"variant": variant, "seed": seed, "sample": test["sample"]}).assign(predicted=predicted)
            )
    return pd.concat(tables, ignore_index=True)


def test_results_tests_and_summary():
    frames = divided(4)
    learn, test = frames.query("fold >= 0"), frames.query("part == 'test'").copy()
    test.loc[test.index[:5], "true"] = -1
    selections = chosen(learn)
    kept = label_noise.variants({"p30": selections["p30"]}, learn)
    control = label_noise.controls(kept, learn["label"].to_numpy())
    right = {"all": 0.5, "oracle": 0.9, "p30": 0.95, **dict.fromkeys(control.values(), 0.4)}
    predicted = answered(test, right)
    results = label_noise.results(predicted, test, seed=0).set_index(["variant", "against", "metric"])
    known = test[test["true"] >= 0]
    mine = predicted[(predicted["variant"] == "p30") & predicted["sample"].isin(known["sample"])]
    true = known.set_index("sample")["true"].loc[mine["sample"]].to_numpy()
    row = results.loc[("p30", "true", "accuracy")]
    assert row["value"] == pytest.approx((mine["predicted"] == true).mean()) and row["n"] == len(known)
    assert results.loc[("p30", "given", "accuracy"), "n"] == len(test)
    by_seed = (mine["predicted"] == true).groupby(mine["seed"]).mean()
    assert row["sd_of_seeds"] == pytest.approx(by_seed.std(ddof=1))

    tests = label_noise.tests(predicted, test, control, seed=0)
    assert len(tests) == 2 * 2 * 2 and (tests["p_holm"] >= tests["p_value"]).all()
    one = tests.query("variant == 'p30' and against == 'true' and compared_with == 'all'").iloc[0]
    other = results.loc[("all", "true", "accuracy"), "value"]
    assert one["difference"] == pytest.approx(row["value"] - other) and one["p_holm"] < 0.05
    answers = [
        predicted[(predicted["variant"] == v) & predicted["sample"].isin(known["sample"])] for v in ("p30", "all")
    ]
    per_seed = [(a["predicted"] == true).groupby(a["seed"]).mean() for a in answers]
    assert one["sd_of_seeds"] == pytest.approx((per_seed[0] - per_seed[1]).std(ddof=1))
    assert "p30 is better than all stills" in label_noise.verdict(tests)
    assert "One seed" not in label_noise.verdict(tests)
    assert "One seed" in label_noise.verdict(tests.assign(sd_of_seeds=np.nan))
    assert "beyond chance" in label_noise.verdict(tests.assign(p_holm=1.0))

    asked = {"classes": ["a", "b", "c"], "n_resamples": 20}
    quality = label_noise.quality(selections, learn["wrong"], learn["label"], learn["group"], **asked)
    summary = label_noise.summary(kept, quality, results.reset_index(), tests, label=learn["label"].to_numpy())
    table = summary.set_index("variant")
    assert table.loc["p30", "difference_from_all"] == one["difference"] and table.loc["p30", "p_all"] == one["p_holm"]
    assert table.loc["p30", "learned_from"] == table.loc[control["p30"], "learned_from"] == kept["p30"].sum()
    assert table.loc["p30", "true_accuracy"] == row["value"] and np.isnan(table.loc["all", "p_all"])
    assert np.isfinite(table.loc["p30", "precision"]) and np.isnan(table.loc["oracle", "precision"])
