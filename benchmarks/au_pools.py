"""How much of a person a subject-normalised answer needs: accuracy by the number of own clips that are seen together.

    python benchmarks/au_pools.py [--draws 3]

The clips of each test person are dealt at random into pools of n, and each pool is normalised, adapted to and answered
as if it were all there is of that person; the models learn from whole people, as always. Then pools of four emotions
each: half of the emotions of each person, drawn, and the other half. Protocol nested, the published folds, mean of
folds (%), RAVDESS's published means (data/raw/ravdess_au), action units under a square root.
"""

from __future__ import annotations

import argparse

import numpy as np

from emolib import au_tables, folds, labels, roots, static_fitting, subject_normalisation

MEANS = "ravdess_au/au_mean/df_average_AUs_total.csv"
SIZES = (60, 30, 20, 15, 10, 5)
MODELS = {
    "lda": {"model": "lda", "options": {"solver": "lsqr", "shrinkage": "auto"}},
    "adaptive_lda": {"model": "adaptive_lda", "options": {"relevance": 4.0, "sharpness": 0.5}},
}


def dealt(subject: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A name a clip: its person and pool, `size` clips each."""
    pool = np.empty(len(subject), dtype=object)
    for who in np.unique(subject):
        own = rng.permutation(np.flatnonzero(subject == who))
        pool[own] = [f"{who}/{place // size}" for place in range(len(own))]
    return pool.astype(str)


def halved(subject: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A name a clip: its person, and whether its emotion is in that person's drawn half."""
    pool = np.empty(len(subject), dtype=object)
    for who in np.unique(subject):
        own = np.flatnonzero(subject == who)
        half = rng.permutation(np.unique(label))[: len(np.unique(label)) // 2]
        pool[own] = [f"{who}/{kind}" for kind in np.isin(label[own], half)]
    return pool.astype(str)


def main() -> None:
    """Measure every size and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3, help="of the pools; means over them are printed")
    given = parser.parse_args()
    if not (means := roots.data_root() / "raw" / MEANS).is_file():
        print(f"{means} is not here: nothing measured")
        return
    found = au_tables.of_means(means)
    label, subject = (found.performances[name].to_numpy() for name in ("label", "subject"))
    units = au_tables.compressed(found.means, method="sqrt")
    whole = subject_normalisation.normalise(units, subject, method="transductive")
    parts = folds.make_folds(found.performances, n_folds=5, seed=2020, folds=folds.RAVDESS_FOLDS)

    def accuracy(pool: np.ndarray) -> dict[str, float]:
        pooled = subject_normalisation.normalise(units, pool, method="transductive")
        right = {name: [] for name in MODELS}
        for fold in parts:
            values = whole.copy()
            values[fold.test] = pooled[fold.test]
            known = np.union1d(fold.train, fold.validation)
            for name, how in MODELS.items():
                asked = {"n_classes": len(labels.names(found.label_space)), "seed": 0, "scaling": "standard"}
                answer = static_fitting.learn(values, label, pool, known, **how, **asked)
                right[name].append(np.mean(answer(fold.test).argmax(axis=1) == label[fold.test]))
        return {name: float(np.mean(shares)) for name, shares in right.items()}

    kinds = {f"pools of {size}": (lambda rng, size=size: dealt(subject, size, rng)) for size in SIZES}
    kinds["pools of four emotions"] = lambda rng: halved(subject, label, rng)
    for name, made in kinds.items():
        every = [accuracy(made(np.random.default_rng(draw))) for draw in range(given.draws)]
        text = "  ".join(f"{model} {100 * np.mean([one[model] for one in every]):5.2f}" for model in MODELS)
        print(f"{name:24s} {text}", flush=True)


if __name__ == "__main__":
    main()
