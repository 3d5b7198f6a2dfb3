"""How far a member is: early stopping, the best weights so far, and the checkpoint after every epoch."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from emolib.engines.plan import Recipe

CHECKPOINT_VERSION = 1


@dataclass
class Progress:
    """A member between two epochs; `history` has a dict an epoch, with the columns of `Trained.history`."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_state: dict[str, Tensor] = field(default_factory=dict, repr=False)
    history: list[dict] = field(default_factory=list)

    @property
    def best_accuracy(self) -> float:
        """Validation accuracy of the best epoch."""
        return self.history[self.best_epoch - 1]["validation_accuracy"]

    def record(self, row: dict, state: dict[str, Tensor], *, monitor: str, name: str) -> None:
        """Add a finished epoch; of equally good epochs the first stays the best. `state` is copied if it is kept.

        Raises
        ------
        FloatingPointError
            The training loss is not finite.
        """
        self.epoch += 1
        if not math.isfinite(row["train_loss"]):
            raise FloatingPointError(
                f"member {name!r}: the training loss is {row['train_loss']} in epoch {self.epoch} at learning rate "
                f"{row['learning_rate']:.3g}; a lower learning_rate or a clip_norm helps"
            )
        self.history.append({"epoch": self.epoch, **row})
        score = row["validation_accuracy"] if monitor == "accuracy" else -row["validation_loss"]
        if score > self.best_score or not self.best_epoch:
            self.best_score, self.best_epoch = score, self.epoch
            self.best_state = portable(state)

    def finished(self, recipe: Recipe) -> bool:
        """Whether the member has had its epochs, or `patience` of them without a better one."""
        return self.epoch >= recipe.epochs or self.epoch - self.best_epoch >= recipe.patience


def portable(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of `state` on the CPU in the plain memory layout."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}


def save_checkpoint(path: Path, *, settings: dict, model: dict, optimiser: dict, progress: Progress) -> None:
    """Replace the checkpoint at `path` in one step: a kill at any moment leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    content = {"version": CHECKPOINT_VERSION, "settings": settings, "model": model, "optimiser": optimiser}
    with temporary.open("wb") as file:
        torch.save({**content, "progress": asdict(progress)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, *, settings: dict) -> tuple[dict, dict, Progress]:
    """Model state, optimiser state and progress of the checkpoint at `path`.

    Raises
    ------
    ValueError
        It was written by a training of other `settings` (the error names which), or is no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises RuntimeError, UnpicklingError, EOFError ... by what is broken
        raise ValueError(f"{path}: no readable checkpoint ({error}); remove it to train from the start") from error
    if not isinstance(content, dict) or content.get("version") != CHECKPOINT_VERSION:
        raise ValueError(f"{path}: no checkpoint of version {CHECKPOINT_VERSION}")
    theirs = content["settings"]
    differing = [
        f"{name} is {_short(settings.get(name))} now, {_short(theirs.get(name))} in the checkpoint"
        for name in sorted(set(settings) | set(theirs))
        if settings.get(name) != theirs.get(name)
    ]
    if differing:
        raise ValueError(
            f"{path}: written by a training of other settings: {'; '.join(differing)}. "
            "Give the old settings to resume it, or another checkpoint_dir to train anew"
        )
    return content["model"], content["optimiser"], Progress(**content["progress"])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:16]}...{text[-8:]}"
