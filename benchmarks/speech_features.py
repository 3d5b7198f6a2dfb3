"""Features of a corpus of recordings from files to a store, beside the plain loop, and against real time.

    python benchmarks/speech_features.py [folder] [--recordings 1440] [--workers 2] [--rounds 3]

Without a folder, RAVDESS's recordings in ../shared/data (unpacked to a temporary folder), or, where they are not,
made-up ones of the same number, length and form. The plain loop is what one writes first: librosa.load, trim, Wiener
filter, mel spectrogram and decibels, one recording after the other, in one process. Both make the same numbers, which
is checked. Times are the best of the rounds, in turns; the processes' start is in them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
import zipfile
from pathlib import Path

import librosa
import numpy as np
import scipy.signal

from emolib import corpora
from emolib.corpora import Corpus
from emolib.render.voice import SAMPLE_RATE_HZ
from emolib.speech import store
from emolib.speech.features import FeatureOptions

RECORDINGS = Path(__file__).parents[1] / "../shared/data/ravdess_speech_16k.zip"
LENGTH_S, SPOKEN_S = 3.7, 1.7  # of RAVDESS's recordings, on average
TOLERANCE = 0.01  # of values in [0, 1]: librosa.load and PyAV decode with two libraries


def made_up(folder: Path, n: int) -> None:
    """`n` recordings (WAV) of noise in bursts, named as RAVDESS's."""
    import soundfile  # librosa's own

    rng = np.random.default_rng(0)
    numbers = itertools.product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2))
    names = [f"03-01-{e:02d}-{i:02d}-{s:02d}-{r:02d}-{a:02d}" for a, e, i, s, r in numbers if (e, i) != (1, 2)]
    for name in names[:n]:
        spoken_s = rng.normal(SPOKEN_S, 0.3)
        time_s = np.arange(round(LENGTH_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        burst = np.abs(time_s - LENGTH_S / 2) < spoken_s / 2
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.normal(size=len(time_s)) * burst, SAMPLE_RATE_HZ)


def plain(corpus: Corpus, options: FeatureOptions) -> list[np.ndarray]:
    """The loop that one writes first."""
    found = []
    for source in corpus.sources["source"]:
        samples, _ = librosa.load(corpus.root / source, sr=options.sample_rate_hz)
        samples, _ = librosa.effects.trim(samples, top_db=options.trim_db)
        samples = scipy.signal.wiener(samples, options.wiener)
        sizes = {"n_fft": options.n_fft, "hop_length": options.hop, "n_mels": options.n_mels}
        power = librosa.feature.melspectrogram(
            y=samples, sr=options.sample_rate_hz, fmin=options.low_hz, fmax=options.high_hz, **sizes
        )
        decibels = librosa.power_to_db(power, ref=np.max, top_db=options.range_db)
        found.append((decibels.T / options.range_db + 1).astype(np.float32))
    return found


def main() -> None:
    """Time both and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--recordings", type=int, default=1440)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    options, times, where = FeatureOptions(), {"plain": [], "ours": []}, "the folder given"
    with tempfile.TemporaryDirectory() as scratch:
        root = given.folder or Path(scratch) / "recordings"
        if given.folder is None:
            root.mkdir()
            where = "RAVDESS" if RECORDINGS.is_file() else "made-up recordings"
            if RECORDINGS.is_file():
                with zipfile.ZipFile(RECORDINGS) as archive:
                    archive.extractall(root, [name for name in archive.namelist() if name.endswith(".ogg")])
            else:
                made_up(root, given.recordings)
        corpus = corpora.scan("ravdess_speech", root)
        some = corpus.sources.iloc[: given.recordings]
        corpus = Corpus(corpus.name, corpus.label_space, "audio", corpus.root, some, corpus.excluded)
        plain(Corpus(corpus.name, corpus.label_space, "audio", root, some[:2], corpus.excluded), options)  # imports
        for _ in range(given.rounds):
            began = time.perf_counter()
            by_hand = plain(corpus, options)
            times["plain"].append(time.perf_counter() - began)
            began = time.perf_counter()
            store.prepare(corpus, Path(scratch) / "store", options, workers=given.workers, progress=False)
            times["ours"].append(time.perf_counter() - began)
        heard = store.open_store(Path(scratch) / "store")
        wrong = max(np.abs(heard.features[k] - one).mean() for k, one in enumerate(by_hand))
        if wrong > TOLERANCE:
            raise AssertionError(f"the two ways differ by {wrong:.3g} on average in a recording")
        sound_s = heard.performances["sound_s"].sum()
    best = {name: min(values) for name, values in times.items()}
    real_time = {name: f"{seconds:.1f} s, {sound_s / seconds:.0f} x real time" for name, seconds in best.items()}
    print(f"recordings                 {len(heard.performances)} of {where}, {sound_s / 60:.1f} minutes")
    print(f"plain loop                 {real_time['plain']}")
    print(f"store, {given.workers} process(es)      {real_time['ours']} (target 100)")
    print(f"ratio                      {best['plain'] / best['ours']:.2f}")
    print(f"largest mean difference    {wrong:.2g} of a recording's values in [0, 1]")


if __name__ == "__main__":
    main()
