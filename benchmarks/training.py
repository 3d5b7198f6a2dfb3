"""Training five folds: `emolib.training` against the plain PyTorch loop, as ratios in one run.

The plain loop is system A's as published: one fold after the other, a Dataset that opens two 48x48 PNGs an item with
PIL and scales them, a DataLoader (batch 128; 0 and 2 workers), Adam 1e-3, torch's default threads. What bounds each on
a CPU: the plain loop its items (two files decoded, a dozen small tensors and a collate an image, in the training
process or shared with it), then convolutions whose temporary memory is returned to the system at every step, in a
layout and on threads that suit layers this small badly; the process engine the convolutions' backward pass (40 % of a
step), a core each. On a GPU: the plain loop its items, the stack the launch of kernels.

Two measures: equal epochs (images trained a second), and seconds until the same validation accuracy, which the plain
loop reaches first at its best epoch, less 0.5 % points, against the recipe's schedule. Start-up of the workers counts
in both.

    python benchmarks/training.py --out curves.csv
    python benchmarks/training.py --quick
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader, Dataset

from emolib import models
from emolib.training import Member, Recipe, train_stack

FER2013 = Path(__file__).parents[1] / "../shared/data/fer2013.zip"
FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
VALENCE = {"neutral": 0, "happy": 1, "angry": 2, "disgust": 2, "fear": 2, "sad": 2}  # SYSTEMS.md: surprise is dropped
N_CLASSES, N_FOLDS, BATCH_SIZE = 3, 5, 128
# chosen on other pictures (6,000 that `load_pictures` leaves out), from nine of 5 to 8 epochs
FASTER = Recipe(epochs=1, patience=1, batch_size=64, learning_rate=4e-3, schedule="one_cycle", warmup_share=0.3)
MIXED = replace(FASTER, mixed_precision=True)  # where the processor has bfloat16 instructions


class PngPairs(Dataset):
    """System A's Dataset: an image and its guide, opened and scaled item by item."""

    def __init__(self, folder: Path, label: np.ndarray, rows: np.ndarray):
        self.folder, self.label, self.rows = folder, label, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        row = self.rows[index]
        pair = []
        for kind in ("image", "guide"):
            pixels = np.asarray(Image.open(self.folder / kind / f"{row}.png"), dtype=np.float32)
            pair.append(torch.from_numpy(pixels / 127.5 - 1).unsqueeze(0))
        return *pair, int(self.label[row])


def load_pictures(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Image, guide, label and what they are: FER-2013 (valence) where it is there, else a made-up set that can be
    learned."""
    rng = np.random.default_rng(2020)
    if FER2013.is_file():
        with zipfile.ZipFile(FER2013) as archive:
            names = [name for name in archive.namelist() if "train/" in name and name.endswith(".jpg")]
            names = sorted(name for name in names if name.split("/")[-2] in VALENCE)
            chosen = [names[number] for number in sorted(rng.permutation(len(names))[:n])]
            image = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L")) for name in chosen])
        label = np.array([VALENCE[name.split("/")[-2]] for name in chosen])
        about = f"FER-2013, {len(image)} images, valence3"
    else:
        label = rng.integers(0, N_CLASSES, n)
        image = rng.integers(0, 200, (n, 48, 48)).astype(np.uint8)
        for number in range(N_CLASSES):
            image[label == number, 14 * number : 14 * number + 12, 10:38] += 12
        about = f"made up, {n} images, {N_CLASSES} classes"
    # Any guide costs the same; the gradient's size is a saliency map of sorts and needs no other module.
    steepness = np.abs(np.gradient(image.astype(np.float32), axis=1)) + np.abs(
        np.gradient(image.astype(np.float32), axis=2)
    )
    return image, np.clip(4 * steepness, 0, 255).astype(np.uint8), label, about


def write_pngs(folder: Path, **arrays: np.ndarray) -> None:
    for kind, pictures in arrays.items():
        (folder / kind).mkdir()
        for row, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / kind / f"{row}.png")


def plain_loop(folder: Path, label: np.ndarray, folds: list, *, epochs: int, num_workers: int, device: str):
    """Train the folds one after the other: seconds in all, and rows (fold, epoch, validation accuracy)."""
    curve, began = [], time.perf_counter()
    for fold, (train, validation) in enumerate(folds):
        torch.manual_seed(2020)
        model = models.build("guided", N_CLASSES).to(device)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        options = {"batch_size": BATCH_SIZE, "num_workers": num_workers}
        loader = DataLoader(PngPairs(folder, label, train), shuffle=True, **options)
        test_loader = DataLoader(PngPairs(folder, label, validation), **options)
        for epoch in range(1, epochs + 1):
            model.train()
            for image, guide, target in loader:
                loss = F.cross_entropy(model(image.to(device), guide.to(device)), target.to(device))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            model.eval()
            right = 0
            with torch.no_grad():
                for image, guide, target in test_loader:
                    right += (model(image.to(device), guide.to(device)).argmax(1).cpu() == target).sum().item()
            curve.append((fold, epoch, right / len(validation)))
    return time.perf_counter() - began, curve


def ours(image, guide, label, folds: list, *, recipe: Recipe, device: str, workers: int | None = None):
    """`train_stack` on the same folds; as `plain_loop`."""
    members = [Member(f"fold{n}", train, validation, seed=2020) for n, (train, validation) in enumerate(folds)]
    began = time.perf_counter()
    options = {"model": "guided", "n_classes": N_CLASSES, "recipe": recipe, "device": device, "progress": False}
    done = train_stack(image, guide, label, members, workers=workers, **options)
    seconds = time.perf_counter() - began
    return seconds, [
        (fold, row.epoch, row.validation_accuracy)
        for fold, item in enumerate(done)
        for row in item.history.itertuples()
    ]


def mean_curve(curve: list, seconds: float) -> pd.DataFrame:
    """Mean accuracy over the folds by epoch, and the epoch's share of `seconds`, the time of all folds together."""
    frame = pd.DataFrame(curve, columns=["fold", "epoch", "accuracy"])
    mean = frame.groupby("epoch")["accuracy"].mean()
    return pd.DataFrame(
        {"epoch": mean.index, "seconds": seconds * mean.index / mean.index.max(), "accuracy": mean.values}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=16, help="of the plain loop, for the accuracy to be reached")
    parser.add_argument("--recipe-epochs", type=int, nargs="+", default=[8, 9, 10], help="one_cycle lengths, in order")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="CSV of all curves")
    parser.add_argument("--quick", action="store_true", help="600 images, 1 epoch, no time to accuracy")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.epochs = 600, 1
    image, guide, label, about = load_pictures(arguments.images)
    splitter = StratifiedKFold(N_FOLDS, shuffle=True, random_state=2020)
    folds = [tuple(map(np.ascontiguousarray, pair)) for pair in splitter.split(image, label)]
    n_trained = sum(len(train) for train, _ in folds)
    where = f"{torch.get_num_threads()} threads" if arguments.device == "cpu" else torch.cuda.get_device_name()
    print(f"{about}; {N_FOLDS} folds, guided transformer, batch {BATCH_SIZE}; {arguments.device}, {where}", flush=True)
    curves = []

    def report(name: str, epochs: int, seconds: float, curve: list) -> None:
        mean = mean_curve(curve, seconds).assign(loop=name)
        curves.append(mean)
        rate = n_trained * epochs / seconds
        accuracy = mean.accuracy.iloc[-1]
        print(
            f"{name:32s} {epochs:2d} epochs {seconds:7.1f} s {rate:7.0f} images/s, accuracy {accuracy:.3f}", flush=True
        )

    with tempfile.TemporaryDirectory() as folder:
        write_pngs(Path(folder), image=image, guide=guide)
        plain = {}
        for num_workers in (0, 2):
            epochs = arguments.epochs if num_workers == 0 else 1
            took, curve = plain_loop(
                Path(folder), label, folds, epochs=epochs, num_workers=num_workers, device=arguments.device
            )
            plain[num_workers] = took / epochs
            report(f"plain loop, {num_workers} loader workers", epochs, took, curve)
    for mixed in (False, True):
        recipe = Recipe(epochs=arguments.epochs, patience=arguments.epochs, mixed_precision=mixed)
        took, curve = ours(image, guide, label, folds, device=arguments.device, recipe=recipe)
        name = "emolib, same recipe" + (", bfloat16" if mixed else "")
        report(name, arguments.epochs, took, curve)
        for num_workers, each in plain.items():
            ratio = each * arguments.epochs / took
            print(f"equal epochs: {ratio:.2f}x the plain loop with {num_workers} loader workers")
    if not arguments.quick:
        compare_time_to_accuracy(image, guide, label, folds, curves[0], arguments=arguments, report=report)
    if arguments.out:
        pd.concat(curves)[["loop", "epoch", "seconds", "accuracy"]].to_csv(arguments.out, index=False)


def compare_time_to_accuracy(image, guide, label, folds, plain: pd.DataFrame, *, arguments, report) -> None:
    """Seconds of the shortest one_cycle that reaches the plain loop's best mean accuracy less half a point."""
    goal = plain.accuracy.max() - 0.005
    reached = plain.loc[plain.accuracy >= goal, "seconds"].iloc[0]
    print(f"goal: mean validation accuracy {goal:.3f}, the plain loop reaches it after {reached:.1f} s")
    for name, recipe in (("one_cycle", FASTER), ("bfloat16 one_cycle", MIXED)):
        hit = shortest(name, recipe, image, guide, label, folds, goal, arguments=arguments, report=report)
        if hit is None:
            print(f"time to accuracy, {name}: none of these lengths reached the goal")
        else:
            print(f"time to accuracy, {name}: {reached / hit:.2f}x ({hit:.1f} s)", flush=True)


def shortest(name: str, recipe: Recipe, image, guide, label, folds, goal: float, *, arguments, report) -> float | None:
    """Seconds until `recipe`, over the first of the lengths that reaches `goal`, does; None if none does."""
    for epochs in arguments.recipe_epochs:
        of_length = replace(recipe, epochs=epochs, patience=epochs)
        took, curve = ours(image, guide, label, folds, recipe=of_length, device=arguments.device)
        report(f"emolib, {name} over {epochs}", epochs, took, curve)
        best = mean_curve(curve, took)
        if (best.accuracy >= goal).any():
            return float(best.seconds[best.accuracy >= goal].iloc[0])
    return None


if __name__ == "__main__":
    main()
