"""A recording as one vector: statistics of its log-mel spectrogram and its pitch, for static models (`static_fitting`).

| part | of | what |
|---|---|---|
| levels | bands, cepstra | mean, SD, 10, 50 and 90 % quantile over time |
| changes | bands, cepstra | SD and mean size of the difference from step to step |
| thirds | cepstra | mean of the first, middle and last third |
| contour | cepstra | first coefficients of a cosine transform over time |
| modulation | groups of bands | logarithm of the power of their movement, by its frequency |
| shape | spectrum | centroid, spread, flux, level and tilt: mean, SD and five quantiles |
| length | | steps; line and parabola through the mean level |
| pitch | fundamental frequency | mean, SD, quantiles, movement and contour in octaves, where it is loud enough |

Cepstra are the cosine transform of a step's bands. With few people to learn from, such vectors serve better than what
a network finds for itself (in the tradition of openSMILE's functionals, Eyben et al. 2010). Speech of known sentences
makes the contours comparable; over free speech they say less.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.fft import dct

from emolib.corpora import Corpus
from emolib.ragged import Ragged
from emolib.speech.features import PITCH_RANGE_HZ, FeatureOptions
from emolib.speech.store import SpeechStore, prepare_once

N_CEPSTRA, N_CONTOUR_CEPSTRA, N_CONTOUR = 25, 20, 10
N_GROUPS = 8
MODULATION_HZ = (0.0, 1.0, 2.0, 4.0, 6.0, 10.0, 16.0, np.inf)
_MODULATION_WINDOW_S = 4.0  # recordings are padded (or cut) to it, so that its bins mean the same for all
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
N_PITCH_CONTOUR = 8
_PITCH_RIDGE = 0.01
_LOUD_ENOUGH = 0.4  # quantile of the level of the low bands above which a step's pitch counts
_LOW_BANDS = 0.3  # share of the bands whose level says whether a voice sounds
_EDGE_OCTAVES = 0.1  # a pitch so near to the ends of the search is none


def of_corpus(corpus: Corpus, heard: SpeechStore, *, workers: int | None = None) -> np.ndarray:
    """Statistics of the recordings of a store of log-mels, float32 [N, F]; their pitch is made, or opened.

    Raises
    ------
    ValueError
        The store holds no log-mels, or recordings have a pitch that have no spectrogram (or the reverse).
    """
    if heard.options.representation != "log_mel":
        raise ValueError(f"features: representation {heard.options.representation!r} found, log_mel is needed")
    of_pitch = prepare_once(corpus, replace(heard.options, representation="pitch"), workers=workers)
    if of_pitch.performances["performance"].tolist() != heard.performances["performance"].tolist():
        raise ValueError(f"{of_pitch.path} and {heard.path} hold different recordings")
    return statistics(heard.features, of_pitch.features, options=heard.options)


def statistics(mels: Ragged, pitch: Ragged, *, options: FeatureOptions) -> np.ndarray:
    """Statistics of N recordings, float32 [N, F], finite.

    Parameters
    ----------
    mels : log-mels [T, bands].
    pitch : octaves (log2 of Hz) [T, 1], as many steps.
    options : of the log-mels.

    Raises
    ------
    ValueError
        Lengths differ, or a step has fewer bands than `N_CEPSTRA`.
    """
    if mels.values.shape[1] < N_CEPSTRA:
        raise ValueError(f"log-mels: {mels.values.shape[1]} bands received, {N_CEPSTRA} or more are needed")
    if not np.array_equal(mels.length, pitch.length):
        raise ValueError("log-mels and pitch have different lengths")
    rows = []
    for row in range(len(mels)):
        bands = mels[row].astype(np.float64)
        cepstra = dct(bands, axis=1, norm="ortho")[:, :N_CEPSTRA]
        parts = [_levels(bands), _levels(cepstra), _changes(bands), _changes(cepstra)]
        parts += [_length(bands), _thirds(cepstra), _contour(cepstra), _modulation(bands, options.step_s)]
        parts += [_shape(bands, options.range_db), _pitch(pitch[row][:, 0].astype(np.float64), bands)]
        rows.append(np.concatenate(parts))
    return np.array(rows, dtype=np.float32)


def _levels(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x.mean(axis=0), x.std(axis=0), *np.quantile(x, (0.1, 0.5, 0.9), axis=0)])


def _changes(x: np.ndarray) -> np.ndarray:
    change = np.diff(x, axis=0, prepend=x[:1])
    return np.concatenate([change.std(axis=0), np.abs(change).mean(axis=0)])


def _thirds(cepstra: np.ndarray) -> np.ndarray:
    ends = np.linspace(0, len(cepstra), 4).round().astype(int)
    thirds = [cepstra[first : max(last, first + 1)] for first, last in zip(ends[:-1], ends[1:], strict=True)]
    return np.concatenate([(one if len(one) else cepstra[-1:]).mean(axis=0) for one in thirds])


def _contour(cepstra: np.ndarray) -> np.ndarray:
    found = np.zeros((N_CONTOUR, N_CONTOUR_CEPSTRA))
    moved = dct(cepstra[:, :N_CONTOUR_CEPSTRA], axis=0, norm="ortho")[:N_CONTOUR] / np.sqrt(len(cepstra))
    found[: len(moved)] = moved
    return found.ravel()


def _modulation(bands: np.ndarray, step_s: float) -> np.ndarray:
    n = round(_MODULATION_WINDOW_S / step_s)
    groups = np.stack([one.mean(axis=1) for one in np.array_split(bands[:n], N_GROUPS, axis=1)], axis=1)
    power = np.abs(np.fft.rfft(groups - groups.mean(axis=0), n, axis=0)) ** 2 / len(groups)
    hz = np.fft.rfftfreq(n, step_s)
    within = [(hz >= low) & (hz < high) for low, high in zip(MODULATION_HZ[:-1], MODULATION_HZ[1:], strict=True)]
    # a coarse step has no fast movement: such a range is constant, and no model minds
    means = [power[one].mean(axis=0) if one.any() else np.zeros(N_GROUPS) for one in within]
    return np.log(np.stack(means) + 1e-6).ravel()


def _shape(bands: np.ndarray, range_db: float) -> np.ndarray:
    power = 10 ** ((bands - 1) * range_db / 10)
    total, place = power.sum(axis=1), np.arange(bands.shape[1])
    centroid = power @ place / total
    spread = np.sqrt((power * (place - centroid[:, None]) ** 2).sum(axis=1) / total)
    flux = np.abs(np.diff(bands, axis=0, prepend=bands[:1])).mean(axis=1)
    third = bands.shape[1] // 3
    tilt = bands[:, :third].mean(axis=1) - bands[:, -third:].mean(axis=1)
    curves = np.stack([centroid, spread, flux, np.log10(total), tilt], axis=1)
    return np.concatenate([curves.mean(axis=0), curves.std(axis=0), *np.quantile(curves, QUANTILES, axis=0)])


def _length(bands: np.ndarray) -> np.ndarray:
    level, at = bands.mean(axis=1), _chebyshev(len(bands), 3)
    return np.array([len(bands), *np.linalg.lstsq(at, level, rcond=None)[0][1:]])


def _pitch(octaves: np.ndarray, bands: np.ndarray) -> np.ndarray:
    level = bands[:, : max(1, round(_LOW_BANDS * bands.shape[1]))].mean(axis=1)
    loud = level >= np.quantile(level, _LOUD_ENOUGH)
    low, high = np.log2(PITCH_RANGE_HZ)
    own = loud & (octaves > low + _EDGE_OCTAVES) & (octaves < high - _EDGE_OCTAVES)
    own = own if own.any() else loud
    steps = np.diff(octaves)[own[1:] & own[:-1]]
    steps = steps if len(steps) else np.zeros(1)
    heard = octaves[own]
    quantiles = np.quantile(heard, QUANTILES)
    moved = [np.abs(steps).mean(), np.median(np.abs(steps)), steps.std()]
    weight = np.clip(level - np.quantile(level, 0.3), 0, None) + 1e-3
    curve = _curve(octaves - np.average(octaves, weights=weight), weight / weight.mean())
    summary = [heard.mean(), heard.std(), quantiles[-1] - quantiles[0], own.mean()]
    return np.concatenate([summary, quantiles, moved, curve])


def _curve(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients [N_PITCH_CONTOUR] of `values` over time, by weighted ridge: some recordings are short."""
    at = _chebyshev(len(values), N_PITCH_CONTOUR)
    penalty = _PITCH_RIDGE * len(values) * np.eye(N_PITCH_CONTOUR)
    return np.linalg.solve((at * weight[:, None]).T @ at + penalty, at.T @ (weight * values))


def _chebyshev(n: int, degrees: int) -> np.ndarray:
    return np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, n), degrees - 1)
