"""Folds: nobody is in two parts, everybody is tested once, and the order of rows does not matter."""

import warnings

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from emolib import folds


def manifest(n_subjects=10, n_classes=3, repeats=2):
    subject = np.repeat([f"{s:02d}" for s in range(1, n_subjects + 1)], n_classes * repeats)
    return pd.DataFrame({"subject": subject, "label": np.tile(np.arange(n_classes), n_subjects * repeats)})


def test_ravdess_folds_are_the_published_ones_and_cover_the_24_actors_once():
    by_hand = [[2, 5, 14, 15, 16], [3, 6, 7, 13, 18], [10, 11, 12, 19, 20], [8, 17, 21, 23, 24], [1, 4, 9, 22]]
    assert [[int(actor) for actor in tested] for tested in folds.RAVDESS_FOLDS] == by_hand
    assert sorted(a for tested in folds.RAVDESS_FOLDS for a in tested) == [f"{a:02d}" for a in range(1, 25)]
    made = folds.make_folds(manifest(24, 8), n_folds=5, seed=0, folds=folds.NAMED_FOLDS["ravdess"])
    assert set(manifest(24, 8)["subject"].iloc[made[4].test]) == {"01", "04", "09", "22"}


@settings(max_examples=60, deadline=None)
@given(
    n_subjects=st.integers(4, 30),
    n_folds=st.integers(2, 4),
    seed=st.integers(0, 10_000),
    protocol=st.sampled_from(folds.PROTOCOLS),
    share=st.floats(0.05, 0.5),
)
def test_parts_are_disjoint_in_subjects_and_every_row_is_tested_once(n_subjects, n_folds, seed, protocol, share):
    rows = manifest(n_subjects).sample(frac=1, random_state=seed).reset_index(drop=True)
    if protocol == "nested" and n_subjects - -(-n_subjects // n_folds) < 2:
        return  # one training subject: tested as an error below
    made = folds.make_folds(rows, n_folds=n_folds, protocol=protocol, seed=seed, validation_subjects_share=share)
    who = [
        {part: set(rows["subject"].iloc[getattr(f, part)]) for part in ("train", "validation", "test")} for f in made
    ]
    for fold, parts in zip(made, who, strict=True):
        assert not parts["train"] & parts["test"] and not parts["train"] & parts["validation"]
        if protocol == "nested":
            assert not parts["validation"] & parts["test"] and parts["train"] and parts["validation"]
            assert len(fold.train) + len(fold.validation) + len(fold.test) == len(rows)
        else:
            np.testing.assert_array_equal(fold.validation, fold.test)
            assert len(fold.train) + len(fold.test) == len(rows)
    np.testing.assert_array_equal(np.sort(np.concatenate([f.test for f in made])), np.arange(len(rows)))


@given(counts=st.lists(st.integers(1, 60), min_size=5, max_size=40), seed=st.integers(0, 1000))
def test_subject_folds_differ_by_one_subject_at_most_and_balance_rows(counts, seed):
    subject = np.repeat([f"s{k}" for k in range(len(counts))], counts)
    fold = folds.subject_folds(subject, n_folds=5, seed=seed)
    per_subject = pd.DataFrame({"s": subject, "f": fold}).groupby("s")["f"].agg(["nunique", "first"])
    assert (per_subject["nunique"] == 1).all()
    n_subjects = np.bincount(per_subject["first"], minlength=5)
    assert n_subjects.max() - n_subjects.min() <= 1
    # dealt largest to smallest fold: no two folds ever differ by more than the largest subject has
    rows = np.bincount(fold, minlength=5)
    assert rows.max() - rows.min() <= max(counts)


def test_folds_depend_on_the_seed_alone_not_on_the_order_of_rows():
    subject = manifest(12)["subject"].to_numpy()
    shuffled = np.random.default_rng(3).permutation(len(subject))
    fold = folds.subject_folds(subject, n_folds=4, seed=5)
    np.testing.assert_array_equal(folds.subject_folds(subject[shuffled], n_folds=4, seed=5), fold[shuffled])
    assert any((folds.subject_folds(subject, n_folds=4, seed=s) != fold).any() for s in range(6, 9))


def test_validation_share_is_of_the_training_subjects():
    made = folds.make_folds(manifest(20), n_folds=5, seed=1, validation_subjects_share=0.25)
    assert [len(set(manifest(20)["subject"].iloc[f.validation])) for f in made] == [4] * 5  # a quarter of 16
    assert len({tuple(f.validation) for f in made}) > 1


def test_only_the_rows_given_are_used_by_their_position():
    rows = manifest(10).iloc[::3]  # index has gaps, positions have none
    made = folds.make_folds(rows, n_folds=5, seed=0)
    assert max(f.test.max() for f in made) == len(rows) - 1
    assert made[0].train.dtype == np.int64


@pytest.mark.filterwarnings("ignore:fold 2")  # its validation subject is the one without class 2
def test_a_class_missing_in_a_part_is_named_in_a_warning():
    rows = manifest(6)
    rows = rows[~((rows["subject"] == "03") & (rows["label"] == 2))]
    with pytest.warns(folds.MissingClassWarning, match=r"fold 0: test has no sample of class\(es\) \[2\]"):
        folds.make_folds(rows, n_folds=3, seed=0, folds=[["03"], ["01", "02"], ["04", "05", "06"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds.make_folds(manifest(6), n_folds=2, seed=0)


def test_given_folds_pass_over_absent_subjects():
    made = folds.make_folds(manifest(4), n_folds=2, seed=0, folds=[["01", "02", "77"], ["03", "04"]])
    assert set(manifest(4)["subject"].iloc[made[0].test]) == {"01", "02"}


def test_stratified_folds_spread_every_class_and_keep_groups_together():
    rng = np.random.default_rng(0)
    label = rng.choice(3, 300, p=[0.7, 0.2, 0.1])
    fold = folds.stratified_folds(label, n_folds=5, seed=2020)
    for k in range(3):
        count = np.bincount(fold[label == k], minlength=5)
        assert count.max() - count.min() <= 1
    group = rng.integers(0, 100, 300)
    grouped = pd.Series(folds.stratified_folds(label, n_folds=5, seed=2020, groups=group))
    assert (grouped.groupby(group).nunique() == 1).all() and set(grouped) == set(range(5))
    np.testing.assert_array_equal(fold, folds.stratified_folds(label, n_folds=5, seed=2020))


def test_equal_pixels_and_equal_people_are_one_group():
    images = np.zeros((5, 4, 4), dtype=np.uint8)
    images[[0, 1, 2, 3, 4], 0, 0] = [1, 2, 1, 3, 4]
    group = folds.still_groups(images, ["a", "b", "c", "c", "d"])  # 0 = 2 by pixels, 2 = 3 by person
    assert group[0] == group[2] == group[3] and len({group[0], group[1], group[4]}) == 3


def test_one_photograph_encoded_or_shifted_is_a_near_copy():
    rng = np.random.default_rng(0)
    images = np.stack([cv2.resize(rng.integers(0, 256, (6, 6), dtype=np.uint8), (48, 48)) for _ in range(40)])
    recoded = cv2.imdecode(cv2.imencode(".jpg", images[3], [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
    lighter = np.clip(images[5] * 0.7 + 50, 0, 255).astype(np.uint8)
    shifted = np.roll(images[7], 1, axis=1)
    grey = np.full((2, 48, 48), 90, np.uint8)
    images = np.concatenate([images, [recoded, lighter, shifted], grey])
    assert folds.near_copies(images).tolist() == [[3, 40], [5, 41], [7, 42]]
    assert folds.near_copies(images[:1]).shape == (0, 2)
    people = np.arange(len(images)).astype(str)
    exact, near = (folds.still_groups(images, people, near=near) for near in (False, True))
    assert len(set(exact)) == len(images) - 1 and exact[43] == exact[44]
    assert len(set(near)) == len(images) - 4 and all(near[a] == near[b] for a, b in ((3, 40), (5, 41), (7, 42)))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_folds=st.integers(2, 5),
    protocol=st.sampled_from(folds.PROTOCOLS),
    share=st.floats(0.1, 0.5),
    grouped=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::emolib.folds.MissingClassWarning")  # a class may lie in few groups
def test_folds_of_stills_test_each_once_and_part_no_group(seed, n_folds, protocol, share, grouped):
    rng = np.random.default_rng(seed)
    label, usable = rng.integers(0, 3, 400), rng.random(400) < 0.9
    group = rng.integers(0, 250, 400) if grouped else None
    options = {"n_folds": n_folds, "protocol": protocol, "validation_share": share, "groups": group, "seed": seed}
    made = folds.still_folds(label, usable, **options)
    np.testing.assert_array_equal(np.sort(np.concatenate([f.test for f in made])), np.flatnonzero(usable))
    for fold in made:
        learned, validated, tested = (set(rows.tolist()) for rows in (fold.train, fold.validation, fold.test))
        assert learned and validated and not learned & tested and not learned & validated
        assert learned | validated | tested == set(np.flatnonzero(usable).tolist())
        assert (validated == tested) if protocol == "reference" else not validated & tested
        if grouped:
            parts = [set(group[rows]) for rows in (fold.train, fold.validation, fold.test)]
            assert not parts[0] & parts[2] and not parts[0] & parts[1]
            assert protocol == "reference" or not parts[1] & parts[2]
        else:
            assert len(tested) == pytest.approx(usable.sum() / n_folds, abs=4)
            if protocol == "nested":
                assert len(validated) == pytest.approx(len(learned | validated) / round(1 / share), abs=4)
    again = folds.still_folds(label, usable, **options)
    np.testing.assert_array_equal(again[1].train, made[1].train)


@given(seed=st.integers(0, 10_000), n_folds=st.integers(2, 6), n_groups=st.integers(20, 300))
@settings(max_examples=30, deadline=None)
def test_dealt_folds_keep_groups_together_and_are_even(seed, n_folds, n_groups):
    rng = np.random.default_rng(seed)
    label = rng.choice(3, 300, p=[0.7, 0.2, 0.1])
    group = rng.integers(0, n_groups, 300)
    fold = folds.dealt_folds(label, group, n_folds=n_folds, seed=seed)
    assert (pd.Series(fold).groupby(group).nunique() == 1).all()
    largest = np.bincount(group).max()
    for k in range(3):
        count = np.bincount(fold[label == k], minlength=n_folds)
        assert count.max() - count.min() <= 2 * largest + 2
    np.testing.assert_array_equal(fold, folds.dealt_folds(label, group, n_folds=n_folds, seed=seed))


def test_dealt_folds_of_rows_alone_are_as_even_as_can_be():
    label = np.random.default_rng(0).choice(3, 300, p=[0.7, 0.2, 0.1])
    fold = folds.dealt_folds(label, np.arange(300), n_folds=5, seed=1)
    for k in range(3):
        count = np.bincount(fold[label == k], minlength=5)
        assert count.max() - count.min() <= 1
    assert (fold != folds.dealt_folds(label, np.arange(300), n_folds=5, seed=2)).any()


def test_folds_of_stills_without_groups_are_those_of_scikit_learn():
    label = np.random.default_rng(1).integers(0, 3, 200)
    made = folds.still_folds(label, np.ones(200, bool), n_folds=5, protocol="reference", seed=2020)
    expected = StratifiedKFold(5, shuffle=True, random_state=2020).split(label, label)
    for fold, (train, test) in zip(made, expected, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, test)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"protocol": "loose"}, "'loose'.*nested, reference"),
        ({"validation_share": 0.6}, "validation_share = 0.6"),
        ({"n_folds": 30}, "n_folds = 30.*class"),
    ],
)
def test_folds_of_stills_that_cannot_be_made_are_errors(options, says):
    with pytest.raises(ValueError, match=says):
        folds.still_folds(np.arange(60) % 3, np.ones(60, bool), **({"n_folds": 5, "seed": 0} | options))


def stills(n_subjects=60, per_subject=5, split=""):
    rows = manifest(n_subjects, n_classes=per_subject, repeats=1)
    return rows.assign(split=split)


def who(rows, split):
    return [set(rows["subject"].iloc[getattr(split, part)]) for part in ("train", "validation", "test")]


SHARES = {"validation_share": 0.15, "test_share": 0.15, "seed": 3}


@pytest.mark.parametrize("per_subject", [1, 5])
def test_stills_without_a_split_get_one_by_subject_of_about_the_shares(per_subject):
    rows = stills(300 // per_subject, per_subject)
    rows["label"] = np.arange(300) % 3
    usable = np.arange(300) % 10 > 0
    split = folds.split_stills(rows, rows["label"], usable, **SHARES)
    assert not set.union(*who(rows, split)) - set(rows["subject"]) and sum(map(len, who(rows, split))) <= len(
        set(rows.subject)
    )
    assert [len(split.validation), len(split.test)] == pytest.approx([0.15 * 270] * 2, rel=0.3)
    np.testing.assert_array_equal(split.part == "", ~usable)
    assert len(split.train) + len(split.validation) + len(split.test) == usable.sum()
    for part in ("train", "validation", "test"):
        assert (split.part[getattr(split, part)] == part).all()
        assert set(rows["label"].iloc[getattr(split, part)]) == {0, 1, 2}


def test_the_corpus_own_split_is_kept_and_a_part_that_it_lacks_comes_out_of_its_training_rows():
    rows = stills(60)
    rows["split"] = np.where(rows["subject"] <= "45", "train", "validation")
    split = folds.split_stills(rows, rows["label"], np.ones(len(rows), bool), **SHARES)
    train, validation, test = who(rows, split)
    assert validation == {f"{k}" for k in range(46, 61)}
    assert train | test == {f"{k:02d}" for k in range(1, 46)} and not train & test and test


def test_pixel_duplicates_across_the_corpus_own_parts_are_not_trained_on():
    rows = stills(6).assign(subject=[f"i{k}" for k in range(30)], duplicate_group=[f"g{k}" for k in range(30)])
    rows["split"] = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5
    rows.loc[[0, 20], "duplicate_group"] = "twice"  # train and validation
    rows.loc[[1, 25], "duplicate_group"] = "thrice"  # train and test
    rows.loc[[21, 26], "duplicate_group"] = "also"  # validation and test
    split = folds.split_stills(rows, rows["label"] * 0, np.ones(30, bool), **SHARES)
    assert np.flatnonzero(split.part == "").tolist() == [0, 1, 21]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"validation_share": 0.0}, "shares in"),
        ({"test_share": 0.6}, "0.6"),
        ({"usable": np.ones(3, bool)}, "3 usable"),
        ({"split": ["train"] * 4 + [""] * 296}, "row 4 has no split"),
        ({"label": np.r_[np.zeros(298, int), 1, 1]}, "class 1 has 2 samples"),
    ],
)
def test_stills_that_cannot_be_split_are_errors(change, says):
    rows = stills(60)
    rows["split"] = change.pop("split", "")
    label, usable = change.pop("label", rows["label"]), change.pop("usable", np.ones(300, bool))
    with pytest.raises(ValueError, match=says):
        folds.split_stills(rows, label, usable, **(SHARES | change))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_folds": 5}, "n_folds = 5: 4 subjects"),
        ({"n_folds": 1}, "n_folds = 1"),
        ({"n_folds": 2, "protocol": "loose"}, "'loose'.*nested, reference"),
        ({"n_folds": 2, "validation_subjects_share": 0.0}, "validation_subjects_share = 0.0"),
        ({"n_folds": 2, "validation_subjects_share": 0.9}, "2 training subjects"),
        ({"n_folds": 3, "folds": [["01"], ["02"]]}, "n_folds = 3.*of 2"),
        ({"n_folds": 2, "folds": [["01", "02"], ["02", "03", "04"]]}, r"\['02'\]"),
        ({"n_folds": 2, "folds": [["01"], ["02", "03"]]}, r"\['04'\] of the manifest are in no fold"),
        ({"n_folds": 2, "folds": [["01", "02", "03", "04"], ["09"]]}, "none of fold 1"),
    ],
)
def test_folds_that_cannot_be_made_are_errors(options, says):
    with pytest.raises(ValueError, match=says):
        folds.make_folds(manifest(4), seed=0, **options)


def test_a_row_without_a_subject_is_named():
    rows = manifest(4)
    rows.loc[5, "subject"] = ""
    with pytest.raises(ValueError, match="row 5: subject ''"):
        folds.make_folds(rows, n_folds=2, seed=0)


@pytest.mark.parametrize(
    ("label", "groups", "says"),
    [([0, 0, 0, 1], None, "class 1 has 1"), ([], None, "no samples"), ([0, 0, 1, 1], [1, 2], "2 groups for 4")],
)
def test_stratified_folds_that_cannot_be_made_are_errors(label, groups, says):
    with pytest.raises(ValueError, match=says):
        folds.stratified_folds(label, n_folds=2, seed=0, groups=groups)
