"""Trained classifiers of single faces, opened by name or path: uint8 faces in, calibrated posteriors out.

| term | meaning |
|---|---|
| shipped | a file ``emolib/shipped/<name>.safetensors``, part of the package |
| crop | how a face is to be cut for it: "aligned" (eyes level, as a frame store's), "loose" (a detector's box with hair and background, as FER-2013's) or "" (the file does not say) |
| temperature | the posterior is raised to 1 / temperature and normalised (Guo et al. 2017, arXiv:1706.04599) |
| views | how many versions of a picture are averaged: a count in `VIEWS`, each a set of `emolib.classifier.views` |

Only safetensors are read (`emolib.classifier_file`): they hold numbers and no code.
"""  # noqa: E501 (a table's row)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from emolib import models, posteriors, shipped
from emolib.classifier.views import VIEWS as views_of
from emolib.classifier.views import show
from emolib.classifier_file import CROPS, read_classifier, save_classifier
from emolib.engines.arrays import as_tensor
from emolib.training import pick_device

__all__ = [
    "CROPS",
    "VIEWS",
    "Classifier",
    "Ensemble",
    "find",
    "load",
    "ready_crop",
    "save_classifier",
    "shipped_names",
]

# 1 as it is, 2 and mirrored, 6 both in three sizes, 10 both at five places
VIEWS = {len(versions): versions for versions in views_of.values()}
WEIGHTS_FILE = "weights.safetensors"  # of a run
_SHIPPED = Path(shipped.__file__).parent


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network and what is needed to use it; get it from `load`.

    Attributes
    ----------
    name : as given to `load`.
    model : its name in `models.MODELS`.
    classes : names of the posterior's columns.
    temperature : above 0; 1 where the file holds none.
    crop : one of `CROPS`, or "" where the file does not say.
    facts : what else the file says (``trained_on``, ``run``, ``code``, ``params``, ``metrics`` ...: `shipping.ship`).
    path : the file.
    network : in evaluation mode, ``network(image, guide=None)`` gives logits.
    """

    name: str
    model: str
    classes: tuple[str, ...]
    temperature: float
    crop: str
    facts: Mapping[str, Any]
    path: Path
    network: nn.Module = field(repr=False)

    @property
    def members(self) -> tuple[Classifier, ...]:
        """Itself: an ensemble of one."""
        return (self,)

    @property
    def needs_guide(self) -> bool:
        """Whether a guide image is needed beside each picture."""
        return self.network.needs_guide

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def posterior(
        self, images: np.ndarray, *, guide: np.ndarray | None = None, views: int = 1, batch_size: int = 256
    ) -> np.ndarray:
        """Posteriors of grey faces, tempered.

        Parameters
        ----------
        images : uint8 [N, 48, 48], cut as `crop` says; maps are read a batch at a time. N may be 0.
        guide : uint8 [N, 48, 48], needed if `needs_guide`, else left unread.
        views : one of `VIEWS`; posteriors are averaged before the temperature is applied.
        batch_size : pictures at a time.

        Returns
        -------
        float32 [N, C]; rows sum to 1.

        Raises
        ------
        ValueError
            A shape, a type or an option is not allowed, or a guide is needed and not given.
        """
        if views not in VIEWS:
            raise ValueError(f"views: {views} received, allowed are {', '.join(map(str, sorted(VIEWS)))}")
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} received, 1 or more is allowed")
        if self.needs_guide and guide is None:
            raise ValueError(f"guide: None received, but {self.name!r} ({self.model}) reads one beside each picture")
        sources = [as_tensor(_checked(images, "images"))]
        if self.needs_guide:
            sources.append(as_tensor(_checked(guide, "guide", n=len(images))))
        device = next(self.network.parameters()).device
        result = np.empty((len(images), len(self.classes)), dtype=np.float32)
        with torch.inference_mode():
            for first in range(0, len(images), batch_size):
                part = slice(first, first + batch_size)
                arguments = [_scaled(source[part].to(device)) for source in sources]
                shown = ([show(argument, view) for argument in arguments] for view in VIEWS[views])
                mean = sum(self.network(*one).double().softmax(1) for one in shown) / views
                result[part] = posteriors.apply_temperature(mean.cpu().numpy(), self.temperature)
        return result


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Classifiers of the same classes, answering with the mean of their posteriors in the first one's order.

    It has the attributes of a `Classifier` but for `model`, `path` and `network`; its members' temperatures are
    applied, so its own is 1.
    """

    members: tuple[Classifier, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        first = self.members[0]
        for other in self.members[1:]:
            for what, received, needed in (
                ("classes", sorted(other.classes), sorted(first.classes)),
                ("crop", other.crop, first.crop),
            ):
                if received != needed:
                    raise ValueError(f"ensemble: {other.name!r} has {what} {received}, {first.name!r} has {needed}")

    @property
    def name(self) -> str:
        return ",".join(member.name for member in self.members)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.members[0].classes

    @property
    def crop(self) -> str:
        return self.members[0].crop

    @property
    def facts(self) -> Mapping[str, Any]:
        return {member.name: dict(member.facts) for member in self.members}

    @property
    def needs_guide(self) -> bool:
        return any(member.needs_guide for member in self.members)

    @property
    def n_parameters(self) -> int:
        return sum(member.n_parameters for member in self.members)

    def posterior(
        self, images: np.ndarray, *, guide: np.ndarray | None = None, views: int = 1, batch_size: int = 256
    ) -> np.ndarray:
        """Mean of the members' posteriors; as `Classifier.posterior`."""
        total = np.zeros((len(images), len(self.classes)))
        for member in self.members:
            order = [member.classes.index(name) for name in self.classes]
            total += member.posterior(images, guide=guide, views=views, batch_size=batch_size)[:, order]
        return (total / len(self.members)).astype(np.float32)


def load(name_or_path: str | Path | Sequence[str | Path] = "seven", *, device: str = "auto") -> Classifier | Ensemble:
    """Open a classifier.

    Parameters
    ----------
    name_or_path : the name of shipped weights, a ``.safetensors`` file, or the folder of a run that holds
        ``weights.safetensors``; several (a list, or one text with commas) are an ensemble.
    device : as for `training.train_stack`.

    Raises
    ------
    FileNotFoundError
        There are no such weights; the message says which there are and how to make some.
    ValueError
        The file is no safetensors file of `models.save_weights` or `save_classifier`, its tensors do not fit its
        model, or members of an ensemble differ in classes or crop.
    """
    names = name_or_path.split(",") if isinstance(name_or_path, str) else name_or_path
    names = [names] if isinstance(names, Path) else [n.strip() if isinstance(n, str) else n for n in names]
    if not names or "" in names:
        raise ValueError(f"weights: {name_or_path!r} received, a name or a path, or several with commas, are allowed")
    members = tuple(_load_one(name, device) for name in names)
    return members[0] if len(members) == 1 else Ensemble(members)


def ready_crop(grey: np.ndarray) -> np.ndarray:
    """A picture that is a face crop already, uint8 [H, W], as a classifier takes it, uint8 [48, 48].

    Its sides are not kept in proportion: as `preprocessing.prepare` does with ``crop="none"``.
    """
    if grey.dtype != np.uint8 or grey.ndim != 2 or not grey.size:
        raise ValueError(f"grey: {grey.dtype} {grey.shape} received, uint8 [H, W] is allowed")
    size = models.IMAGE_SIZE_PX
    shrinks = min(grey.shape) > size
    return cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def shipped_names() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(file.stem for file in _SHIPPED.glob("*.safetensors"))


def find(name_or_path: str | Path) -> Path:
    """The file of one classifier; parameters and errors as `load`."""
    path = Path(name_or_path)
    if path.is_dir() and (path / WEIGHTS_FILE).is_file():
        return path / WEIGHTS_FILE
    if path.is_file():
        return path
    if path.name == str(name_or_path) and (_SHIPPED / f"{path.name}.safetensors").is_file():
        return _SHIPPED / f"{path.name}.safetensors"
    raise FileNotFoundError(
        f"weights {str(name_or_path)!r}: neither shipped (there are: {', '.join(shipped_names()) or 'none yet'}), "
        f"nor a file, nor a run's folder with {WEIGHTS_FILE}. Name a file or a folder with --weights, or train "
        "and ship one: `emolib ship RUN_FOLDER --name NAME --crop CROP --trained-on WORDS`"
    )


def _load_one(name: str | Path, device: str) -> Classifier:
    path = find(name)
    file = read_classifier(path)
    weights = file.weights
    with torch.device("meta"):  # no fresh weights, so no draw from the global generator
        network = models.build(weights.model, weights.n_classes, **weights.options)
    try:
        network.load_state_dict(weights.state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path}: its tensors do not fit model {weights.model!r}: {error}") from error
    return Classifier(
        name=str(name),
        model=weights.model,
        classes=tuple(weights.classes),
        temperature=file.temperature,
        crop=file.crop,
        facts=file.facts,
        path=path,
        network=network.eval().to(pick_device(device), memory_format=torch.channels_last),
    )


def _checked(pictures: np.ndarray, what: str, *, n: int | None = None) -> np.ndarray:
    size = models.IMAGE_SIZE_PX
    if pictures.dtype != np.uint8 or pictures.ndim != 3 or pictures.shape[1:] != (size, size):
        raise ValueError(f"{what}: {pictures.dtype} {pictures.shape} received, uint8 [N, {size}, {size}] is allowed")
    if n is not None and len(pictures) != n:
        raise ValueError(f"{what}: {len(pictures)} received for {n} images, one a picture is allowed")
    return np.ascontiguousarray(pictures)


def _scaled(pictures: Tensor) -> Tensor:
    """uint8 [B, 48, 48] as float32 [B, 1, 48, 48] in [-1, 1], as in training (`engines.steps.scaled`)."""
    return pictures[:, None].float().mul_(2 / 255).sub_(1)
