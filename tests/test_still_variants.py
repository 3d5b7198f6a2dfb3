"""Variants on stills: read from runs, compared on the stills that they share, and where all of them are wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from emolib import (
    comparison,
    evaluation,
    intervals,
    published,
    result_plots,
    runs,
    still_comparison,
    still_outputs,
    still_plots,
    still_variants,
)

CLASSES = ("neutral", "positive", "negative")
N, FOLDS = 240, 4
LABEL = np.arange(N) % 3
LEARNED = {"model": "original", "guide": "saliency", "epochs": 3, "n_folds": FOLDS, "protocol": "nested"}
LEARNED |= {"keep_duplicates_together": True}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))


def manifest():
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"sample": np.arange(N), "subject": [f"s{k // 2}" for k in range(N)]})
    return table.assign(valence=np.where(np.arange(N) % 10 == 0, -2, rng.uniform(-1, 1, N)))


def answered(right, seed=0, n=N):
    """Posteriors that are right where `right` says so; a wrong one names the next class."""
    answer = np.where(right, LABEL, (LABEL + 1) % 3)[:n]
    sure = np.random.default_rng(seed).uniform(0.5, 0.9, n)
    posterior = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    posterior[np.arange(n), answer] = sure
    return posterior


def a_run(name, right, *, seed=2020, n=N, space="valence3", label=LABEL, stage="pretraining", **params):
    """A finished run that answers the first n stills as `right` says, fold k tests every FOLDS-th from k on."""
    params = LEARNED | {"seed": seed} | params
    run = runs.begin(stage=stage, variant=name, study="mini", params=params)
    rows, posterior, fold = np.arange(n), answered(right, seed, n), np.arange(n) % FOLDS
    judged = {"test": (rows, posterior, fold), "validation": (rows, posterior, (fold + 1) % FOLDS)}
    results = still_outputs.save(run, **judged, manifest=manifest(), label=label, classes=CLASSES, seed=1)
    numbers = {"label_space": space, "n_parameters": 5, "best_epochs": [2, 4, 2, 4], "train_seconds": [30.0] * 4}
    run.finish(metrics=still_outputs.metrics(results, **numbers))
    return runs.load("mini", stage, name)


def some(share, seed=0):
    return np.random.default_rng(seed).random(N) < share


def collected(**of_name):
    found = {name: [one] if not isinstance(one, list) else one for name, one in of_name.items()}
    return still_variants.collect(found, classes=CLASSES)


def test_seeds_of_a_variant_are_one_row_and_its_numbers_their_mean(data):
    right = [some(0.6, 1), some(0.6, 2)]
    found = collected(a=[a_run("a", right[0]), a_run("a_s7", right[1], seed=7)])
    one = found["a"]
    assert one.seeds == (2020, 7) and one.posterior.shape == (2, N, 3) and one.address == "pretraining/a"
    np.testing.assert_array_equal(one.answers == one.label, right)
    row = still_comparison.summary(found, baseline="a", seed=1).iloc[0]
    assert row["accuracy"] == pytest.approx(np.mean(right))
    assert row["sd_of_seeds"] == pytest.approx(np.std([r.mean() for r in right], ddof=1))
    assert (row["seeds"], row["stills"], row["best_epoch"], row["train_minutes"]) == (2, N, 3.0, 2.0)
    assert np.isnan(row["p_holm"]) and row["compared_with"] == ""


def test_the_table_tests_each_variant_against_the_baseline_paired_by_still(data):
    base, better, same = some(0.5, 1), some(0.5, 1) | some(0.4, 2), some(0.5, 3)
    found = collected(base=a_run("base", base), better=a_run("better", better, guide="x"), same=a_run("same", same))
    table = still_comparison.summary(found, baseline="base", seed=1).set_index("variant")
    group = manifest()["subject"].to_numpy()
    right, wrong = LABEL, (LABEL + 1) % 3
    for name, mask in {"better": better, "same": same}.items():
        answers = np.where(mask, right, wrong), np.where(base, right, wrong)
        expected = intervals.paired_test(LABEL, *answers, group, seed=1)
        assert table.loc[name, "difference"] == pytest.approx(mask.mean() - base.mean())
        assert table.loc[name, "p_value"] == pytest.approx(expected.p_value)
    tested = table.loc[["better", "same"]]
    np.testing.assert_allclose(tested["p_holm"], evaluation.holm(tested["p_value"].to_numpy()))
    text = still_comparison.verdict(table.reset_index())
    assert "better is better than base (nested, copies kept together)" in text and "One seed each" in text
    assert "1 of 2 variants do not differ" in text and "same is" not in text
    assert still_comparison.best(table.reset_index(), baseline="base") == "better"


def test_a_model_that_never_answers_a_class_is_named(data):
    one = collected(a=a_run("a", some(0.6, 1)))["a"]
    assert still_comparison.never_answered(one) == ""
    fold = np.where(np.arange(N) < N // 2, 0, 1)[None]
    posterior = one.posterior.copy()
    posterior[0, N // 2 :, 2] = 0
    failed = dataclasses.replace(one, posterior=posterior, fold=fold)
    assert still_comparison.never_answered(failed) == f"{CLASSES[2]} in fold 1"
    whole = dataclasses.replace(failed, posterior=np.where(np.arange(3) == 2, 0, one.posterior), fold=fold * 0)
    assert still_comparison.never_answered(whole) == CLASSES[2]
    table = still_comparison.summary({"a": failed}, baseline="a", seed=1)
    b = table.assign(variant="b", p_holm=0.5, never_answered="")
    text = still_comparison.verdict(pd.concat([table, b]))
    assert f"look at a ({CLASSES[2]} in fold 1)." in text and "b (" not in text


def test_a_variant_that_was_tested_on_fewer_stills_is_compared_on_those_in_common(data):
    base, fewer = some(0.5, 1), some(0.6, 2)
    found = collected(base=a_run("base", base), fewer=a_run("fewer", fewer, n=150))
    table = still_comparison.summary(found, baseline="base", seed=1).set_index("variant")
    assert table["stills"].to_dict() == {"base": N, "fewer": 150}
    assert table.loc["fewer", "difference"] == pytest.approx(fewer[:150].mean() - base[:150].mean())
    assert still_variants.common(found).tolist() == list(range(150))


def test_another_evaluation_has_its_own_baseline_and_is_no_gain(data):
    right = {name: some(share, k) for k, (name, share) in enumerate({"o": 0.5, "s": 0.6, "oc": 0.7, "sc": 0.8}.items())}
    careless = {"keep_duplicates_together": False, "protocol": "reference"}
    found = collected(
        o=a_run("o", right["o"]),
        s=a_run("s", right["s"], model="guided"),
        oc=a_run("oc", right["oc"], **careless),
        sc=a_run("sc", right["sc"], model="guided", **careless),
        alone=a_run("alone", right["s"], protocol="reference"),
    )
    table = still_comparison.summary(found, baseline="o", seed=1).set_index("variant")
    assert table["compared_with"].to_dict() == {"o": "", "s": "o", "oc": "", "sc": "oc", "alone": ""}
    assert table.loc["sc", ["protocol", "copies"]].tolist() == ["reference", "ANYWHERE"]
    assert still_comparison.best(table.reset_index(), baseline="o") == "s"
    blocks = still_comparison.forest_rows(table.reset_index()).set_index("variant")["protocol"]
    assert blocks["sc"] == "reference, copies ANYWHERE" and blocks["o"] == "nested, copies kept together"
    care = still_comparison.care(found, seed=1).set_index(["variant", "other"])
    assert set(care.index) == {("o", "oc"), ("o", "alone"), ("s", "sc")}
    row = care.loc[("s", "sc")]
    assert row["difference"] == pytest.approx(right["sc"].mean() - right["s"].mean())
    assert (row["accuracy"], row["other_accuracy"]) == (
        pytest.approx(right["s"].mean()),
        pytest.approx(right["sc"].mean()),
    )
    assert still_comparison.care({"o": found["o"]}, seed=1).empty


def test_confusion_is_the_mean_of_folds_and_recall_the_share_found(data):
    right = some(0.6, 3)
    one = collected(a=a_run("a", right))["a"]
    answer, fold = np.where(right, LABEL, (LABEL + 1) % 3), np.arange(N) % FOLDS
    expected = np.zeros((3, 3))
    for k in range(FOLDS):
        for row in range(3):
            of_class = answer[(fold == k) & (row == LABEL)]
            expected[row] += np.bincount(of_class, minlength=3) / len(of_class) / FOLDS
    np.testing.assert_allclose(still_comparison.confusion(one, n_classes=3), expected)
    counts = still_comparison.confusions({"a": one}, classes=CLASSES)
    assert counts["n"].sum() == N and set(counts["fold"]) == set(range(FOLDS))
    of_one = counts[(counts["fold"] == 2) & (counts["label"] == "positive")].set_index("answer")["n"]
    found = np.bincount(answer[(fold == 2) & (LABEL == 1)], minlength=3)
    assert of_one.to_dict() == {CLASSES[k]: found[k] for k in np.flatnonzero(found)}
    recall = still_comparison.recall({"a": one}, classes=CLASSES)
    np.testing.assert_allclose(recall.loc["a"], [right[k == LABEL].mean() for k in range(3)])


def test_stills_that_all_get_wrong_are_those_that_no_model_gets_right(data):
    rights = [some(0.6, 1), some(0.6, 2), some(0.6, 3)]
    found = collected(a=[a_run("a", rights[0]), a_run("a_s7", rights[1], seed=7)], b=a_run("b", rights[2], n=200))
    table = still_comparison.wrong_for_all(found, classes=CLASSES)
    expected = np.flatnonzero(~np.any(rights, axis=0))
    assert sorted(table["sample"]) == expected[expected < 200].tolist()
    assert (table["agreement"] == 1).all()  # a wrong answer is always the next class
    assert table["answer"].tolist() == [CLASSES[(LABEL[sample] + 1) % 3] for sample in table["sample"]]
    assert table["own_posterior"].is_monotonic_increasing and table["own_posterior"].max() < 0.34
    nobody = collected(a=a_run("all", np.ones(N, bool)))
    assert still_comparison.wrong_for_all(nobody, classes=CLASSES).empty


def test_numbers_of_right_and_wrong_stills_leave_out_what_is_not_known(data):
    right, table = some(0.6, 1), manifest()
    found = collected(a=a_run("a", right))
    described = still_comparison.described(found, table, ["valence", "arousal"], classes=CLASSES)
    assert set(described["column"]) == {"valence"} and described["n"].sum() == N - N // 10
    known = (table["valence"] >= -1).to_numpy()
    chosen = table["valence"].to_numpy()[known & ~right & (LABEL == 2)]
    row = described.set_index(["class", "answered"]).loc[("negative", "wrong")]
    assert (row["mean"], row["sd"], row["n"]) == (
        pytest.approx(chosen.mean()),
        pytest.approx(chosen.std(ddof=1)),
        len(chosen),
    )
    assert still_comparison.described(found, table, ["arousal"], classes=CLASSES).empty


def test_calibration_reads_the_stills_of_the_runs_themselves(data):
    first = {"a": a_run("a", some(0.6, 1)), "r": a_run("r", some(0.6, 1), protocol="reference")}
    known = still_variants.tested_or_validated(first)
    assert known["sample"].is_unique and len(known) == N
    table, curves = comparison.calibration_table(first, known, classes=CLASSES)
    assert table["temperature"].notna().tolist() == [True, False] and set(curves) == {"a", "a, tempered", "r"}


def test_an_ensemble_of_a_row_that_is_not_compared_is_refused(data):
    found = collected(a=a_run("a", some(0.6, 1)), b=a_run("b", some(0.6, 2)))
    assert list(still_variants.joint(found, {"both": ["a", "b"]})) == ["both"] and not still_variants.joint(found, {})
    with pytest.raises(ValueError, match="ensembles, 'both': c not compared; there are a, b"):
        still_variants.joint(found, {"both": ["a", "c"]})


def test_an_ensemble_answers_with_the_mean_posterior_of_all_models(data):
    runs_of = {
        "a": [a_run("a", some(0.6, 1)), a_run("a_s7", some(0.6, 2), seed=7)],
        "b": a_run("b", some(0.6, 3), n=200),
    }
    found = collected(**runs_of)
    joint = still_variants.ensemble("both", list(found.values()))
    expected = (found["a"].posterior[0, :200] + found["a"].posterior[1, :200] + found["b"].posterior[0]) / 3
    np.testing.assert_allclose(joint.posterior[0], expected, atol=1e-6)
    table = still_comparison.summary(found | {"both": joint}, baseline="a", seed=1).set_index("variant")
    assert table.loc["both", "accuracy"] == pytest.approx((expected.argmax(1) == LABEL[:200]).mean())
    assert table.loc["both", ["compared_with", "stills", "n_parameters"]].tolist() == ["a", 200, 15]
    with pytest.raises(ValueError, match="'both': two models"):
        still_variants.ensemble("both", [found["b"]])
    other = collected(c=a_run("c", some(0.6), protocol="reference"))["c"]
    with pytest.raises(ValueError, match="'both': c evaluated in another way than b"):
        still_variants.ensemble("both", [found["b"], other])


def test_a_stage_without_folds_is_calibrated_as_nested(data):
    run = a_run("x", some(0.6, 1), stage="classifier")
    del run.info["params"]["protocol"]
    assert still_variants.first_runs({"x": [run]})["x"].params["protocol"] == "nested"
    assert collected(x=run)["x"].protocol == "nested"


def test_runs_of_notebooks_02_and_13_under_one_split_are_compared(data):
    right = {"main": some(0.5, 1), "vgg": some(0.7, 2), "shared": some(0.5, 3)}
    of_02 = {"n_folds": 0, "used_splits": [], "max_pictures": 0}
    vgg = a_run("vgg", right["vgg"], stage="classifier", model="vgg")
    for name in still_variants.OF_EVALUATION:
        vgg.info["params"].pop(name, None)
    named = {"n_folds": 0, "used_splits": ["train", "test"], "max_pictures": 200}
    shared = a_run("shared", right["shared"], n=200, **named)
    found = collected(main=a_run("main", right["main"], **of_02), vgg=vgg, shared=shared)
    table = still_comparison.summary(found, baseline="main", seed=1).set_index("variant")
    assert table["compared_with"].to_dict() == {"main": "", "vgg": "main", "shared": "main"}
    assert table.loc["vgg", "difference"] == pytest.approx(right["vgg"].mean() - right["main"].mean())
    assert np.isfinite(table.loc["vgg", "p_holm"])


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        ({"used_splits": ["validation", "train"]}, True),
        ({"used_splits": ["train"]}, False),
        ({"max_pictures": 9}, False),
        ({"n_folds": 0}, False),
        ({"split_seed": 2020}, True),
        ({"split_seed": 1}, False),
    ],
)
def test_folds_over_other_stills_are_another_evaluation(data, other, alike):
    folds = {"used_splits": ["train", "validation"]}
    found = collected(a=a_run("a", some(0.6), **folds), b=a_run("b", some(0.6), **(folds | other)))
    assert (found["a"].evaluation == found["b"].evaluation) is alike


def test_models_of_one_split_that_learned_from_other_stills_do_not_learn_alike(data):
    one = {"n_folds": 0, "max_pictures": 0}
    given = {"a": one, "same": one | {"used_splits": []}, "fewer": one | {"max_pictures": 9, "protocol": "reference"}}
    found = collected(**{name: a_run(name, some(0.6), **params) for name, params in given.items()})
    assert found["a"].learning == found["same"].learning != found["fewer"].learning
    assert still_comparison.care(found, seed=1).empty


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"space": "affectnet7"}, "'b' answers in 'affectnet7', 'a' in 'valence3'"),
        ({"label": (LABEL + 1) % 3}, "different labels"),
    ],
)
def test_variants_that_cannot_be_compared_are_refused(data, other, says):
    with pytest.raises(ValueError, match=says):
        collected(a=a_run("a", some(0.6)), b=a_run("b", some(0.6), **other))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"protocol": "reference"}, "'a': protocol = 'reference' in one seed"),
        ({"n": 200}, "tested on different stills"),
    ],
)
def test_seeds_that_differ_in_more_are_refused(data, other, says):
    with pytest.raises(ValueError, match=says):
        collected(a=[a_run("a", some(0.6)), a_run("a_s7", some(0.6), seed=7, **other)])


def test_a_baseline_that_is_not_there_is_named(data):
    found = collected(a=a_run("a", some(0.6)))
    with pytest.raises(ValueError, match="baseline 'b' is not among the variants compared: a"):
        still_comparison.summary(found, baseline="b", seed=1)


def test_a_published_row_of_the_baseline_s_name_is_not_marked_as_the_baseline(data, drawn_and_closed):
    found = collected(original=a_run("original", some(0.6, 1)))
    rows = still_comparison.forest_rows(still_comparison.summary(found, baseline="original", seed=1))
    beside = still_comparison.published_rows(published.still_table("guided_fer2013"))
    ax = result_plots.forest(rows, published=beside, baseline="original")
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named.count("baseline: original") == 1
    assert {"original", "original (published)"} <= {text.get_text() for text in ax.get_yticklabels()}
    assert still_comparison.published_rows(published.still_table("")).empty


def test_figures_say_what_they_show(data, drawn_and_closed):
    found = collected(a=a_run("a", some(0.6, 1)), b=a_run("b", some(0.5, 2)))
    ax = still_plots.recall_heatmap(still_comparison.recall(found, classes=CLASSES))
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    described = still_comparison.described(found, manifest(), ["valence"], classes=CLASSES)
    ax = still_plots.right_and_wrong(described[described["variant"] == "a"], column="valence")
    assert [text.get_text() for text in ax.get_xticklabels()] == list(CLASSES)
    with pytest.raises(ValueError, match="one variant with 'valence'"):
        still_plots.right_and_wrong(described, column="valence")
    with pytest.raises(ValueError, match="'arousal'"):
        still_plots.right_and_wrong(described[described["variant"] == "a"], column="arousal")
