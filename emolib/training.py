"""Trains a stack of equal networks (folds, variants) on index lists into one set of arrays.

The arrays are read where they lie, as uint8, by index: no loader, no copy an item. On a GPU the members are stacked
and stepped together (`emolib.engines.stacked`), on a CPU each is a plain loop in a process of its own
(`emolib.engines.processes`). Both mean the same: `emolib.engines.steps` is the loop to read.

On a CPU the result depends on the seeds alone: not on the number of workers, nor on a kill and a resume between. (A
stack of fewer members than cores gives each more threads, which may change last bits against another machine.) On a
GPU it is not deterministic to the bit: its kernels add in any order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from emolib.engines import processes, stacked
from emolib.engines.checks import check_arrays, check_members, settings
from emolib.engines.plan import Member, Network, Recipe
from emolib.engines.progress import Progress, load_checkpoint
from emolib.engines.steps import Data, Job

__all__ = ["ENGINES", "HISTORY_COLUMNS", "Member", "Recipe", "Trained", "pick_device", "train_stack"]

ENGINES = ("auto", "processes", "stacked")
HISTORY_COLUMNS = ["epoch", "train_loss", "validation_loss", "validation_accuracy", "learning_rate", "seconds"]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained member.

    Attributes
    ----------
    state : tensors of its best epoch, on the CPU.
    best_epoch : from 1; the first of equally good ones by the recipe's `monitor`.
    history : a row an epoch; `train_loss` is the mean a sample while it was trained (weighted if the recipe weighs
        classes), `learning_rate` that of its last step, `seconds` its wall time (of the whole stack on a GPU).
    """

    name: str
    state: dict[str, Tensor] = field(repr=False)
    best_epoch: int
    history: pd.DataFrame


def train_stack(
    image: np.ndarray,
    guide: np.ndarray | None,
    label: np.ndarray,
    members: Sequence[Member],
    *,
    model: str,
    n_classes: int,
    recipe: Recipe,
    model_options: Mapping | None = None,
    checkpoint_dir: str | Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    progress: bool = True,
) -> list[Trained]:
    """Train `members`, each a network `model` of its own, on `image` (and `guide`).

    Parameters
    ----------
    image, guide : uint8 [N, 48, 48]; the guide may be None for a network that reads none. Maps (`np.memmap`) are
        opened again by the workers, other arrays are written once to a temporary file that they map: nothing is
        pickled.
    label : int [N]; 0 to n_classes - 1 in the rows that members use.
    members : what each learns from and is stopped by; lists of any length.
    model, n_classes, model_options : as for `emolib.models.build`.
    recipe : the same for all members.
    checkpoint_dir : where each member leaves ``<name>.pt`` after every epoch. If it is there, training resumes from
        it, exactly on a CPU; a finished member is not trained again.
    workers : processes of the CPU's engine; 1 trains in this process, None is one a core (at most one a member). A
        script that uses more needs ``if __name__ == "__main__"``; a notebook needs nothing.
    device : "auto" (CUDA if there is one, else CPU), "cpu", "cuda" or "cuda:<n>".
    engine : "auto" ("stacked" on CUDA, "processes" on the CPU), "processes" (CPU only) or "stacked".
    progress : show one bar for all members on standard error.

    Returns
    -------
    In the order of `members`.

    Raises
    ------
    TypeError, ValueError
        An input is not allowed, or a checkpoint belongs to a training of other settings; the message names which.
    RuntimeError
        A worker process died or failed; the message names the member.
    FloatingPointError
        A member's loss is not finite (from a worker: RuntimeError).
    """
    network = Network(model, n_classes, dict(model_options or {}))
    device, engine = _check_options(recipe, workers=workers, device=device, engine=engine)
    check_arrays(image, guide, label, needs_guide=network.needs_guide)
    check_members(members, label, network)
    guide = guide if network.needs_guide else None
    label = np.array(label, dtype=np.int64)
    same = {"network": network, "recipe": recipe, "engine": engine, "image": image, "guide": guide, "label": label}
    if checkpoint_dir is not None:
        Path(checkpoint_dir).mkdir(parents=True, exist_ok=True)
    jobs = []
    for member in members:
        path = None if checkpoint_dir is None else Path(checkpoint_dir) / f"{member.name}.pt"
        jobs.append(Job(member, network, recipe, settings(member, **same), path))
        if path is not None and path.exists():
            load_checkpoint(path, settings=jobs[-1].settings)  # refused now rather than after an hour
    with _bar(members, recipe, show=progress) as on_epoch:
        if engine == "stacked":
            done = stacked.run(Data.of(image, guide, label, device=device), jobs, on_epoch=on_epoch)
        else:
            cores = joblib.cpu_count()
            n_workers = 0 if workers == 1 else workers or cores
            threads = max(
                1, cores // len(members)
            )  # of the stack, not of the workers: these must not change the result
            done = processes.run((image, guide, label), jobs, workers=n_workers, threads=threads, on_epoch=on_epoch)
    return [_trained(member, item) for member, item in zip(members, done, strict=True)]


def pick_device(device: str) -> str:
    """`device` with "auto" resolved: CUDA if there is one, else the CPU.

    Raises
    ------
    ValueError
        The device is unknown or not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise ValueError(f"device: {device!r} received, 'auto', 'cpu', 'cuda' or 'cuda:<n>' is allowed")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: {device!r} received, this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def _check_options(recipe: Recipe, *, workers: int | None, device: str, engine: str) -> tuple[str, str]:
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe: {type(recipe).__name__} received, an emolib.training.Recipe is allowed")
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ValueError(f"workers: {workers!r} received, None or a whole number >= 1 is allowed")
    if engine not in ENGINES:
        raise ValueError(f"engine: {engine!r} received, one of {', '.join(ENGINES)} is allowed")
    device = pick_device(device)
    if engine == "auto":
        engine = "processes" if device == "cpu" else "stacked"
    if engine == "processes" and device != "cpu":
        raise ValueError(f"engine: 'processes' received with device {device!r}; it trains on the CPU only")
    return device, engine


@contextmanager
def _bar(members: Sequence[Member], recipe: Recipe, *, show: bool) -> Iterator[Callable[[int, Progress], None]]:
    """One bar over the epochs of all members; what it yields is told each member's progress."""
    seen = dict.fromkeys(range(len(members)), 0)
    best = {}
    # A log keeps every line that a terminal overwrites: rarely there.
    interval = 0.5 if sys.stderr.isatty() else 10.0
    total = recipe.epochs * len(members)
    with tqdm(total=total, unit="epoch", desc="training", mininterval=interval, disable=not show) as bar:

        def on_epoch(number: int, progress: Progress) -> None:
            step = progress.epoch - seen[number]
            seen[number], best[number] = progress.epoch, progress.best_accuracy
            if step > 1 and show:
                bar.initial += step  # resumed: no work of this run, so not in its rate
            if progress.finished(recipe):
                bar.total -= recipe.epochs - progress.epoch
            leader = max(best, key=best.get)
            text = f"best validation accuracy {best[leader]:.3f} ({members[leader].name})"
            bar.set_postfix_str(text, refresh=False)
            bar.update(step)

        yield on_epoch


def _trained(member: Member, progress: Progress) -> Trained:
    history = pd.DataFrame(progress.history, columns=HISTORY_COLUMNS)
    return Trained(member.name, progress.best_state, progress.best_epoch, history)
