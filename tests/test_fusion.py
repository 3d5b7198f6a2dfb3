"""Late fusion: joined by id, learned within each fold, honest about what was seen, not stopped by a lost table."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from emolib import fusion, performance_results, performances, posteriors, published_posteriors
from emolib.fusion import methods
from emolib.labels import names

CLASSES = ("neutral", "positive", "negative")
N, N_FOLDS = 90, 3
REAL = Path(__file__).parents[1] / "../shared/data/ravdess_au_posteriors.zip"


def people() -> pd.DataFrame:
    table = pd.DataFrame({"performance": [f"p{k:02d}" for k in range(N)], "label": np.arange(N) % 3})
    return table.assign(subject=[f"s{k // 10}" for k in range(N)])


def said(table: pd.DataFrame, rng: np.random.Generator, sharpness: float) -> np.ndarray:
    """Posteriors that know the label the better the larger `sharpness`."""
    return softmax(rng.normal(0, 1, (len(table), 3)) + sharpness * np.eye(3)[table["label"]], axis=1)


def made(
    sharpness: float, *, seed: int, seeds=(1,), subsets=("train", "out_of_fold", "validation", "test")
) -> pd.DataFrame:
    """A posterior table: subject s<k> is tested in fold k % 3, validates in the next one and trains in the other.

    Of what was learned from, posteriors are far too good.
    """
    known, rng, parts = people(), np.random.default_rng(seed), []
    number = known["subject"].str[1:].astype(int).to_numpy()
    for of_seed in seeds:
        for fold in range(N_FOLDS):
            role = (number - fold) % 3
            for subset, rows in (
                ("train", role == 2),
                ("out_of_fold", role > 0),
                ("validation", role == 1),
                ("test", role == 0),
            ):
                if subset in subsets:
                    some = known[rows].sample(frac=1, random_state=seed + fold)  # rows have no order that counts
                    values = said(some, rng, 9.0 if subset == "train" else sharpness)
                    about = {"classes": CLASSES, "fold": fold, "subset": subset, "seed": of_seed}
                    parts.append(performances.posterior_table(some["performance"], values, **about))
    return pd.concat(parts, ignore_index=True)


def joined(missing="error", **changes) -> fusion.Joined:
    tables = {"face": made(1.5, seed=1), "voice": made(2.5, seed=2), "noise": made(0.0, seed=3)} | changes
    return fusion.join(
        {name: one for name, one in tables.items() if one is not None}, people(), classes=CLASSES, missing=missing
    )


def accuracy(table: pd.DataFrame, subset="test") -> float:
    found = performance_results.answers(table, people(), classes=CLASSES, subset=subset)
    return float(np.mean(found.predicted == found.true))


# ---- joining


def test_tables_are_joined_by_id_and_never_by_row():
    tables = {"a": made(1.5, seed=1), "b": made(2.5, seed=2)}
    found = fusion.join(tables, people(), classes=CLASSES)
    shuffled = {name: one.sample(frac=1, random_state=5) for name, one in tables.items()}
    again = fusion.join(shuffled, people().sample(frac=1, random_state=6), classes=CLASSES)
    pd.testing.assert_frame_equal(found.key, again.key)
    np.testing.assert_array_equal(found.posterior, again.posterior)
    known = people().set_index("performance").loc[found.key["performance"]]
    np.testing.assert_array_equal(found.label, known["label"])
    np.testing.assert_array_equal(found.subject, known["subject"])
    for place, one in enumerate(tables.values()):  # by hand, row by row
        looked = one.set_index(["subset", "fold", "seed", "performance"])[["p_neutral", "p_positive", "p_negative"]]
        for row in range(0, len(found.key), 17):
            np.testing.assert_allclose(found.posterior[row, place], looked.loc[tuple(found.key.iloc[row])])
    back = found.one("b").sort_values(["subset", "fold", "performance"], ignore_index=True)
    pd.testing.assert_frame_equal(back, tables["b"].sort_values(["subset", "fold", "performance"], ignore_index=True))


def test_a_table_of_one_seed_is_shared_and_others_must_agree():
    one, three, other = (
        made(1.0, seed=1, seeds=[9]),
        made(1.0, seed=2, seeds=[1, 2, 3]),
        made(1.0, seed=3, seeds=[1, 2]),
    )
    found = fusion.join({"one": one, "three": three}, people(), classes=CLASSES)
    assert sorted(found.key["seed"].unique()) == [1, 2, 3] and found.present.all()
    of_seeds = [found.posterior[found.key["seed"] == seed, 0] for seed in (1, 2, 3)]
    np.testing.assert_array_equal(of_seeds[0], of_seeds[1])
    np.testing.assert_array_equal(of_seeds[0], of_seeds[2])
    with pytest.raises(ValueError, match="must have the same ones"):
        fusion.join({"three": three, "other": other}, people(), classes=CLASSES)
    two = fusion.join({"one": one, "again": made(2.0, seed=4, seeds=[8])}, people(), classes=CLASSES)
    assert two.key["seed"].unique().tolist() == [9]


def test_what_only_one_table_has_is_an_error_or_listed():
    whole = made(1.5, seed=1)
    lost = ["p03", "p40"]
    less = whole[~whole["performance"].isin(lost)]
    with pytest.raises(ValueError, match=r"'voice' has no row of performance 'p03' in fold 0, .* 2 of test\)"):
        joined(voice=less)
    of_learning = whole["subset"].eq("test") | ~whole["performance"].isin(lost)
    fewer = joined(voice=whole[of_learning])
    assert fewer.present.all() and "test" not in set(fewer.unmatched["subset"])
    assert fewer.unmatched["performances"].tolist() == [2, 2, 2]
    moved = whole.assign(fold=(whole["fold"] + 1) % N_FOLDS)
    with pytest.raises(ValueError, match="but in fold 1: are the folds the same?"):
        joined(voice=moved)
    dropped = joined(voice=less, missing="drop")
    assert not dropped.key["performance"].isin(lost).any() and dropped.present.all()
    assert set(dropped.unmatched["table"]) == {"voice"} and (dropped.unmatched["performances"] == 2).all()
    assert dropped.unmatched["subset"].tolist() == ["train", "out_of_fold", "validation", "test"]
    kept = joined(voice=less, missing="answer")
    assert (~kept.present).sum() == kept.key["performance"].isin(lost).sum() > 0
    for method in methods.METHODS:
        done = fusion.fuse(kept, method=method).posteriors
        assert set(done.loc[done["subset"] == "test", "performance"]) == set(people()["performance"])


@pytest.mark.parametrize(
    ("tables", "options", "says"),
    [
        ({"a": made(1, seed=1)}, {}, r"tables: 1 received \(a\)"),
        ({"a": made(1, seed=1), "b": made(1, seed=2)}, {"missing": "keep"}, "'keep' received, allowed are error"),
        (
            {"a": made(1, seed=1, subsets=["test"]), "b": made(1, seed=2, subsets=["train"])},
            {},
            r"no subset is in all of them \(a: test; b: train\)",
        ),
        ({"a": made(1, seed=1), "b": made(1, seed=2).drop(columns="seed")}, {}, "table 'b': columns"),
    ],
)
def test_tables_that_cannot_be_joined_are_refused(tables, options, says):
    with pytest.raises(ValueError, match=says):
        fusion.join(tables, people(), classes=CLASSES, **options)


def test_a_performance_that_nobody_knows_is_named():
    with pytest.raises(ValueError, match="'p00' is answered, but not among the 89"):
        fusion.join({"a": made(1, seed=1), "b": made(1, seed=2)}, people()[1:], classes=CLASSES)


# ---- fusing


def test_the_mean_is_that_of_the_posteriors_or_their_logarithms():
    two = joined(noise=None)
    tested = two.key["subset"].eq("test").to_numpy()
    plain = two.posterior[tested].mean(axis=1)
    product = np.sqrt(two.posterior[tested].prod(axis=1))
    for inputs, expected in (("posteriors", plain), ("log_posteriors", product)):
        done = fusion.fuse(two, method="mean", inputs=inputs).posteriors
        found = two.key[tested].merge(done, how="left", on=["subset", "fold", "seed", "performance"])
        expected = expected / expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[["p_neutral", "p_positive", "p_negative"]], expected, atol=1e-6)


@given(st.integers(0, 1000), st.sampled_from(sorted(methods.METHODS)), st.sampled_from(methods.INPUTS[:2]))
@settings(max_examples=20, deadline=None)
def test_answers_are_posteriors_of_every_tested_performance(seed, method, inputs):
    some = joined(face=made(1.0, seed=seed), noise=None)
    done = fusion.fuse(some, method=method, inputs=inputs).posteriors
    posteriors.check(done, classes=CLASSES, where="fused", layout=posteriors.PERFORMANCES)
    assert (done["subset"] == "test").sum() == N and set(done["subset"]) == {"validation", "test"}


def test_weights_find_the_better_table_and_are_those_of_a_plain_optimiser():
    some = joined()
    for inputs in methods.INPUTS[:2]:
        done = fusion.fuse(some, method="weighted", inputs=inputs)
        by_table = done.weights.groupby("table")["weight"].mean()
        assert by_table["voice"] > by_table["face"] > by_table["noise"]
        sums = done.weights.groupby(["fold", "seed"])["weight"].sum()
        np.testing.assert_allclose(sums, 1, atol=1e-6)
        assert (done.weights["weight"] >= 0).all()
        rows = fusion.fusing.rows_to_learn(some, fold=1, seed=1, learn_from="validation")
        posterior, label = some.posterior[rows], some.label[rows]

        sharp = minimize(
            lambda x, p=posterior, y=label: -log_softmax(np.exp(x) * np.log(p).mean(axis=1), axis=1)[
                np.arange(len(y)), y].sum() + x[0] ** 2 / 2, [0.0], method="Nelder-Mead", options={"xatol": 1e-9},
        ).x[0]  # fmt: skip

        def loss(free, inputs=inputs, posterior=posterior, label=label, sharp=sharp):
            if inputs == "posteriors":  # one more row for each table
                mixed = np.einsum("nmc,m->nc", posterior, softmax(free))
                return -np.log(mixed[np.arange(len(label)), label]).sum() - np.log(softmax(free)).sum()
            scores = np.einsum("nmc,m->nc", np.log(posterior), np.exp(free + sharp) / 3)
            said = log_softmax(scores, axis=1)[np.arange(len(label)), label]
            return -said.sum() + 0.5 * np.sum((np.exp(free) - 1) ** 2)

        found = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"maxiter": 20000, "xatol": 1e-8})
        own = done.weights[done.weights["fold"] == 1].set_index("table")["weight"].loc[list(some.names)]
        np.testing.assert_allclose(own, softmax(found.x), atol=1e-3)  # exp(x) / sum(exp(x)): the weights of both


def test_weights_do_not_depend_on_how_soft_all_tables_are():
    some = joined()
    weights = {}
    for power in (0.05, 1.0):
        done = fusion.fuse(some, method="weighted", powers=power)
        weights[power] = done.weights.set_index(["table", "fold"])["weight"]
        assert accuracy(done.posteriors) > 0.75
    np.testing.assert_allclose(weights[0.05], weights[1.0], atol=0.15)


def test_a_regression_is_that_of_scikit_learn_on_the_folds_own_rows():
    some = joined()
    done = fusion.fuse(some, method="logistic_regression", learn_from="validation", inputs="posteriors").posteriors
    for fold in range(N_FOLDS):
        parts = {}
        for subset in ("validation", "test"):
            rows = ((some.key["fold"] == fold) & (some.key["subset"] == subset)).to_numpy()
            parts[subset] = (some.posterior[rows].reshape(rows.sum(), -1), some.label[rows], some.key[rows])
        (x, y, _), (new, _, key) = parts["validation"], parts["test"]
        low, high = x.min(axis=0), x.max(axis=0)
        model = LogisticRegression(C=1.0, max_iter=2000).fit((x - low) / (high - low), y)
        expected = model.predict_proba((new - low) / (high - low))
        found = key.merge(done, on=["subset", "fold", "seed", "performance"])
        np.testing.assert_allclose(found[["p_neutral", "p_positive", "p_negative"]], expected, atol=1e-4)


def test_a_fold_learns_nothing_from_the_test_nor_from_other_folds():
    base = joined()
    for method in ("weighted", "logistic_regression", "stacking"):
        in_order = {"by": ["subset", "fold", "performance"], "ignore_index": True}
        before = fusion.fuse(base, method=method).posteriors.sort_values(**in_order)
        label = base.label.copy()
        elsewhere = (base.key["subset"].eq("test") | base.key["fold"].ne(0)).to_numpy()
        label[elsewhere] = (label[elsewhere] + 1) % 3
        changed = fusion.Joined(**{**vars(base), "label": label})
        after = fusion.fuse(changed, method=method).posteriors.sort_values(**in_order)
        of_fold = (before["fold"] == 0).to_numpy()
        pd.testing.assert_frame_equal(before[of_fold], after[of_fold])
        assert not before[~of_fold].equals(after[~of_fold])


def test_seen_posteriors_teach_the_wrong_lesson():
    # of the noise, too, the posteriors of clips that were learned from look perfect: stacking is not taken in by that
    seen = accuracy(fusion.fuse(joined(), method="logistic_regression").posteriors)
    stacked = accuracy(fusion.fuse(joined(), method="stacking").posteriors)
    assert stacked > seen
    assert fusion.learned_as("logistic_regression", None) == "seen"
    assert fusion.learned_as("stacking", None) == "out_of_fold" and fusion.learned_as("mean", None) == "nothing"


def test_other_folds_learn_from_test_posteriors_of_other_subjects():
    only_test = {name: made(value, seed=k, subsets=["test"]) for k, (name, value) in enumerate(
        {"face": 1.5, "voice": 2.5, "noise": 0.0}.items())}  # fmt: skip
    some = fusion.join(only_test, people(), classes=CLASSES)
    rows = fusion.fusing.rows_to_learn(some, fold=1, seed=1, learn_from="other_folds")
    assert set(some.key["fold"].iloc[rows]) == {0, 2} and set(some.key["subset"].iloc[rows]) == {"test"}
    done = fusion.fuse(some, method="logistic_regression", learn_from="other_folds")
    assert accuracy(done.posteriors) > 0.6
    with pytest.raises(ValueError, match="'validation' received, but fold 0 has none; all tables have test"):
        fusion.fuse(some, method="weighted")
    assert fusion.protocol_of(["nested"], learned_from=["other_folds"]) == "reference"
    assert fusion.protocol_of(["nested", "reference"], learned_from=["nothing"]) == "reference"
    assert fusion.protocol_of(["nested", "nested"], learned_from=["out_of_fold"]) == "nested"


def test_powers_and_temperatures_change_how_sure_tables_are():
    two = joined(noise=None)
    softer = fusion.fuse(two, method="mean", powers={"face": 1e-9}).posteriors
    alone = two.one("voice")  # a flat table leaves the other's answer as it is
    assert accuracy(softer) == accuracy(alone[alone["subset"] == "test"])
    sharp = made(2.5, seed=2)
    columns = ["p_neutral", "p_positive", "p_negative"]
    powered = sharp[columns].to_numpy() ** 4
    sharp[columns] = (powered / powered.sum(axis=1, keepdims=True)).astype(np.float32)
    done = fusion.fuse(joined(voice=sharp, noise=None), temperature_from="validation")
    plain = fusion.fuse(two, temperature_from="validation")
    ratio = (
        done.weights.set_index(["table", "fold"])["temperature"]
        / plain.weights.set_index(["table", "fold"])["temperature"]
    )
    np.testing.assert_allclose(ratio.loc["voice"], 4, rtol=0.02)  # and its inverse undoes the sharpening
    np.testing.assert_allclose(ratio.loc["face"], 1, rtol=1e-6)


@pytest.mark.parametrize("method", list(methods.METHODS))
def test_a_lost_table_is_answered_by_the_others(method):
    some = joined()
    without = fusion.fuse(some, method=method, absent=["voice"]).posteriors
    fewer = fusion.fuse(joined(voice=None), method=method).posteriors
    keys = ["subset", "fold", "seed", "performance"]
    both = without.merge(fewer, on=keys, suffixes=("", "_fewer"))
    assert len(both) == len(without) == len(fewer)
    for name in ("p_neutral", "p_positive", "p_negative"):
        np.testing.assert_allclose(both[name], both[f"{name}_fewer"], atol=1e-5)
    table = fusion.missing_tables(some, people(), method=method)
    assert table["missing"].tolist() == ["none", "face", "voice", "noise"] and table["left"].tolist() == [3, 2, 2, 2]
    row = table.set_index("missing").loc["voice"]
    assert row["accuracy"] == pytest.approx(accuracy(without)) and row["low"] <= row["accuracy"] <= row["high"]
    with pytest.raises(ValueError, match="no table is left to answer it"):
        fusion.fuse(some, method=method, absent=list(some.names))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "vote"}, "'vote' received, allowed are mean, weighted"),
        ({"method": "mean", "learn_from": "train"}, "for 'mean' allowed are ''"),
        ({"method": "stacking", "learn_from": "train"}, "for 'stacking' allowed are 'out_of_fold'"),
        ({"method": "weighted", "learn_from": "test"}, "'test' received"),
        ({"inputs": "scores"}, "'scores' received, allowed are log_posteriors, posteriors, logits"),
        ({"inputs": "logits"}, "logits of 'face' received, but they are not known"),
        ({"inputs": {"hands": "posteriors"}}, "hands received, allowed are face, voice, noise"),
        ({"inputs": {"face": "posteriors"}}, "needs one kind for all tables"),
        ({"scaling": "robust"}, "'robust' received"),
        ({"C": 0}, "C: 0 received"),
        ({"powers": -1.0}, "-1.0 received, positive numbers"),
        ({"temperature_from": "test"}, "'test' received"),
        ({"absent": ["hands"]}, "hands received"),
    ],
)
def test_what_is_not_allowed_is_named(options, says):
    with pytest.raises(ValueError, match=says):
        fusion.fuse(joined(), **options)


def test_a_class_without_a_row_to_learn_from_gets_nothing():
    some = joined()
    label = np.where(some.label == 2, 1, some.label)
    done = fusion.fuse(fusion.Joined(**{**vars(some), "label": label}), method="stacking").posteriors
    assert (done["p_negative"] == 0).all()


# ---- comparing


def test_each_table_alone_agreement_and_choice():
    some = joined()
    tables = {name: some.one(name) for name in some.names}
    single = fusion.alone(tables, people(), some).set_index("table")
    for name, one in tables.items():
        assert single.loc[name, "accuracy"] == pytest.approx(accuracy(one))
    shares = fusion.agreement(some).set_index(["first", "second"])
    answers = {
        name: performance_results.answers(one, people(), classes=CLASSES).predicted[0] for name, one in tables.items()
    }
    true = people()["label"].to_numpy()
    row = shares.loc[("face", "voice")]
    assert row["both_right"] == pytest.approx(np.mean((answers["face"] == true) & (answers["voice"] == true)))
    assert row["both_wrong"] == pytest.approx(np.mean((answers["face"] != true) & (answers["voice"] != true)))
    assert row[["both_right", "only_first", "only_second", "both_wrong"]].sum() == pytest.approx(1)
    every = shares.loc[("all tables", "")]
    assert every["both_wrong"] <= shares["both_wrong"].min() and every["either_right"] == 1 - every["both_wrong"]
    for choose_by in ("", "validation", "other_folds"):
        best, chosen = fusion.chosen_alone(some, choose_by=choose_by)
        assert set(chosen["table"]) == {"voice"} and len(best) == N
        assert accuracy(best) == pytest.approx(accuracy(tables["voice"]))
    with pytest.raises(ValueError, match="'test' received, allowed are validation, other_folds"):
        fusion.chosen_alone(some, choose_by="test")


def test_comparing_pairs_performances_whatever_the_number_of_seeds():
    one, three = made(2.0, seed=1), made(2.0, seed=2, seeds=[1, 2, 3])
    found = fusion.compare(three, one, people(), classes=CLASSES)
    difference = np.mean([accuracy_score(people()["label"], said) for said in performance_results.answers(
        three, people(), classes=CLASSES).predicted]) - accuracy(one)  # fmt: skip
    assert found.difference == pytest.approx(difference) and found.n_subjects == 9
    same = fusion.compare(one, one, people(), classes=CLASSES)
    assert same.difference == 0 and same.p_value == 1


# ---- the published fusion


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    if not REAL.is_file():
        pytest.skip("../shared/data/ravdess_au_posteriors.zip is not here")
    folder = tmp_path_factory.mktemp("published")
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(folder)
    tables = {name: published_posteriors.read(folder, name) for name in ("wav2vec", "au_bilstm", "au_mlp")}
    known = published_posteriors.performances_of(tables["wav2vec"])
    constants = {name: published_posteriors.logit_constants(folder, name) for name in ("wav2vec", "au_bilstm")}
    return known, fusion.join(tables, known, classes=names("ravdess8"), constants=constants)


@pytest.mark.parametrize(
    ("of_lstm_and_speech", "expected"), [("logits", 86.70), ("log_posteriors", 86.53), ("posteriors", 83.30)]
)
def test_the_published_fusion_is_reproduced(published, of_lstm_and_speech, expected):
    # mean of folds, %: from logits, as published, and from what is left of them after a softmax
    known, some = published
    inputs = {"wav2vec": of_lstm_and_speech, "au_bilstm": of_lstm_and_speech, "au_mlp": "posteriors"}
    options = {"method": "logistic_regression", "learn_from": "train", "scaling": "minmax", "C": 1.0}
    done = fusion.fuse(some, inputs=inputs, **options)
    found = performance_results.summary(done.posteriors, known, classes=some.classes).set_index("metric")
    assert 100 * found.loc["accuracy", "mean_of_folds"] == pytest.approx(expected, abs=0.005)


def test_logits_are_known_or_refused(published):
    _, some = published
    for options, says in (
        ({"inputs": "logits"}, "logits of 'au_mlp' received, but they are not known"),
        ({"inputs": {"wav2vec": "logits"}, "powers": 0.5}, "logits of 'wav2vec' received, which have no powers"),
    ):
        with pytest.raises(ValueError, match=says):
            fusion.fuse(some, **options)
    # a constant a row changes no sum's softmax
    both = {"method": "mean", "inputs": "log_posteriors"}, {"method": "mean", "inputs": {"wav2vec": "logits"}}
    first, second = (fusion.fuse(some, **options).posteriors for options in both)
    columns = list(first.filter(regex="^p_"))
    np.testing.assert_allclose(first[columns], second[columns], atol=1e-6)


# ---- performances that one table alone has


def test_what_is_left_without_a_table_is_asked_of_the_others_alone():
    voice = made(2.5, seed=2)
    tables = {"face": made(1.5, seed=1), "voice": voice[voice["performance"] != "p03"]}
    found = fusion.join(tables, people(), classes=CLASSES, missing="answer")
    left = fusion.missing_tables(found, people(), method="mean").set_index("missing")
    assert left["n"].to_dict() == {"none": N, "face": N - 1, "voice": N}


def test_the_single_table_is_chosen_by_the_rows_that_all_have():
    tables = {"face": made(0.0, seed=1), "voice": made(2.5, seed=2)}
    for name, gone in (("face", "p00"), ("voice", "p11")):
        tables[name] = tables[name][tables[name]["performance"] != gone]
    found = fusion.join(tables, people(), classes=CLASSES, missing="answer")
    chosen = fusion.chosen_alone(found)[1]
    assert set(chosen["table"]) == {"voice"} and (chosen["accuracy"] > 0.5).all()


def test_a_fold_without_validation_rows_stops_no_way_to_fuse_that_needs_none():
    tables = {"face": made(1.5, seed=1), "voice": made(2.5, seed=2)}
    tables = {k: one[(one["subset"] != "validation") | (one["fold"] != 0)] for k, one in tables.items()}
    found = fusion.join(tables, people(), classes=CLASSES)
    shown = fusion.by_method(found, people())
    assert "mean" in set(shown["method"]) and "validation" not in set(shown["learned_from"])
    assert set(fusion.chosen_alone(found)[1]["chosen_by"]) == {"other_folds"}
