"""The sweep of static models: 11 models x 3 scalings x 5 folds in processes, against the plain way, fold after fold.

    python benchmarks/au_static.py [--workers 2] [--rounds 3] [--models svc mlp ...]

The plain way is how such a comparison is mostly written: a loop over models, scalings and folds with scikit-learn's
defaults for threads, in one process. Ours is `static_sweep.sweep`: whole settings dealt to processes of one thread
each, slow ones first. Both fit the same estimators with the same options, seed and rows under protocol `reference` (one
fit a fold), and their accuracies must be equal. Ours also makes posteriors of training rows, checks all posteriors and
resamples subjects for intervals; the plain way predicts the test rows and nothing else. They take turns, and the best
round of each counts.

Data: RAVDESS's published means (data/raw/ravdess_au), else made-up rows of the same size, folds and classes.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from emolib import au_tables, folds, labels, roots, static_models, static_sweep

SEED = 2020
CLASSES = labels.names("ravdess8")
MEANS = "ravdess_au/au_mean/df_average_AUs_total.csv"
TOLERANCE = 1.5 / 1440  # a margin's tie, decided by the order of sums in another number of threads, may turn one row


def data() -> tuple[np.ndarray, pd.DataFrame, str]:
    """Values [1440, 35], performances, and where they come from."""
    try:
        found = au_tables.of_means(roots.raw_path(MEANS))
        return found.means.astype(np.float64), found.performances, "RAVDESS's published means"
    except FileNotFoundError:
        rng = np.random.default_rng(SEED)
    label, subject = np.tile(np.arange(8), 180), np.repeat([f"{k:02d}" for k in range(1, 25)], 60)
    of_class, of_person = rng.normal(0, 0.3, (8, 35)), rng.normal(0, 0.3, (24, 35))
    values = np.abs(of_class[label] + np.repeat(of_person, 60, axis=0) + rng.normal(0, 0.5, (1440, 35)))
    table = pd.DataFrame({"performance": [f"p{k}" for k in range(1440)], "subject": subject, "label": label})
    return values, table, "made-up rows"


def plainly(values: np.ndarray, label: np.ndarray, parts: list[folds.Fold], models: list[str]) -> dict:
    """Mean of folds of every model and scaling, one fit after the other."""
    found = {}
    for model in models:
        for scaling in static_models.SCALINGS:
            right = []
            for fold in parts:
                pipeline = static_models.build(model, scaling=scaling, seed=SEED)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    pipeline.fit(values[fold.train], label[fold.train])
                right.append(np.mean(pipeline.predict(values[fold.test]) == label[fold.test]))
            found[model, scaling] = float(np.mean(right))
    return found


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=list(static_models.SYSTEM_C), choices=static_models.SYSTEM_C)
    given = parser.parse_args()
    values, table, source = data()
    label = table["label"].to_numpy()
    parts = folds.make_folds(table, n_folds=5, protocol="reference", seed=SEED, folds=folds.RAVDESS_FOLDS)
    asked = {"folds": parts, "seeds": [SEED], "classes": CLASSES, "models": given.models, "progress": False}
    n = len(given.models) * len(static_models.SCALINGS) * len(parts)
    print(f"{n} fits on {source} {values.shape}, {given.workers} processes against one loop; best of {given.rounds}")
    static_sweep.sweep(values, table, **asked | {"models": ["ridge"]}, workers=given.workers)  # starts the processes
    spent = {"plain": [], "ours": []}
    for _ in range(given.rounds):
        began = time.perf_counter()
        expected = plainly(values, label, parts, given.models)
        spent["plain"].append(time.perf_counter() - began)
        began = time.perf_counter()
        ours = static_sweep.sweep(values, table, **asked, workers=given.workers)
        spent["ours"].append(time.perf_counter() - began)
        shares = ours.set_index(["model", "scaling"])["mean_of_folds"]
        apart = {setting: abs(shares[setting] - share) for setting, share in expected.items()}
        if len(shares) != len(expected) or max(apart.values()) > TOLERANCE:
            raise AssertionError(f"accuracies differ: {apart}")
    best = {name: min(seconds) for name, seconds in spent.items()}
    print(f"plain {best['plain']:.1f} s, ours {best['ours']:.1f} s, ratio {best['plain'] / best['ours']:.2f}")
    slowest = ours.sort_values("seconds", ascending=False).head(5)
    print(slowest[["model", "scaling", "seconds", "mean_of_folds"]].round(3).to_string(index=False))


if __name__ == "__main__":
    main()
