"""Label spaces and mappings, against index tables written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib import labels

# (source, target) -> target index of each source class, -1 = dropped; by hand from SYSTEMS.md, not from labels.py
BY_HAND = {
    ("ravdess8", "affectnet7"): [0, 0, 1, 2, 6, 4, 5, 3],
    ("ravdess8", "affectnet8"): [0, 0, 1, 2, 6, 4, 5, 3],
    ("ravdess8", "fer7"): [6, 6, 3, 4, 0, 2, 1, 5],
    ("ravdess8", "pedfe6"): [-1, -1, 1, 5, 3, 2, 0, 4],
    ("ravdess8", "mmer8"): [5, 1, 4, 6, 0, 3, 2, 7],
    ("ravdess8", "valence3"): [0, 0, 1, 2, 2, 2, 2, 2],
    ("affectnet7", "ravdess8"): [0, 2, 3, 7, 5, 6, 4],
    ("affectnet7", "affectnet8"): [0, 1, 2, 3, 4, 5, 6],
    ("affectnet7", "fer7"): [6, 3, 4, 5, 2, 1, 0],
    ("affectnet7", "merc7"): [5, 0, 4, 6, 3, 2, 1],
    ("affectnet7", "pedfe6"): [-1, 1, 5, 4, 2, 0, 3],
    ("affectnet7", "valence3"): [0, 1, 2, -1, 2, 2, 2],
    ("affectnet8", "affectnet7"): [0, 1, 2, 3, 4, 5, 6, -1],
    ("affectnet8", "valence3"): [0, 1, 2, -1, 2, 2, 2, 2],
    ("fer7", "affectnet7"): [6, 5, 4, 1, 2, 3, 0],
    ("fer7", "pedfe6"): [3, 0, 2, 1, 5, 4, -1],
    ("fer7", "valence3"): [2, 2, 2, 1, 2, -1, 0],
    ("merc7", "affectnet7"): [1, 6, 5, 4, 2, 0, 3],
    ("mmer8", "ravdess8"): [4, 1, 6, 5, 2, 0, 3, 7],
    ("pedfe6", "affectnet7"): [5, 1, 4, 6, 3, 2],
    ("pedfe6", "fer7"): [1, 3, 2, 0, 5, 4],
}
SIZES = {
    **{"ravdess8": 8, "affectnet7": 7, "affectnet8": 8, "fer7": 7, "valence3": 3, "merc7": 7, "mmer8": 8, "pedfe6": 6}
}


def test_every_space_and_every_mapping_is_in_the_tables_of_this_test():
    assert {name: len(space) for name, space in labels.SPACES.items()} == SIZES
    assert set(labels.MAPPINGS) == {f"{a}->{b}" for a, b in BY_HAND}


@pytest.mark.parametrize(("pair", "table"), BY_HAND.items(), ids=lambda v: "->".join(v) if isinstance(v, tuple) else "")
def test_labels_and_posterior_columns_follow_the_table(pair, table):
    source, target = pair
    mapped = labels.map_labels(np.arange(len(table)), source=source, target=target)
    assert mapped.tolist() == table and mapped.dtype == np.int64
    columns = labels.map_posteriors(np.eye(len(table)), source=source, target=target, renormalise=False)
    by_hand = np.zeros((len(table), SIZES[target]))
    for k, to in enumerate(table):
        if to >= 0:
            by_hand[k, to] = 1
    np.testing.assert_array_equal(columns, by_hand)


@pytest.mark.parametrize("pair", [p for p in BY_HAND if p[::-1] in BY_HAND])
def test_there_and_back_again_is_the_identity_where_nothing_was_merged(pair):
    there, back = np.array(BY_HAND[pair]), np.array(BY_HAND[pair[::-1]])
    for k, to in enumerate(there):
        if to >= 0 and np.sum(there == to) == 1:
            assert back[to] == k


def test_indices_of_the_spaces_as_the_corpora_number_them():
    assert labels.names("ravdess8")[1:3] == ("calm", "happy")
    assert labels.names("fer7") == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert labels.names("mmer8")[5] == "neutral"
    assert labels.names("pedfe6") == ("disgust", "happy", "fear", "anger", "surprise", "sad")
    assert labels.SPACES["affectnet8"].index("contempt") == 7


def test_fer2013_shrinks_to_the_published_number_of_images_in_valence3():
    counts = [4953, 547, 5121, 8989, 6077, 4002, 6198]  # of the 35,887 images of fer2013.csv
    mapped = labels.map_labels(np.repeat(np.arange(7), counts), source="fer7", target="valence3")
    assert (mapped >= 0).sum() == 31_885


def test_one_emotion_has_one_name_in_every_space():
    assert {labels.emotion(name) for name in ("angry", "anger", "ang")} == {"anger"}
    for space in labels.SPACES.values():
        assert len({labels.emotion(name) for name in space.classes}) == len(space)


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(BY_HAND)))
def test_mapped_posteriors_sum_to_one_and_agree_with_mapped_labels(seed, pair):
    source, target = pair
    posterior = np.random.default_rng(seed).dirichlet(np.full(SIZES[source], 0.3), size=5).astype(np.float32)
    mapped = labels.map_posteriors(posterior, source=source, target=target)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped.sum(axis=1), 1, rtol=1e-5)
    raw = labels.map_posteriors(posterior, source=source, target=target, renormalise=False)
    kept = np.array(BY_HAND[pair]) >= 0
    np.testing.assert_allclose(raw.sum(axis=1), posterior[:, kept].sum(axis=1), atol=1e-6)


def test_a_row_that_lost_its_whole_mass_is_nan_and_a_class_without_source_is_zero():
    only_surprise = np.eye(7)[[3]]
    assert np.isnan(labels.map_posteriors(only_surprise, source="affectnet7", target="valence3")).all()
    calm = labels.map_posteriors(np.full((2, 7), 1 / 7), source="affectnet7", target="ravdess8")[:, 1]
    assert calm.tolist() == [0, 0]


def test_own_class_posterior_of_calm_is_neutral_and_of_a_merged_class_the_sum():
    posterior = np.array([[0.4, 0.3, 0.1, 0.05, 0.05, 0.04, 0.06]] * 8)
    own = labels.own_class_posterior(posterior, np.arange(8), source="affectnet7", target="ravdess8")
    np.testing.assert_allclose(own, [0.4, 0.4, 0.3, 0.1, 0.06, 0.05, 0.04, 0.05])
    negative = labels.own_class_posterior(posterior[:3], [0, 1, 2], source="affectnet7", target="valence3")
    np.testing.assert_allclose(negative, [0.4, 0.3, 0.1 + 0.05 + 0.04 + 0.06])
    same = labels.own_class_posterior(posterior[:7], np.arange(7), source="affectnet7", target="affectnet7")
    np.testing.assert_allclose(same, posterior[0])


def test_valence_posteriors_judge_acted_surprise_as_negative():
    own = labels.own_class_posterior(np.array([[0.2, 0.3, 0.5]]), [7], source="valence3", target="ravdess8")
    np.testing.assert_allclose(own, [0.5])


def test_spread_posterior_shares_columns_keeps_faceless_rows_and_marks_what_the_model_cannot_answer():
    posterior = np.array([[0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.06], [np.nan] * 7], dtype=np.float32)
    spread = labels.spread_posterior(posterior, source="affectnet7", target="ravdess8")
    np.testing.assert_array_equal(spread[0], posterior[0, [0, 0, 1, 2, 6, 4, 5, 3]])
    assert np.isnan(spread[1]).all() and spread.dtype == np.float32
    to_eight = labels.spread_posterior(posterior[:1], source="affectnet7", target="affectnet8")
    assert np.isnan(to_eight[0, 7]) and np.isfinite(to_eight[0, :7]).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: labels.names("ravdess"), ["'ravdess'", "ravdess8"]),
        (lambda: labels.map_labels([0], source="valence3", target="fer7"), ["valence3->fer7", "fer7->valence3"]),
        (lambda: labels.map_labels([0], source="fer7", target="nope"), ["'nope'", "valence3"]),
        (lambda: labels.map_labels([0, 7], source="fer7", target="valence3"), ["label 7", "row 1", "0..6"]),
        (lambda: labels.map_labels([-1], source="fer7", target="valence3"), ["label -1", "row 0"]),
        (lambda: labels.map_labels([0.0], source="fer7", target="valence3"), ["float64"]),
        (lambda: labels.map_posteriors(np.ones((2, 8)), source="fer7", target="valence3"), ["[N, 7]", "(2, 8)"]),
        (
            lambda: labels.own_class_posterior(np.ones((1, 6)), [6], source="pedfe6", target="fer7"),
            ["neutral", "fer7", "pedfe6"],
        ),
        (lambda: labels.own_class_posterior(np.ones((1, 7)), [1, 2], source="fer7", target="pedfe6"), ["2 labels"]),
        (lambda: labels.emotion("joy"), ["'joy'", "happy"]),
        (lambda: labels.SPACES["fer7"].index("joy"), ["'joy'", "happy"]),
    ],
)
def test_errors_say_what_came_and_what_is_allowed(call, says):
    with pytest.raises(ValueError) as error:
        call()
    for text in says:
        assert text in str(error.value)
