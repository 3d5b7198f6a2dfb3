"""Sequences of different length in one array."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from emolib.ragged import Ragged

SEQUENCE = st.integers(1, 6).flatmap(
    lambda n: arrays.arrays(np.float32, (n, 2), elements=st.sampled_from([np.nan, -1.0, 0.0, 0.5, 4.0]))
)


@given(st.lists(SEQUENCE, min_size=1, max_size=6))
def test_sequences_and_their_means_come_back(sequences):
    ragged = Ragged.of_list(sequences)
    assert len(ragged) == len(sequences)
    for row, expected in enumerate(sequences):
        np.testing.assert_array_equal(ragged[row], expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy warns of the mean of nothing
        expected = np.stack([np.nanmean(one, axis=0) for one in sequences])
    np.testing.assert_allclose(ragged.means(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Ragged.of_list([]), ValueError),
        (lambda: Ragged.of_list([np.zeros((2, 3)), np.zeros((2, 4))]), ValueError),
        (lambda: Ragged.of_list([np.zeros((2, 3)), np.zeros((0, 3))]), ValueError),
        (lambda: Ragged(np.zeros((3, 2)), np.array([1, 1])), ValueError),
        (lambda: Ragged.of_list([np.zeros((2, 3))])[1], IndexError),
        (lambda: Ragged.of_list([np.zeros((2, 3))])[-1], IndexError),
    ],
)
def test_what_is_no_sequence_is_an_error(make, error):
    with pytest.raises(error):
        make()
