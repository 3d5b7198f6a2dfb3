"""The middle of notebook 02: which stills are used, who learns from which, where models start and what they say.

| parts | |
|---|---|
| one split (`n_folds` = 0) | the corpus's own train, validation and test, or what `folds.split_stills` takes out |
| `n_folds` >= 2 | stratified folds over the splits pooled (`folds.still_folds`), each still tested once |

Under protocol `reference` the validation stills are the test stills, as the published systems did. The *complete* model
comes after all folds: it learns from every still used and stops on its accuracy on these same stills (system B), which
says nothing of others; it has no test.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from emolib import folds, models, posteriors, still_outputs, training
from emolib.folds import Fold
from emolib.frames import FrameStore
from emolib.runs import Run, Upstream
from emolib.still_outputs import Judged

WITHOUT_LANDMARKS = ("keep", "leave_out")
COMPLETE = "complete"


def usable(
    store: FrameStore,
    label: np.ndarray,
    *,
    used_splits: Sequence[str] = (),
    without_landmarks: str = "keep",
    max_pictures: int = 0,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Which stills are used, bool [N]: those with a face and a class, and not left out by an option.

    Parameters
    ----------
    label : int [N], -1 where the still's class does not exist in the model's label space.
    used_splits : of the corpus; empty: all.
    without_landmarks : "keep", or "leave_out" stills in which no landmarks were found (NaN in array ``landmarks``).
    max_pictures : 0 for all; else about so many, stratified by class, drawn by `seed`: whole groups, so that a part has
        its share of copies.
    groups : [N], of copies (`with_groups`); needed to draw.

    Raises
    ------
    ValueError
        Unknown split or option, the store has no landmarks to go by, or too few pictures are asked for to have one of
        each class.
    """
    manifest = store.manifest
    there = sorted(set(manifest["split"]))
    if unknown := sorted(set(used_splits) - set(there)):
        raise ValueError(f"used_splits: {unknown} received, the corpus has {there}")
    if without_landmarks not in WITHOUT_LANDMARKS:
        raise ValueError(f"without_landmarks: {without_landmarks!r} received, {' or '.join(WITHOUT_LANDMARKS)} allowed")
    chosen = manifest["face_ok"].to_numpy() & (np.asarray(label) >= 0)
    if used_splits:
        chosen &= manifest["split"].isin(list(used_splits)).to_numpy()
    if without_landmarks == "leave_out":
        if "landmarks" not in store.array_names:
            raise ValueError("without_landmarks = 'leave_out': nobody looked for landmarks in these stills")
        chosen &= np.isfinite(store.array("landmarks")).all(axis=(1, 2))
    if max_pictures < 0:
        raise ValueError(f"max_pictures = {max_pictures}: 0 (all) or more is allowed")
    rows = np.flatnonzero(chosen)
    if 0 < max_pictures < len(rows):
        drawn = rows[_drawn(np.asarray(label)[rows], groups[rows], n=max_pictures, seed=seed)]
        chosen = np.isin(np.arange(len(chosen)), drawn)
    return chosen


def _drawn(label: np.ndarray, group: np.ndarray, *, n: int, seed: int) -> np.ndarray:
    """Which rows are in a draw of whole groups, bool: of each class its share of `n`."""
    of_group = pd.DataFrame({"group": group, "label": label}).groupby("group", as_index=False)
    found = of_group.agg(label=("label", "first"), size=("label", "size")).sample(frac=1, random_state=seed)
    quota = (found.groupby("label")["size"].transform("sum") * n / len(label)).round()
    kept = found[found.groupby("label")["size"].cumsum() <= quota]
    if len(missing := np.setdiff1d(label, label[np.isin(group, kept["group"])])):
        raise ValueError(f"max_pictures = {n}: none of class {missing[0]}; 0 (all), or more are needed")
    return np.isin(group, kept["group"])


def with_groups(manifest: pd.DataFrame, images: np.ndarray, *, near_copies: bool = False) -> pd.DataFrame:
    """The manifest with `duplicate_group`, int: pixel-identical stills, and stills of one subject, are in one.

    With `near_copies` also stills that show one photograph (`folds.near_copies`). A still without a face is alone.
    """
    face = manifest["face_ok"].to_numpy()
    group = np.arange(len(manifest)) + len(manifest)
    group[face] = folds.still_groups(images[face], manifest["subject"].to_numpy()[face], near=near_copies)
    return manifest.assign(duplicate_group=group)


def make_parts(
    manifest: pd.DataFrame,
    label: np.ndarray,
    usable: np.ndarray,
    *,
    n_folds: int,
    protocol: str,
    seed: int,
    validation_share: float,
    test_share: float,
    keep_duplicates_together: bool,
) -> list[Fold]:
    """One split, or `n_folds` folds, of the usable stills; rows are those of the manifest (see the module).

    Parameters
    ----------
    manifest : with `duplicate_group` (`with_groups`).
    test_share : where there are no folds and the corpus has no test.
    keep_duplicates_together : whether a group stays in one part; if not, copies of a still that is tested may be
        learned from, as in the published numbers.

    Raises
    ------
    ValueError
        As `folds.split_stills` and `folds.still_folds`.
    """
    group = manifest["duplicate_group"].to_numpy() if keep_duplicates_together else None
    if n_folds:
        asked = {"n_folds": n_folds, "protocol": protocol, "validation_share": validation_share, "seed": seed}
        return folds.still_folds(label, usable, groups=group, **asked)
    if protocol not in folds.PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(folds.PROTOCOLS)}")
    alone = manifest if keep_duplicates_together else manifest.assign(duplicate_group=np.arange(len(manifest)))
    shares = {"validation_share": validation_share, "test_share": test_share}
    split = folds.split_stills(alone, label, usable, seed=seed, **shares)
    if protocol == "reference":
        return [Fold(0, np.union1d(split.train, split.validation), split.test, split.test)]
    return [Fold(0, split.train, split.validation, split.test)]


def account(parts: Sequence[Fold], group: np.ndarray) -> pd.DataFrame:
    """A row a fold: fold, train, validation, test (stills), copies_learned (test stills with a copy in training)."""
    rows = []
    for part in parts:
        sizes = {name: len(getattr(part, name)) for name in ("train", "validation", "test")}
        copies = np.isin(group[part.test], group[part.train]).sum()
        rows.append({"fold": part.fold, **sizes, "copies_learned": copies})
    return pd.DataFrame(rows)


def part_names(parts: Sequence[Fold], n: int) -> np.ndarray:
    """What each of `n` stills is for, str [n]: "test, fold k", of one split its part; "" where it is not used."""
    name = np.full(n, "", dtype=object)
    for part in parts:
        if len(parts) == 1:
            name[part.train], name[part.validation] = "train", "validation"
        name[part.test] = "test" if len(parts) == 1 else f"test, fold {part.fold}"
    return name


def members(
    parts: Sequence[Fold], usable: np.ndarray, *, complete: bool, seed: int, initial: dict[str, Tensor] | None = None
) -> list[training.Member]:
    """A model a fold, and last the one of all usable stills where `complete`."""
    start = {"seed": seed, "initial": initial}
    stack = [training.Member(f"fold{part.fold}", part.train, part.validation, **start) for part in parts]
    if complete:
        rows = np.flatnonzero(usable)
        stack.append(training.Member(COMPLETE, rows, rows, **start, stops_on_training=True))
    return stack


def start_state(
    upstream: Upstream, *, model: str, classes: Sequence[str], store: FrameStore
) -> tuple[dict[str, Tensor], models.TransferReport]:
    """Weights of another run to start from, and what a network with `classes` takes of them.

    The last layer is left out where the classes are others, be they as many.

    Parameters
    ----------
    store : of the run to come.

    Raises
    ------
    FileNotFoundError
        That run left models of folds alone.
    ValueError
        It learned from stills that are here, too (`still_outputs.check_elsewhere`), or its network is another one.
    """
    still_outputs.check_elsewhere(upstream, store)
    file = upstream.folder / "weights.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there are models of folds alone; make that run with complete = True")
    state = starting(file, model=model, classes=classes)
    network = models.build(model, len(classes))
    return state, models.load_transfer(network, state, skip=(network.last_layer,))


def starting(file: Path | None, *, model: str, classes: Sequence[str]) -> dict[str, Tensor] | None:
    """The weights in `file` to start a network of `classes` from: without the last layer where its classes are others.

    None where `file` is None.

    Raises
    ------
    ValueError
        The weights are of another network.
    """
    if file is None:
        return None
    weights = models.load_weights(file)
    if weights.model != model:
        raise ValueError(f"start_from: {file} is of network {weights.model!r}, {model!r} is allowed here")
    if list(weights.classes) == list(classes):
        return weights.state
    last = f"{models.build(model, len(classes)).last_layer}."
    return {name: tensor for name, tensor in weights.state.items() if not name.startswith(last)}


def predict(
    parts: Sequence[Fold],
    trained: Sequence[training.Trained],
    images: np.ndarray,
    guides: np.ndarray | None,
    *,
    model: str,
    n_classes: int,
) -> dict[str, Judged]:
    """Posteriors of each fold's test and validation stills by its own model, as `still_outputs.save` takes them."""
    found = {"test": [], "validation": []}
    for part, one in zip(parts, trained, strict=False):  # the complete model, if any, is the last: it has no test
        rows = np.union1d(part.test, part.validation)  # under `reference` the same stills: judged once
        posterior = posteriors.predict(images, guides, rows, model=model, n_classes=n_classes, state=one.state)
        for subset, tables in found.items():
            wanted = getattr(part, subset)
            tables.append((wanted, posterior[np.searchsorted(rows, wanted)], np.full(len(wanted), part.fold)))
    return {subset: tuple(map(np.concatenate, zip(*tables, strict=True))) for subset, tables in found.items()}


def histories(trained: Sequence[training.Trained]) -> dict[str, pd.DataFrame]:
    """Name -> history of each model; of the complete one it says that its accuracy is that of its training stills."""
    return {one.name.replace(COMPLETE, f"{COMPLETE} (training accuracy)"): one.history for one in trained}


def save_weights(
    run: Run, parts: Sequence[Fold], trained: Sequence[training.Trained], *, model: str, classes: Sequence[str]
) -> str:
    """Write ``fold<k>.safetensors`` of folds, and ``weights.safetensors``: of the complete model or of the one split's.

    Folds without a complete model leave no ``weights.safetensors``: none of them is *the* model. Returns what it is.
    """
    final = trained[-1] if trained[-1].name == COMPLETE else trained[0] if len(parts) == 1 else None
    named = {one.name: one for one in trained if len(parts) > 1 and one.name != COMPLETE}
    for name, one in (named | ({"weights": final} if final else {})).items():
        models.save_weights(run.folder / f"{name}.safetensors", one.state, model=model, classes=classes)
    if final is None:
        return "none"
    return "all stills, stopped on training accuracy" if final.name == COMPLETE else "the training part"
