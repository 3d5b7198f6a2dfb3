"""Training system C's bi-LSTM on five folds: this project's way against the plain way, seconds and their ratio.

    python benchmarks/au_sequences.py [--epochs 3] [--sequences 1440] [--workers 2]

Sequences are made up: 1,440 of 24 subjects, 35 columns, of lengths as RAVDESS has them (75 to 155 frames, 110 in the
middle). The plain way is one fold after the other in one process with torch's own threads: `DataLoader` without
workers, `pad_sequence` in shuffled order, a packed `nn.LSTM`. Ours is `cross_fit` with a process a core: batches of
like length, unpacked in oneDNN's kernel. Same folds, epochs, batch size, network, optimiser and rate; features as they
are in both; both validate after each epoch and answer for all rows at the end. The time of starting processes is
counted.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

from emolib import sequences
from emolib.cross_fitting import cross_fit
from emolib.folds import Fold, make_folds
from emolib.labels import names
from emolib.ragged import Ragged

N_FEATURES, N_SUBJECTS, BATCH, RATE = 35, 24, 64, 1e-3
CLASSES = names("ravdess8")


def made(n: int, seed: int = 0) -> tuple[Ragged, pd.DataFrame]:
    """`n` sequences of noise around a slow curve that the class decides, and their performances."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % len(CLASSES)
    slope = rng.normal(0, 1, (len(CLASSES), N_FEATURES))
    some = []
    for k in label:
        time_ = np.linspace(-1, 1, int(np.clip(rng.normal(110, 14), 75, 155)))
        some.append(time_[:, None] * slope[k] + rng.normal(0, 2, (len(time_), N_FEATURES)))
    table = pd.DataFrame({"performance": [f"v{k:04d}" for k in range(n)], "label": label})
    table["subject"] = [f"{1 + k * N_SUBJECTS // n:02d}" for k in range(n)]
    return Ragged.of_list(some), table


class Plain(nn.Module):
    """A packed bidirectional LSTM and attention over its steps."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(N_FEATURES, 50, num_layers=2, dropout=0.3, bidirectional=True, batch_first=True)
        layers = [nn.Linear(100, 100), nn.Tanh(), nn.Dropout(0.3), nn.Linear(100, 1), nn.Tanh(), nn.Dropout(0.3)]
        self.score = nn.Sequential(*layers)
        self.classifier = nn.Linear(100, len(CLASSES))

    def forward(self, values: Tensor, length: Tensor) -> Tensor:
        packed = pack_padded_sequence(values, length, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        real = torch.arange(hidden.shape[1]) < length[:, None]
        weight = self.score(hidden).squeeze(2).masked_fill(~real, -torch.inf).softmax(1)
        return self.classifier((weight[:, :, None] * hidden).sum(1))


def loader(data: Ragged, label: np.ndarray, rows: np.ndarray, *, shuffle: bool) -> DataLoader:
    """Batches (values, length, label)."""
    some = [(torch.from_numpy(data[int(row)].copy()), int(label[row])) for row in rows]

    def collate(batch: list) -> tuple[Tensor, Tensor, Tensor]:
        values, labels = zip(*batch, strict=True)
        return pad_sequence(values, batch_first=True), torch.tensor([len(one) for one in values]), torch.tensor(labels)

    return DataLoader(some, batch_size=BATCH, shuffle=shuffle, collate_fn=collate, num_workers=0)


@torch.inference_mode()
def posterior(model: Plain, batches: DataLoader) -> np.ndarray:
    """Float [n, C]."""
    model.eval()
    return torch.cat([model(values, length).softmax(1) for values, length, _ in batches]).numpy()


def plainly(data: Ragged, table: pd.DataFrame, folds: list[Fold], *, epochs: int) -> float:
    """Mean accuracy of the folds, trained one after the other."""
    label, found = table["label"].to_numpy(), []
    for fold in folds:
        torch.manual_seed(2020)
        model = Plain()
        optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
        training = loader(data, label, fold.train, shuffle=True)
        validation = loader(data, label, fold.validation, shuffle=False)
        for _ in range(epochs):
            model.train()
            for values, length, target in training:
                loss = nn.functional.cross_entropy(model(values, length), target)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
            posterior(model, validation)
        posterior(model, loader(data, label, np.concatenate([fold.train, fold.validation]), shuffle=False))
        said = posterior(model, loader(data, label, fold.test, shuffle=False)).argmax(1)
        found.append(np.mean(said == label[fold.test]))
    return float(np.mean(found))


def ours(data: Ragged, table: pd.DataFrame, folds: list[Fold], *, epochs: int, workers: int) -> float:
    """Mean accuracy of the folds by `cross_fit`."""
    label = table["label"].to_numpy()
    fit = partial(
        sequences.fit,
        sequences=data,
        label=label,
        n_classes=len(CLASSES),
        recipe={"epochs": epochs, "patience": epochs, "batch_size": BATCH, "learning_rate": RATE, "scaling": "none"},
    )
    done = cross_fit(fit, table, folds=folds, seeds=[2020], classes=CLASSES, workers=workers, progress=False)
    tested = done.posteriors[done.posteriors["subset"] == "test"]
    of = table.set_index("performance")["label"].loc[tested["performance"]].to_numpy()
    right = tested.filter(regex="^p_").to_numpy().argmax(1) == of
    return float(pd.Series(right).groupby(tested["fold"].to_numpy()).mean().mean())


def main() -> None:
    """Time both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=1440)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    data, table = made(given.sequences)
    folds = make_folds(table, n_folds=5, protocol="nested", seed=2020)
    print(f"{len(data):,} sequences, {len(data.values):,} steps, 5 folds, {given.epochs} epochs")
    ways = {
        f"plain, {torch.get_num_threads()} thread(s)": partial(plainly, data, table, folds, epochs=given.epochs),
        f"ours, {given.workers} process(es)": partial(
            ours, data, table, folds, epochs=given.epochs, workers=given.workers
        ),
    }
    seconds = {}
    for name, way in ways.items():
        began = time.perf_counter()
        accuracy = way()
        seconds[name] = time.perf_counter() - began
        print(f"{name:24s} {seconds[name]:8.1f} s   accuracy of the test subjects {accuracy:.3f}")
    plain, own = seconds.values()
    print(f"ratio {plain / own:.2f}")


if __name__ == "__main__":
    main()
