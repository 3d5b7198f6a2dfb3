"""A study of 10 percentiles x 5 folds on the embedded corpus: one stack of 50 models against a loop over variants.

The loop is that of `benchmarks/training.py`: a variant after the other, fold after fold, PNGs opened item by item, Adam
1e-3, batch 128, no loader workers. Ours is `train_stack` with all 50 models and a one_cycle recipe. Both see the same
frames, folds, guides and filtered lists; making these is not timed. The filter reads the corpus' true intensity with
noise added, since what it reads costs training nothing.

Measured: seconds until both reach the same mean validation accuracy (the best mean of the loop less half a point), and
the accuracies of both with their spread over seeds. The loop is measured on `--loop-percentiles` alone, which by
default train on about as many images as the mean variant, and its seconds are scaled by images to all variants;
accuracies compare these variants. The loop fixes its own seed, so it starts from the same weights each time: its
"seeds" here are orders of the training rows.

    python benchmarks/percentile_study.py --out curves.csv
    python benchmarks/percentile_study.py --quick
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
import training  # benchmarks/training.py
from training import mean_curve, plain_loop, write_pngs

from emolib import filters, folds, labels
from emolib.corpora import synthetic
from emolib.frames import FrameStore
from emolib.preprocessing import prepare
from emolib.training import Member, Recipe, train_stack

PERCENTILES = tuple(range(0, 100, 10))
N_FOLDS, SEED, JUDGE_NOISE_SD = 5, 2020, 0.25
RECIPE = Recipe(epochs=1, patience=1, batch_size=64, learning_rate=4e-3, schedule="one_cycle", warmup_share=0.3)
Lists = list[tuple[np.ndarray, np.ndarray]]  # training and validation rows of each model


def embedded_corpus(folder: Path, *, n_subjects: int, quick: bool) -> FrameStore:
    """The generated corpus, found, cropped and with its guides: a frame store."""
    options = {"duration_s": 1.0, "intensities": (1,)} if quick else {}
    synthetic.generate(folder / "raw", n_subjects=n_subjects, n_stills=0, seed=SEED, progress=False, **options)
    corpus = synthetic.scan(folder / "raw")
    return prepare(corpus, folder / "store", guides=("saliency",), frame_step=3 if quick else 2, progress=False)


def filtered_lists(frames: pd.DataFrame) -> dict[int, Lists]:
    """Percentile -> lists of each fold; validation rows are not filtered."""
    rng = np.random.default_rng(SEED)
    score = frames["true_intensity"].to_numpy() + rng.normal(0, JUDGE_NOISE_SD, len(frames))
    parts = folds.make_folds(frames, n_folds=N_FOLDS, seed=SEED, validation_subjects_share=0.25)
    face = frames["face_ok"].to_numpy()
    result = {}
    for percentile in PERCENTILES:
        keep = filters.select("percentile", frames, score, percentile=float(percentile)).keep
        result[percentile] = [(part.train[keep[part.train]], part.validation[face[part.validation]]) for part in parts]
    return result


def loop(folder: Path, label: np.ndarray, lists: Lists, *, epochs: int, seed: int) -> tuple[float, list]:
    """Seconds and (model, epoch, accuracy) of the plain loop."""
    rng = np.random.default_rng(seed)
    shuffled = [(rng.permutation(train), validation) for train, validation in lists]
    return plain_loop(folder, label, shuffled, epochs=epochs, num_workers=0, device="cpu")


def stack(store: FrameStore, label: np.ndarray, lists: Lists, *, epochs: int, seed: int) -> tuple[float, list]:
    """As `loop`, all models in one `train_stack`."""
    members = [Member(f"m{k}", train, validation, seed=seed + k) for k, (train, validation) in enumerate(lists)]
    recipe = replace(RECIPE, epochs=epochs, patience=epochs)
    began = perf_counter()
    done = train_stack(
        store.array("image"),
        store.array("guide/saliency"),
        label,
        members,
        model="guided",
        n_classes=training.N_CLASSES,
        recipe=recipe,
        device="cpu",
        progress=False,
    )
    seconds = perf_counter() - began
    return seconds, [
        (k, row.epoch, row.validation_accuracy) for k, one in enumerate(done) for row in one.history.itertuples()
    ]


def of_models(curve: list, models: list[int]) -> list:
    return [row for row in curve if row[0] in set(models)]


def n_images(lists: Lists) -> int:
    return sum(len(train) + len(validation) for train, validation in lists)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--store", type=Path, help="a frame store of the embedded corpus; else one is generated")
    parser.add_argument("--subjects", type=int, default=10, help="of the generated corpus")
    parser.add_argument("--epochs", type=int, default=12, help="of the plain loop")
    parser.add_argument("--recipe-epochs", type=int, default=8, help="of the stack")
    parser.add_argument("--loop-percentiles", type=int, nargs="+", default=[0, 40, 90], choices=PERCENTILES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="CSV of all curves")
    parser.add_argument("--quick", action="store_true", help="400 frames, 2 epochs; its numbers mean nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.subjects, arguments.epochs, arguments.recipe_epochs = 5, 2, 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.store is None:
            store = embedded_corpus(folder, n_subjects=arguments.subjects, quick=arguments.quick)
        else:
            store = FrameStore.open(arguments.store)
        (folder / "png").mkdir()
        write_pngs(folder / "png", image=store.array("image"), guide=store.array("guide/saliency"))
        measure(store, folder / "png", arguments)


def measure(store: FrameStore, pngs: Path, arguments: argparse.Namespace) -> None:
    """Run both for every seed and print the comparison."""
    frames, label = store.manifest, store.manifest["label"].to_numpy()
    training.N_CLASSES = len(labels.names(store.label_space))  # the loop's own constant: it was written for valence
    lists = filtered_lists(frames)
    everything = [pair for percentile in PERCENTILES for pair in lists[percentile]]
    looped = [pair for percentile in arguments.loop_percentiles for pair in lists[percentile]]
    compared = [
        N_FOLDS * PERCENTILES.index(percentile) + k for percentile in arguments.loop_percentiles for k in range(N_FOLDS)
    ]
    scale = n_images(everything) / n_images(looped)
    print(
        f"embedded corpus, {len(frames):,} frames of {frames['subject'].nunique()} subjects, {training.N_CLASSES} "
        f"classes; {len(PERCENTILES)} percentiles x {N_FOLDS} folds; {torch.get_num_threads()} torch threads\n"
        f"plain loop on percentiles {arguments.loop_percentiles}, {n_images(looped):,} images an epoch; "
        f"its seconds x {scale:.2f} for all {n_images(everything):,}",
        flush=True,
    )
    curves = []
    for seed in range(SEED, SEED + arguments.seeds):
        seconds, curve = loop(pngs, label, looped, epochs=arguments.epochs, seed=seed)
        curves.append(mean_curve(curve, seconds * scale).assign(loop="plain", seed=seed))
        print(f"plain loop, seed {seed}: {seconds:7.1f} s, scaled {seconds * scale:7.1f} s", flush=True)
        seconds, curve = stack(store, label, everything, epochs=arguments.recipe_epochs, seed=seed)
        curves.append(mean_curve(of_models(curve, compared), seconds).assign(loop="stack", seed=seed))
        print(f"one stack,  seed {seed}: {seconds:7.1f} s", flush=True)
    table = pd.concat(curves, ignore_index=True)
    if arguments.out:
        table[["loop", "seed", "epoch", "seconds", "accuracy"]].to_csv(arguments.out, index=False)
    report(table)


def report(table: pd.DataFrame) -> None:
    """Accuracies with their spread over seeds, and the ratio of the times to the same mean accuracy."""
    last = table.sort_values("epoch").groupby(["loop", "seed"])["accuracy"].last().unstack("seed")
    for name, row in last.iterrows():
        spread = f"sd over {len(row)} seeds {row.std(ddof=1):.3f}" if len(row) > 1 else "one seed"
        print(f"{name}: mean validation accuracy after the last epoch {row.mean():.3f}, {spread}")
    difference = last.loc["stack"] - last.loc["plain"]
    print(f"stack - plain: {difference.mean():+.3f} ({', '.join(f'{value:+.3f}' for value in difference)} by seed)")
    curve = table.groupby(["loop", "epoch"])[["seconds", "accuracy"]].mean()  # over seeds
    goal = curve.loc["plain", "accuracy"].max() - 0.005
    reached = {name: curve.loc[name][lambda one: one["accuracy"] >= goal]["seconds"] for name in ("plain", "stack")}
    print(f"goal: mean validation accuracy {goal:.3f}; plain loop after {reached['plain'].iloc[0]:.1f} s")
    if reached["stack"].empty:
        print(f"time to accuracy: the stack did not reach it in {curve.loc['stack', 'seconds'].max():.1f} s")
    else:
        mine = reached["stack"].iloc[0]
        print(f"time to accuracy: {reached['plain'].iloc[0] / mine:.2f}x ({mine:.1f} s)")


if __name__ == "__main__":
    main()
