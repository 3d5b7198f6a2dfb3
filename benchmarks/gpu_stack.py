"""Stacked training on an NVIDIA GPU: images a second of 50 models at once, and an epoch of RAVDESS's size in 5 folds.

Data are made up (noise, 8 classes): pixels do not change the work. The first epoch, in which kernels are chosen and
memory is taken, is not counted; an epoch's seconds include its validation and the copy of the best weights.

    python benchmarks/gpu_stack.py
    python benchmarks/gpu_stack.py --device cpu --quick     # the same code path, tiny; its numbers mean nothing
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from emolib.training import Member, Recipe, train_stack

N_CLASSES, N_FOLDS = 8, 5
RAVDESS_FRAMES = 154_108
AIM_IMAGES_A_SECOND = 500_000


def made_up(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image and guide uint8 [n, 48, 48], and label."""
    rng = np.random.default_rng(0)
    image, guide = (rng.integers(0, 256, (n, 48, 48), dtype=np.uint8) for _ in range(2))
    return image, guide, rng.integers(0, N_CLASSES, n)


def folds(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and validation rows of each of the five folds."""
    rows = np.arange(n)
    return [(rows[rows % N_FOLDS != k], rows[rows % N_FOLDS == k]) for k in range(N_FOLDS)]


def many(n: int, n_models: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each model its own 4/5 of `n` rows, and a thousand to validate on."""
    rng = np.random.default_rng(1)
    orders = [rng.permutation(n) for _ in range(n_models)]
    return [(order[: 4 * n // 5], order[-min(1000, n // 5) :]) for order in orders]


def measure(name: str, data: tuple, lists: list, *, recipe: Recipe, device: str) -> float:
    """Train `lists` in one stack; print and return training images a second over all models."""
    members = [Member(f"m{k}", train, validation, seed=k) for k, (train, validation) in enumerate(lists)]
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    options = {"model": "guided", "n_classes": N_CLASSES, "device": device, "engine": "stacked", "progress": False}
    done = train_stack(*data, members, recipe=recipe, **options)
    seconds = done[0].history["seconds"].iloc[1:].mean()  # of the whole stack
    rate = sum(len(member.train) for member in members) / seconds
    memory = "" if device == "cpu" else f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    print(f"{name}: {seconds:8.3f} s an epoch, {rate:10,.0f} training images/s{memory}", flush=True)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:<n> or cpu")
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--frames", type=int, default=RAVDESS_FRAMES)
    parser.add_argument("--images", type=int, default=20_000, help="that the models draw their rows from")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--epochs", type=int, default=4, help="the first is not counted")
    parser.add_argument("--quick", action="store_true", help="4 models on 300 images, 2 epochs")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error(f"--epochs {arguments.epochs}: 2 or more are allowed, since the first is not counted")
    if arguments.device != "cpu" and not torch.cuda.is_available():
        print("gpu_stack: no CUDA device here, nothing measured (--device cpu --quick runs the same code tiny)")
        return
    if arguments.quick:
        arguments.models, arguments.frames, arguments.images, arguments.epochs = 4, 300, 300, 2
        arguments.batch_sizes = [64]
    on_cpu = arguments.device == "cpu"
    where = "CPU, where the stack is not meant to run" if on_cpu else torch.cuda.get_device_name(arguments.device)
    print(f"{where}; torch {torch.__version__}; guided transformer, {N_CLASSES} classes")
    best, epochs = 0.0, arguments.epochs
    for batch_size in arguments.batch_sizes:
        for mixed in (False,) if on_cpu else (False, True):
            recipe = Recipe(epochs=epochs, patience=epochs, batch_size=batch_size, mixed_precision=mixed)
            how = f"batch {batch_size}, {'bfloat16' if mixed else 'float32'}"
            options = {"recipe": recipe, "device": arguments.device}
            lists = many(arguments.images, arguments.models)
            rate = measure(f"{arguments.models} models, {how}", made_up(arguments.images), lists, **options)
            name = f"{arguments.frames:,} frames, {N_FOLDS} folds, {how}"
            best = max(best, rate, measure(name, made_up(arguments.frames), folds(arguments.frames), **options))
    print(f"most: {best:,.0f} training images/s (aim: over {AIM_IMAGES_A_SECOND:,})")


if __name__ == "__main__":
    main()
