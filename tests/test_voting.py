"""The four votes, against plain loops over videos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib import voting


def corpus(seed, n_classes=5):
    rng = np.random.default_rng(seed)
    video = rng.permutation(np.repeat([f"v{v}" for v in range(15)], rng.integers(1, 12, 15)))
    return video, rng.dirichlet(np.full(n_classes, 0.5), len(video)).astype(np.float32)


def scores_by_loop(rows, method, mean):
    n_classes = len(rows[0])
    scores = []
    for c in range(n_classes):
        won = [row for row in rows if int(np.argmax(row)) == c]
        if method == "majority":
            scores.append(len(won))
        elif method == "weighted":
            scores.append(0.5 * np.mean([max(row) for row in won]) + 0.5 * len(won) if won else 0.0)
        elif method == "auc":
            scores.append(sum(float(row[c]) for row in rows))
        else:
            scores.append(sum(float(row[c]) for row in rows) / len(rows) - mean[c])
    return scores


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("method", voting.METHODS)
def test_votes_equal_the_loop(method, seed):
    video, posterior = corpus(seed)
    mean = np.random.default_rng(seed).dirichlet(np.ones(5))
    table = voting.vote(video, posterior, method=method, training_mean=mean)
    assert list(table.columns) == ["predicted", *(f"score_{c}" for c in range(5))]
    assert table.index.name == "video" and list(table.index) == list(dict.fromkeys(video))
    for name, row in table.iterrows():
        rows = [posterior[i] for i in range(len(video)) if video[i] == name]
        scores = scores_by_loop(rows, method, mean)
        np.testing.assert_allclose(row.iloc[1:].to_numpy(float), scores, rtol=1e-6, atol=1e-9)
        assert scores[int(row["predicted"])] == pytest.approx(max(scores), rel=1e-6)


@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("method", voting.METHODS)
def test_the_order_of_frames_does_not_change_a_vote(method, seed):
    video, posterior = corpus(seed)
    shuffled = np.random.default_rng(seed + 1).permutation(len(video))
    a = voting.vote(video, posterior, method=method, training_mean=np.zeros(5))
    b = voting.vote(video[shuffled], posterior[shuffled], method=method, training_mean=np.zeros(5)).loc[a.index]
    np.testing.assert_array_equal(a["predicted"], b["predicted"])


def test_weighted_by_hand():
    posterior = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.6, 0.1]])
    table = voting.vote(["a"] * 3, posterior, method="weighted")
    np.testing.assert_allclose(table.loc["a"], [1, 0.5 * 0.9 + 0.5, 0.5 * 0.7 + 1.0, 0.0])


def test_training_mean_counts_every_video_once():
    video = np.array(["long"] * 3 + ["short"])
    posterior = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    np.testing.assert_allclose(voting.training_mean(video, posterior), [0.5, 0.5])


def test_auc_zscore_finds_the_class_that_rises_most_above_its_usual_level():
    posterior = np.array([[0.6, 0.4], [0.6, 0.4]])
    assert voting.vote(["a", "a"], posterior, method="auc").loc["a", "predicted"] == 0
    table = voting.vote(["a", "a"], posterior, method="auc_zscore", training_mean=np.array([0.7, 0.3]))
    assert table.loc["a", "predicted"] == 1


@pytest.mark.parametrize(
    ("posterior", "winner"),
    [
        ([[0.1, 0.5, 0.4], [0.1, 0.2, 0.7]], 2),  # one vote each: the larger sum
        ([[0.2, 0.5, 0.3], [0.2, 0.3, 0.5]], 1),  # equal sums too: the lower index
    ],
)
def test_ties_go_to_the_larger_sum_then_to_the_lower_class(posterior, winner):
    assert voting.vote(["a", "a"], np.array(posterior), method="majority").loc["a", "predicted"] == winner


@pytest.mark.parametrize(
    ("video", "posterior", "options", "says"),
    [
        (["a"], np.ones((1, 2)), {"method": "median"}, "'median'.*majority, weighted, auc, auc_zscore"),
        (["a"], np.ones((1, 2)), {"method": "auc_zscore"}, r"shape \(2,\), got none"),
        (["a"], np.ones((1, 2)), {"method": "auc_zscore", "training_mean": np.ones(3)}, r"got \(3,\)"),
        (["a", "b"], np.ones((1, 2)), {}, "2 frames"),
        ([], np.ones((0, 2)), {}, "at least one"),
        (["a", "a"], np.array([[0.5, 0.5], [np.nan, 1]]), {}, "row 1 is not finite"),
        (np.array(["a", None], dtype=object), np.ones((2, 2)), {}, "row 1 has no video"),
    ],
)
def test_wrong_input_is_named(video, posterior, options, says):
    with pytest.raises(ValueError, match=says):
        voting.vote(video, posterior, **options)
