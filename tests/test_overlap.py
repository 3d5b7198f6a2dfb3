"""Overlap of kept frames against sets of samples, and its chance level against random choices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib import evaluation, overlap


def frame_list(keep, *, fold=0, first=0):
    return pd.DataFrame({"sample": np.arange(first, first + len(keep)), "fold": fold, "keep": np.array(keep, bool)})


@pytest.fixture
def keeps():
    rng = np.random.default_rng(0)
    lists = {}
    for name, share in {"all": 1.0, "p50": 0.5, "random": 0.5, "strict": 0.1}.items():
        folds = [frame_list(rng.random(40) < share, fold=k, first=10 * k) for k in range(3)]
        lists[name] = pd.concat(folds).sample(frac=1, random_state=int(10 * share))  # the order of rows does not matter
    return lists


def test_every_pair_and_fold_is_what_sets_of_samples_say(keeps):
    table = overlap.table(keeps)
    assert list(table) == ["a", "b", "fold", "jaccard", "share_of_a", "share_of_b", "by_chance"]
    assert len(table) == 6 * (3 + 1)
    for row in table[table["fold"] >= 0].itertuples():
        a, b = (set(t.loc[(t["fold"] == row.fold) & t["keep"], "sample"]) for t in (keeps[row.a], keeps[row.b]))
        assert row.jaccard == pytest.approx(len(a & b) / len(a | b))
        assert (row.share_of_a, row.share_of_b) == pytest.approx((len(a & b) / len(a), len(a & b) / len(b)))
        masks = [t[t["fold"] == row.fold].sort_values("sample")["keep"] for t in (keeps[row.a], keeps[row.b])]
        assert row.jaccard == pytest.approx(evaluation.jaccard(*masks))
    for row in table[table["fold"] == -1].itertuples():
        folds = table[(table["a"] == row.a) & (table["b"] == row.b) & (table["fold"] >= 0)]
        np.testing.assert_allclose([row.jaccard, row.by_chance], folds[["jaccard", "by_chance"]].mean())


def test_equal_lists_overlap_wholly_and_disjoint_ones_not_at_all():
    half = frame_list([1, 1, 0, 0])
    table = overlap.table({"a": half, "same": half, "other": half.assign(keep=~half["keep"])}).set_index(["a", "b"])
    assert (table.loc[("a", "same"), ["jaccard", "share_of_a", "share_of_b"]] == 1).all(axis=None)
    assert (table.loc[("a", "other"), ["jaccard", "share_of_a", "share_of_b"]] == 0).all(axis=None)


def test_an_empty_choice_has_no_share_and_its_mean_over_folds_is_nan():
    some = pd.concat([frame_list([1, 0], fold=k) for k in (0, 1)])
    none = some.assign(keep=np.array([True, False, False, False]))
    table = overlap.table({"some": some, "none": none}).set_index("fold")
    assert table.loc[1, "jaccard"] == 0 and table.loc[1, "share_of_a"] == 0
    assert np.isnan(table.loc[[1, -1], "share_of_b"]).all()


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_chance_is_between_its_bounds_and_symmetric(sizes):
    n, a, b = sizes
    value = overlap.jaccard_by_chance(a, b, n)
    if a == b == 0:
        assert np.isnan(value)
        return
    assert value == pytest.approx(overlap.jaccard_by_chance(b, a, n))
    low, high = max(0, a + b - n), min(a, b)
    assert low / (a + b - low) - 1e-9 <= value <= high / (a + b - high) + 1e-9
    if a == n:
        assert value == pytest.approx(b / n)


@pytest.mark.parametrize(("n_a", "n_b", "n"), [(5, 5, 12), (30, 10, 50), (1, 1, 3)])
def test_chance_is_the_mean_of_random_choices(n_a, n_b, n):
    rng = np.random.default_rng(1)
    drawn = [len(set(rng.permutation(n)[:n_a]) & set(rng.permutation(n)[:n_b])) for _ in range(20_000)]
    expected = np.mean([both / (n_a + n_b - both) for both in drawn])
    assert overlap.jaccard_by_chance(n_a, n_b, n) == pytest.approx(expected, abs=0.006)


def test_chance_at_the_size_of_ravdess_is_that_of_the_limit():
    assert overlap.jaccard_by_chance(80_000, 80_000, 160_000) == pytest.approx(1 / 3, abs=1e-4)


def test_chance_is_drawn_from_the_candidates_only():
    keeps = {name: frame_list([1, 1, 0, 0, 0, 0]) for name in ("a", "b")}
    by_chance = overlap.table(keeps, candidates=np.arange(4))["by_chance"]
    assert by_chance.iloc[0] == overlap.jaccard_by_chance(2, 2, 4) > overlap.jaccard_by_chance(2, 2, 6)


WHOLE = frame_list([1, 0, 1])


@pytest.mark.parametrize(
    ("keeps", "options", "says"),
    [
        ({"a": WHOLE}, {}, "1 received"),
        ({"a": WHOLE, "b": WHOLE.iloc[:2]}, {}, "'b' has 2 rows, 'a' 3; sample 2 of fold 0 is"),
        ({"a": WHOLE, "b": WHOLE.assign(fold=1)}, {}, "'b' has 3 rows, 'a' 3"),
        ({"a": WHOLE, "b": pd.concat([WHOLE, WHOLE[:1]])}, {}, "'b': sample 0 is twice in fold 0"),
        ({"a": WHOLE.drop(columns="fold"), "b": WHOLE}, {}, r"'a' lacks column\(s\) \['fold'\]"),
        ({"a": WHOLE, "b": WHOLE.astype({"keep": int})}, {}, "'b': column keep is int64"),
        ({"a": WHOLE, "b": WHOLE}, {"candidates": [0, 1]}, "'a' keeps frames that are no candidates"),
    ],
)
def test_lists_that_cannot_be_compared_are_refused(keeps, options, says):
    with pytest.raises(ValueError, match=says):
        overlap.table(keeps, **options)


def test_a_choice_larger_than_the_frames_is_refused():
    with pytest.raises(ValueError, match="5 and 1 out of 4"):
        overlap.jaccard_by_chance(5, 1, 4)
