"""ONNX Runtime against PyTorch on the CPU: pictures a second of the same classifier, one at a time and 64 at once.

    python benchmarks/onnx_speed.py [--weights seven] [--threads 2] [--seconds 3]

Without `--weights`, networks of the registry with drawn weights: what they answer does not change how long it takes.
PyTorch runs as `Classifier.posterior` does (uint8 in, posterior out, its conversions included), and as the network
alone on a tensor that is ready (channels last, inference mode); so does ONNX Runtime, with and without the scaling.
All answers are compared first. (Not named onnx.py: a script's folder comes first where packages are looked for.)
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from emolib import classify, models, onnx_export

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BATCHES = (1, 64)
ROUNDS = 5  # the ways take turns, and the best round of each counts: a busy moment hits one round


def rate(calls: dict[str, Callable[[], object]], n: int, seconds: float) -> dict[str, float]:
    """Pictures a second of each call on `n` pictures: its best of `ROUNDS` turns."""
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, 0.0)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            done, start = 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < seconds / ROUNDS:
                call()
                done += 1
            best[name] = max(best[name], n * done / spent)
    return best


def ways(classifier: classify.Classifier, path: Path, n: int, threads: int) -> dict[str, Callable[[], object]]:
    """Name -> a call that answers `n` pictures."""
    names, rng = onnx_export.input_names(classifier), np.random.default_rng(0)
    grey = {name: rng.integers(0, 256, (n, 48, 48), dtype=np.uint8) for name in names}
    ready = {name: onnx_export.scaled(one) for name, one in grey.items()}
    tensors = [torch.from_numpy(one).to(memory_format=torch.channels_last) for one in ready.values()]
    runtime = onnx_export.session(path, threads=threads)
    answer = onnx_export.Answer(classifier.network, classifier.temperature).eval()

    def network() -> torch.Tensor:
        with torch.inference_mode():
            return answer(*tensors)

    found = {
        "torch, uint8 in": lambda: classifier.posterior(grey["image"], guide=grey.get("guide")),
        "torch, network": network,
        "onnx, uint8 in": lambda: runtime.run(None, {k: onnx_export.scaled(v) for k, v in grey.items()})[0],
        "onnx, network": lambda: runtime.run(None, ready)[0],
    }
    difference = max(np.abs(np.asarray(call()) - found["torch, uint8 in"]()).max() for call in found.values())
    if difference > onnx_export.TOLERANCE:
        raise AssertionError(f"{classifier.name}: answers differ by {difference:.2g}")
    return found


def drawn(folder: Path) -> list[Path]:
    """A file of drawn weights for every network of the registry."""
    paths = []
    for name in models.MODELS:
        torch.manual_seed(0)
        state = models.build(name, len(CLASSES)).state_dict()
        paths.append(folder / f"{name}.safetensors")
        classify.save_classifier(paths[-1], state, model=name, classes=CLASSES, crop="loose", facts={})
    return paths


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="*", help="names or files; drawn weights where not given")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=3.0, help="for each of the numbers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"pictures a second, {given.threads} thread(s); ratio: ONNX Runtime over PyTorch, uint8 in")
    with tempfile.TemporaryDirectory() as folder:
        for weights in given.weights or drawn(Path(folder)):
            classifier = classify.load(weights, device="cpu")
            path = Path(folder) / "it.onnx"
            onnx_export.export(classifier, path)
            for n in BATCHES:
                found = rate(ways(classifier, path, n, given.threads), n, given.seconds)
                ratio = found["onnx, uint8 in"] / found["torch, uint8 in"]
                numbers = "  ".join(f"{name} {value:8,.0f}" for name, value in found.items())
                size = f"{classifier.n_parameters / 1e6:.2f} M"
                print(f"{Path(classifier.name).stem:10s} {size:>7s}  batch {n:2d}  {numbers}  ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
