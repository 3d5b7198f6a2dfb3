"""Trains one classifier of single pictures, and resumes it where it was killed; `emolib.classifier.steps` is the loop.

Every draw (order, augmentation, mixing, dropout) is a function of the seed, the epoch and the step, so a training that
was killed goes on from its last whole epoch and, on a CPU with as many threads, ends with the same bits. On a GPU it
is not deterministic to the bit.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from emolib.classifier import distil, targets
from emolib.classifier.recipe import ClassifierRecipe
from emolib.classifier.steps import Data, Task, train_epoch, validate
from emolib.engines.arrays import as_tensor
from emolib.engines.checks import check_arrays, check_members, settings
from emolib.engines.plan import Member, Network, start
from emolib.engines.processes import _numeric_mode
from emolib.engines.progress import Progress, load_checkpoint, portable, save_checkpoint
from emolib.training import Trained, pick_device

HISTORY_COLUMNS = [
    *("epoch", "train_loss", "validation_loss", "validation_accuracy", "raw_accuracy", "ema_accuracy", "weights"),
    *("learning_rate", "size_px", "seconds"),
]


def fit(
    image: np.ndarray,
    label: np.ndarray,
    member: Member,
    *,
    model: str,
    n_classes: int,
    recipe: ClassifierRecipe,
    target: np.ndarray | None = None,
    teachers: Sequence[nn.Module] = (),
    model_options: Mapping | None = None,
    checkpoint_dir: str | Path | None = None,
    device: str = "auto",
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool = True,
) -> Trained:
    """Train one network on pictures alone.

    Parameters
    ----------
    image : uint8 [N, 48, 48].
    label : int [N]; 0 to n_classes - 1 in the member's rows. Balancing and validation go by it.
    member : rows to learn from and to validate by, seed, weights to start from.
    model, n_classes, model_options : as for `emolib.models.build`; a network without a guide.
    recipe : how.
    target : float32 [N, n_classes], what is to be answered; None for the labels themselves.
    teachers : networks (`distil.load_teachers`), or none.
    checkpoint_dir : where ``<member's name>.pt`` is left after every epoch; if it is there, the training resumes.
    device : as for `emolib.training.train_stack`.
    on_epoch : hears of every epoch's row of the history.
    progress : show one bar, in pixels seen, on standard error.

    Returns
    -------
    Trained
        The state that the recipe keeps, and the history: accuracy of the raw weights and of their moving average, the
        better one as `validation_accuracy`, and which one that was (`weights`: "raw" or "ema").

    Raises
    ------
    TypeError, ValueError
        An input is not allowed, or the checkpoint belongs to another training; the message names what differs.
    FloatingPointError
        The loss is not finite.
    """
    network = Network(model, n_classes, dict(model_options or {}))
    if network.needs_guide:
        raise ValueError(f"model {model!r} needs a guide; classifiers learn from single pictures")
    check_arrays(image, None, label, needs_guide=False)
    check_members([member], label, network)
    label = np.array(label, dtype=np.int64)
    target = targets.one_hot(np.where(label < n_classes, label, -1), n_classes) if target is None else target
    _check_target(target, member, shape=(len(label), n_classes))
    known = settings(member, network=network, recipe=recipe, engine="classifier", image=image, guide=None, label=label)
    known |= {"target": _digest(target[member.train]), "teachers": [_digest(*_arrays(one)) for one in teachers]}
    device = torch.device(pick_device(device))
    task = _task(member, network, recipe, teachers, label, device)
    done = Progress()
    checkpoint = None if checkpoint_dir is None else Path(checkpoint_dir) / f"{member.name}.pt"
    if checkpoint is not None and checkpoint.exists():
        done = _resume(checkpoint, task, known)

    draws = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with _numeric_mode(torch.get_num_threads()), _bar(task, done, show=progress) as bar, draws:
        data = _on_device(image, label, target, teachers, recipe, device)
        rows = torch.from_numpy(member.validation).to(device)
        while done.epoch < recipe.epochs:
            began = time.perf_counter()
            row = train_epoch(task, data, epoch=done.epoch + 1, on_step=bar.update)
            row |= validate(task, data, rows)
            row["seconds"] = time.perf_counter() - began
            _record(done, row, task)
            if checkpoint is not None:
                _save(checkpoint, task, known, done)
            bar.set_postfix_str(f"epoch {done.epoch}: {row['validation_accuracy']:.3f} of validation", refresh=False)
            if on_epoch is not None:
                on_epoch(done.history[-1])
    history = pd.DataFrame(done.history, columns=HISTORY_COLUMNS)
    return Trained(member.name, done.best_state, done.best_epoch, history)


def _check_target(target: np.ndarray, member: Member, *, shape: tuple[int, int]) -> None:
    if target.dtype != np.float32 or target.shape != shape:
        raise ValueError(f"target: {target.dtype} {target.shape} received, float32 {shape} is allowed")
    of_training = target[member.train]
    wrong = np.flatnonzero((of_training < 0).any(axis=1) | (np.abs(of_training.sum(axis=1) - 1) > 1e-4))
    if len(wrong):
        row = member.train[wrong[0]]
        raise ValueError(f"target, row {row}: {target[row].tolist()} received, shares that sum to 1 are allowed")


def _task(
    member: Member,
    network: Network,
    recipe: ClassifierRecipe,
    teachers: Sequence[nn.Module],
    label: np.ndarray,
    device: torch.device,
) -> Task:
    net = start(member, network).to(device, memory_format=torch.channels_last)
    average = class_weight = None
    if recipe.ema_decay:
        average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    if recipe.balance == "loss":
        weight = targets.class_weights(label[member.train], network.n_classes, power=recipe.balance_power)
        class_weight = weight.to(device)
    asked = teachers if recipe.distil_on == "augmented" else ()
    asked = [teacher.to(device, memory_format=torch.channels_last) for teacher in asked]
    return Task(net, average, recipe.make_optimiser(net), member, recipe, asked, class_weight)


def _on_device(
    image: np.ndarray,
    label: np.ndarray,
    target: np.ndarray,
    teachers: Sequence[nn.Module],
    recipe: ClassifierRecipe,
    device: torch.device,
) -> Data:
    image, label, target = (as_tensor(array).to(device) for array in (image, label, target))
    answer = None
    if teachers and recipe.distil_on == "clean":
        moved = [teacher.to(device, memory_format=torch.channels_last) for teacher in teachers]
        answer = distil.clean_answers(moved, image, temperature=recipe.distil_temperature)
    return Data(image, label, target, answer)


def _record(done: Progress, row: dict, task: Task) -> None:
    """Add an epoch to `done`, with the weights that the recipe keeps."""
    ema = task.average is not None and (task.recipe.keep == "last" or row["weights"] == "ema")
    state = (task.average.module if ema else task.net).state_dict()
    done.record(row, state, monitor="accuracy", name=task.member.name)
    if task.recipe.keep == "last":
        done.best_epoch, done.best_state = done.epoch, portable(state)


def _save(checkpoint: Path, task: Task, known: dict, done: Progress) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    states = {"raw": portable(task.net.state_dict())}
    if task.average is not None:
        states["ema"] = portable(task.average.state_dict())
    optimiser = task.optimiser.state_dict()
    save_checkpoint(checkpoint, settings=known, model=states, optimiser=optimiser, progress=done)


def _resume(checkpoint: Path, task: Task, known: dict) -> Progress:
    states, optimiser, done = load_checkpoint(checkpoint, settings=known)
    task.net.load_state_dict(states["raw"])
    if task.average is not None:
        task.average.load_state_dict(states["ema"])
    task.optimiser.load_state_dict(optimiser)
    return done


def _bar(task: Task, done: Progress, *, show: bool) -> tqdm:
    """A bar in pixels: epochs of smaller pictures take less time, so their number would say little of the rest."""
    recipe = task.recipe
    batch = min(recipe.batch_size, len(task.member.train))
    of_epoch = [
        recipe.steps_of_epoch(len(task.member.train)) * batch * recipe.size_px(epoch) ** 2
        for epoch in range(1, recipe.epochs + 1)
    ]
    # A log keeps every line that a terminal overwrites: rarely there.
    interval = 0.5 if sys.stderr.isatty() else 30.0
    options = {"unit": "px", "unit_scale": True, "mininterval": interval, "disable": not show}
    return tqdm(total=sum(of_epoch), initial=sum(of_epoch[: done.epoch]), desc=task.member.name, **options)


def _arrays(network: nn.Module) -> list[np.ndarray]:
    return [tensor.detach().cpu().numpy() for tensor in network.state_dict().values()]


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
