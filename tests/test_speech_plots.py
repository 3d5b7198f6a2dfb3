"""Figures of speech show the data that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from emolib import speech_plots

BAND_HZ = np.geomspace(100, 8000, 12)


@pytest.mark.usefixtures("drawn_and_closed")
def test_spectrograms_share_their_scales():
    recordings = [np.full((n, 12), n / 40, np.float32) for n in (10, 30, 20)]
    axes = speech_plots.spectrograms(recordings, ["a", "b", "c"], step_s=0.1, band_hz=BAND_HZ, columns=2, title="t")
    assert [ax.get_title() for ax in axes] == ["a", "b", "c"]
    assert {ax.get_xlim() for ax in axes} == {(0.0, 3.0)}
    assert {ax.images[0].get_clim() for ax in axes} == {(0.25, 0.75)}
    np.testing.assert_array_equal(axes[1].images[0].get_array(), recordings[1].T)
    assert [ax.images[0].get_extent()[1] for ax in axes] == pytest.approx([1.0, 3.0, 2.0])
    with pytest.raises(ValueError, match="1 recordings and 2 titles"):
        speech_plots.spectrograms(recordings[:1], ["a", "b"], step_s=0.1, band_hz=BAND_HZ)


@pytest.mark.usefixtures("drawn_and_closed")
def test_mean_spectra_have_a_line_for_each_class_that_occurs():
    rng = np.random.default_rng(0)
    spectra, label = rng.normal(size=(9, 12)), np.array([0, 0, 0, 2, 2, 2, 2, 0, 0])
    ax = speech_plots.mean_spectra(spectra, label, ["neutral", "happy", "sad"], band_hz=BAND_HZ)
    assert [line.get_label() for line in ax.lines] == ["neutral (5)", "sad (4)"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), spectra[label == 2].mean(axis=0))
    np.testing.assert_allclose(ax.lines[0].get_xdata(), BAND_HZ)
