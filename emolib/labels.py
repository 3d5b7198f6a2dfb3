"""Label spaces of the field's corpora and the named mappings between them.

| term | meaning |
|---|---|
| label space | a numbering of emotions: the index of a class in `LabelSpace.classes` is its label |
| mapping | what each class of one space is called in another; a class without a counterpart is dropped (-1) |
| posterior | float [N, C], column k is the probability of class k of its space; rows sum to 1 |

Each mapping is written once, in `MAPPINGS`, by class name. Most classes keep their emotion under another spelling
("angry", "anger", "ang"): those pairs follow from `EMOTION_OF`, so a mapping only spells out what is merged or
dropped, and a class that is neither matched nor spelled out stops the import.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DROPPED = -1


@dataclass(frozen=True)
class LabelSpace:
    """A numbering of classes: `classes[k]` is the name of label k."""

    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def index(self, class_name: str) -> int:
        """Label of a class name; ValueError names what exists."""
        if class_name not in self.classes:
            raise ValueError(f"label space {self.name!r} has no class {class_name!r}; it has {list(self.classes)}")
        return self.classes.index(class_name)


_CLASSES = {
    "ravdess8": "neutral calm happy sad angry fearful disgust surprised",
    "affectnet7": "neutral happy sad surprise fear disgust anger",
    "affectnet8": "neutral happy sad surprise fear disgust anger contempt",
    "fer7": "angry disgust fear happy sad surprise neutral",
    "valence3": "neutral positive negative",
    "merc7": "hap ang dis fea sad neu sur",
    "mmer8": "angry calm disgust fear happy neutral sad surprise",
    "pedfe6": "disgust happy fear anger surprise sad",  # its file codes d f p r s t (Italian), in this order
}
SPACES: dict[str, LabelSpace] = {name: LabelSpace(name, tuple(text.split())) for name, text in _CLASSES.items()}

# every spelling of every space -> the one name of the emotion (plots give one colour to each)
EMOTION_OF: dict[str, str] = {
    **{"neutral": "neutral", "neu": "neutral", "calm": "calm", "happy": "happiness", "hap": "happiness"},
    **{"sad": "sadness", "angry": "anger", "anger": "anger", "ang": "anger"},
    **{"fearful": "fear", "fear": "fear", "fea": "fear", "disgust": "disgust", "dis": "disgust"},
    **{"surprised": "surprise", "surprise": "surprise", "sur": "surprise", "contempt": "contempt"},
    **{"positive": "positive", "negative": "negative"},
}


def emotion(class_name: str) -> str:
    """One name for an emotion, whatever its label space spells: "angry", "anger" and "ang" are "anger"."""
    if class_name not in EMOTION_OF:
        raise ValueError(f"unknown class name {class_name!r}; known: {sorted(EMOTION_OF)}")
    return EMOTION_OF[class_name]


def _mapping(source: str, target: str, **exceptions: str | None) -> np.ndarray:
    """Index table [len(source)]: the exceptions by name (None drops the class), other classes to their own emotion."""
    by_emotion = {emotion(name): name for name in SPACES[target].classes}
    if unknown := set(exceptions) - set(SPACES[source].classes):
        raise ValueError(f"mapping {source}->{target}: {sorted(unknown)} are no classes of {source!r}")
    table = np.full(len(SPACES[source]), DROPPED, dtype=np.int64)
    for k, name in enumerate(SPACES[source].classes):
        mapped = exceptions[name] if name in exceptions else by_emotion.get(emotion(name), "")
        if mapped == "":
            raise ValueError(f"mapping {source}->{target}: class {name!r} has no counterpart and no exception")
        if mapped is not None:
            table[k] = SPACES[target].index(mapped)
    table.setflags(write=False)
    return table


_VALENCE_OF = {"neutral": "neutral", "calm": "neutral", "happiness": "positive"}
_VALENCE_OF |= dict.fromkeys(["sadness", "anger", "fear", "disgust", "contempt"], "negative")


def _valence(space: str, *, surprise: str | None) -> dict[str, str | None]:
    return {name: (_VALENCE_OF | {"surprise": surprise})[emotion(name)] for name in SPACES[space].classes}


MAPPINGS: dict[str, np.ndarray] = {
    name: _mapping(*name.split("->"), **exceptions)
    for name, exceptions in {
        "ravdess8->affectnet7": {"calm": "neutral"},
        "ravdess8->affectnet8": {"calm": "neutral"},
        "ravdess8->fer7": {"calm": "neutral"},
        "ravdess8->pedfe6": {"calm": None, "neutral": None},
        "ravdess8->mmer8": {},
        # acted surprise counts as negative in RAVDESS (system A), while the corpora of stills drop it (system B)
        "ravdess8->valence3": _valence("ravdess8", surprise="negative"),
        "affectnet7->ravdess8": {},
        "affectnet7->affectnet8": {},
        "affectnet7->fer7": {},
        "affectnet7->merc7": {},
        "affectnet7->pedfe6": {"neutral": None},
        "affectnet7->valence3": _valence("affectnet7", surprise=None),
        "affectnet8->affectnet7": {"contempt": None},
        "affectnet8->valence3": _valence("affectnet8", surprise=None),
        "fer7->affectnet7": {},
        "fer7->pedfe6": {"neutral": None},
        "fer7->valence3": _valence("fer7", surprise=None),
        "merc7->affectnet7": {},
        "mmer8->ravdess8": {},
        "pedfe6->affectnet7": {},
        "pedfe6->fer7": {},
    }.items()
}


def names(space: str) -> tuple[str, ...]:
    """Class names of a label space, in index order; ValueError names the spaces that exist."""
    if space not in SPACES:
        raise ValueError(f"unknown label space {space!r}; known: {sorted(SPACES)}")
    return SPACES[space].classes


def map_labels(labels: Sequence[int] | np.ndarray, *, source: str, target: str) -> np.ndarray:
    """Labels of one space in the numbering of another.

    Parameters
    ----------
    labels : int [N]
        Labels in `source`, 0 .. len(source) - 1.
    source, target : str
        Names in `SPACES`; equal names return the labels unchanged.

    Returns
    -------
    int64 [N]
        Labels in `target`; -1 where the class has no counterpart there and the sample is to be dropped.

    Raises
    ------
    ValueError
        Unknown space, no mapping between the two, or a label outside `source` (the first such row is named).
    """
    table = _table(source, target)
    return table[_checked_labels(labels, source)]


def map_posteriors(posterior: np.ndarray, *, source: str, target: str, renormalise: bool = True) -> np.ndarray:
    """Posteriors of one space in the columns of another.

    Parameters
    ----------
    posterior : float [N, len(source)]
    source, target : str
        Names in `SPACES` with a mapping between them.
    renormalise : bool
        Divide each row by its sum, so that rows sum to 1 although dropped columns took their mass away. A row that
        lost its whole mass has no posterior over `target` and becomes NaN.

    Returns
    -------
    float [N, len(target)], same dtype
        Columns that map to the same class are summed. A target class that no source class maps to (calm, from a
        model of seven emotions) gets 0: the model cannot answer it.
    """
    table = _table(source, target)
    posterior = _checked_posterior(posterior, source)
    mapped = np.zeros((len(posterior), len(SPACES[target])), dtype=posterior.dtype)
    for k, column in enumerate(table):
        if column != DROPPED:
            mapped[:, column] += posterior[:, k]
    if not renormalise:
        return mapped
    mass = mapped.sum(axis=1, keepdims=True)
    return np.divide(mapped, mass, out=np.full_like(mapped, np.nan), where=mass > 0)


def spread_posterior(posterior: np.ndarray, *, source: str, target: str) -> np.ndarray:
    """For every class of the frames' space the model's posterior of it, where the model has another label space.

    A RAVDESS frame that is calm, judged by a model of AffectNet's seven emotions, has the posterior of neutral. Where
    one class of the frames covers several of the model's (negative, of seven emotions), it is their sum.

    Parameters
    ----------
    posterior : float [N, len(source)]
        In the model's space, `source`. Rows of NaN (frames without a face) stay NaN.
    source, target : str
        Model's and frames' space; the mapping `target -> source` is used, else `source -> target`.

    Returns
    -------
    float [N, len(target)], same dtype
        Rows need not sum to 1: neutral and calm share a column. A class that the model cannot answer is NaN.

    Raises
    ------
    ValueError
        No mapping either way, or a shape that does not fit `source`.
    """
    posterior = _checked_posterior(posterior, source)
    reverse = f"{target}->{source}" in MAPPINGS
    pairs = _table(target, source) if reverse else _table(source, target)
    mapped = np.flatnonzero(pairs != DROPPED)
    spread = np.zeros((len(posterior), len(SPACES[target])), dtype=posterior.dtype)
    answered = mapped if reverse else pairs[mapped]
    for to, column in zip(answered, pairs[mapped] if reverse else mapped, strict=True):
        spread[:, to] += posterior[:, column]
    spread[:, np.setdiff1d(np.arange(spread.shape[1]), answered)] = np.nan
    return spread


def own_class_posterior(
    posterior: np.ndarray, labels: Sequence[int] | np.ndarray, *, source: str, target: str
) -> np.ndarray:
    """Posterior of each frame's own class: the column of `spread_posterior` that its label names.

    Parameters
    ----------
    posterior : float [N, len(source)]
    labels : int [N], in `target`

    Returns
    -------
    float [N], same dtype as `posterior`

    Raises
    ------
    ValueError
        As `spread_posterior`; also labels whose class has no column in `source` (leave those frames out first).
    """
    labels = _checked_labels(labels, target)
    if len(labels) != len(posterior):
        raise ValueError(f"{len(labels)} labels for {len(posterior)} rows of posteriors")
    answered = ~np.isnan(spread_posterior(np.zeros((1, len(names(source)))), source=source, target=target)[0])
    if without := [SPACES[target].classes[k] for k in np.unique(labels) if not answered[k]]:
        raise ValueError(f"classes {without} of {target!r} have no column in {source!r} {list(names(source))}")
    return spread_posterior(posterior, source=source, target=target)[np.arange(len(labels)), labels]


def _table(source: str, target: str) -> np.ndarray:
    n_source, _ = len(names(source)), names(target)  # an unknown space is told apart from a missing mapping
    if source == target:
        return np.arange(n_source)
    if f"{source}->{target}" not in MAPPINGS:
        raise ValueError(f"no mapping {source}->{target}; there are {', '.join(MAPPINGS)}")
    return MAPPINGS[f"{source}->{target}"]


def _checked_labels(labels: Sequence[int] | np.ndarray, space: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise ValueError(f"labels must be integers [N], got {labels.dtype} of shape {labels.shape}")
    labels = labels.astype(np.int64)
    outside = np.flatnonzero((labels < 0) | (labels >= len(names(space))))
    if outside.size:
        row = outside[0]
        raise ValueError(f"label {labels[row]} (row {row}) is not in {space!r}: 0..{len(SPACES[space]) - 1}")
    return labels


def _checked_posterior(posterior: np.ndarray, space: str) -> np.ndarray:
    posterior = np.asarray(posterior)
    if posterior.ndim != 2 or posterior.shape[1] != len(names(space)) or posterior.dtype.kind != "f":
        raise ValueError(
            f"posteriors in {space!r} must be floats [N, {len(names(space))}], got {posterior.dtype} {posterior.shape}"
        )
    return posterior
