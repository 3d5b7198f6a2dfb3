"""What `emolib.training.train_stack` is given, checked once at the door, and the settings that a checkpoint must
share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from emolib.engines.plan import Member, Network, Recipe, start
from emolib.models import IMAGE_SIZE_PX

_FINGERPRINT_PICTURES = 64


def check_arrays(image: np.ndarray, guide: np.ndarray | None, label: np.ndarray, *, needs_guide: bool) -> None:
    """Shapes and types of the data.

    Raises
    ------
    TypeError, ValueError
        An array has another type or shape than allowed, or the network needs a guide and none is given.
    """
    if needs_guide and guide is None:
        raise ValueError("guide: None received, but the network reads its transform from a guide image")
    for name, array in (("image", image), ("guide", guide)):
        if array is None:
            continue
        if array.dtype != np.uint8:
            raise TypeError(f"{name}: dtype {array.dtype} received, uint8 (0 to 255, unscaled) is allowed")
        if array.ndim != 3 or array.shape[1:] != (IMAGE_SIZE_PX, IMAGE_SIZE_PX):
            raise ValueError(f"{name}: shape {array.shape} received, [N, {IMAGE_SIZE_PX}, {IMAGE_SIZE_PX}] is allowed")
        if len(array) != len(label):
            raise ValueError(f"{name}: {len(array)} rows received, label has {len(label)}")
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        raise TypeError(f"label: {label.dtype} {label.shape} received, integers [N] are allowed")


def check_members(members: Sequence[Member], label: np.ndarray, network: Network) -> None:
    """Names, rows, labels, seeds and initial weights of the members.

    Raises
    ------
    TypeError, ValueError
        Something of a member is not allowed; the message names the member.
    """
    if not members:
        raise ValueError("members: none received, at least one is needed")
    names = [member.name for member in members]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"members: name(s) {', '.join(repeated)} received more than once")
    for member in members:
        where = f"member {member.name!r}"
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", member.name):
            raise ValueError(f"{where}: letters, digits, '_', '-' and '.' (not first) are allowed in a name")
        if isinstance(member.seed, bool) or not isinstance(member.seed, int | np.integer) or member.seed < 0:
            raise ValueError(f"{where}: seed {member.seed!r} received, a whole number >= 0 is allowed")
        for field in ("train", "validation"):
            _check_rows(getattr(member, field), label, network.n_classes, where=f"{where}, {field}")
        common = np.intersect1d(member.train, member.validation)
        if member.stops_on_training:
            if not np.array_equal(member.train, member.validation):
                raise ValueError(f"{where}: it stops on its training rows, but train and validation differ")
        elif len(common):
            raise ValueError(f"{where}: {len(common)} row(s) in train and in validation, row {common[0]} for example")
        try:
            start(member, network)
        except ValueError as error:
            raise ValueError(f"{where}, initial: {error}") from error


def _check_rows(rows: np.ndarray, label: np.ndarray, n_classes: int, *, where: str) -> None:
    if not isinstance(rows, np.ndarray) or rows.dtype != np.int64 or rows.ndim != 1:
        got = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise TypeError(f"{where}: {got} received, an int64 array [n] is allowed (a mask goes through np.flatnonzero)")
    if not len(rows):
        raise ValueError(f"{where}: no row received, at least one is needed")
    if rows.min() < 0 or rows.max() >= len(label):
        raise ValueError(f"{where}: rows {rows.min()} to {rows.max()} received, 0 to {len(label) - 1} are allowed")
    labels = label[rows]
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise ValueError(
            f"{where}: label {labels[wrong[0]]} in row {rows[wrong[0]]}, 0 to {n_classes - 1} are allowed "
            f"(n_classes = {n_classes}); {len(wrong)} row(s) are so"
        )


def settings(
    member: Member,
    *,
    network: Network,
    recipe: Recipe,
    engine: str,
    image: np.ndarray,
    guide: np.ndarray | None,
    label: np.ndarray,
) -> dict:
    """What decides a member's result, in plain types: a checkpoint is resumed only where all of it is the same.

    Long lists stand as SHA-256. Of the pictures, 64 of the member's rows are hashed: a store that was made anew in
    another way is noticed, and 160,000 frames need not be read.
    """
    rows = np.concatenate([member.train, member.validation])
    some = rows[np.linspace(0, len(rows) - 1, _FINGERPRINT_PICTURES).astype(int)]
    pictures = [image[some]] + ([] if guide is None else [guide[some]])
    initial = sorted((member.initial or {}).items())
    return {
        "engine": engine,
        "model": network.model,
        "n_classes": network.n_classes,
        "options": dict(network.options),
        "seed": int(member.seed),
        "train": _sha256(member.train),
        "validation": _sha256(member.validation),
        "labels": _sha256(label[rows].astype(np.int64)),
        "pictures": _sha256(*pictures),
        "initial": _sha256(*(array for name, t in initial for array in (np.array(name), t.detach().cpu().numpy()))),
        **{f"recipe.{name}": value for name, value in asdict(recipe).items()},
    }


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
