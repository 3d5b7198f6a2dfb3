"""Results that others published, to stand beside ours; never part of a test, since their answers are unknown."""

from __future__ import annotations

import pandas as pd

COLUMNS = ("variant", "corpus", "protocol", "source", "frame_accuracy", "video_accuracy")
STILL_COLUMNS = ("variant", "corpus", "protocol", "source", "accuracy")
PERFORMANCE_COLUMNS = ("variant", "corpus", "protocol", "source", "value", "low", "high")

# frame / video accuracy in %, RAVDESS speech videos, 8 classes, 5 subject-wise folds. Early stopping and the choice of
# the variants named "best" looked at the test actors, so the protocol is `reference`. The vote is not named.
_THESIS = {
    "all frames": (46.78, 54.27),
    "percentile 35": (47.47, 56.62),
    "percentile 50": (46.50, 55.03),
    "percentile 90": (43.96, 53.01),
    "iterative TL3, best (percentile 20)": (48.19, 56.00),
    "iterative TLF, best (percentile 30)": (47.60, 56.97),
    "percentile 35, dropout 0.5, weight decay 1e-3": (50.56, 60.08),
    "two-stage mixed, threshold 0.7": (51.27, 61.67),
    "threshold 0.1": (44.66, 53.12),
    "threshold 0.3": (35.48, 43.55),
    "threshold 0.6": (21.70, 23.70),
}
# accuracy in %, FER-2013, valence3 without surprise (31,885 images), mean of 5 stratified folds; duplicates are in
# several folds, and early stopping looked at the test fold. "transfer" starts from AffectNet's weights.
_GUIDED = {"original": 72.92, "saliency": 74.93, "best of all variants, transfer": 76.01}
_TABLES = {
    "ravdess_thesis": [
        (name, "RAVDESS", "reference", "master's thesis (system A)", frame / 100, video / 100)
        for name, (frame, video) in _THESIS.items()
    ],
}
_STILL_TABLES = {
    "guided_fer2013": [
        (name, "FER-2013", "reference", "guided spatial transformers (system B)", accuracy / 100)
        for name, accuracy in _GUIDED.items()
    ],
}
# accuracy in %, 1,440 RAVDESS speech clips, 8 classes, 5 subject-wise folds, mean of the folds; 95 % bootstrap over
# actors, computed here from the published posteriors. Early stopping looked at the test actors; the fusion learned from
# posteriors of clips that its models had learned from.
_SYSTEM_C = {
    "speech, wav2vec 2.0 XLSR": (81.82, 78.4, 85.3),
    "action units, bi-LSTM": (62.13, 57.9, 67.2),
    "action units, MLP of means": (60.22, 55.3, 65.2),
    "fusion, logistic regression": (86.70, 83.4, 90.1),
}
_PERFORMANCE_TABLES = {
    "ravdess_fusion": [
        (name, "RAVDESS", "reference", "Luna-Jimenez et al. 2022 (system C)", *(number / 100 for number in numbers))
        for name, numbers in _SYSTEM_C.items()
    ],
}
NAMES = tuple(_TABLES)
PERFORMANCE_NAMES = tuple(_PERFORMANCE_TABLES)
STILL_NAMES = tuple(_STILL_TABLES)


def table(name: str) -> pd.DataFrame:
    """The published results on videos called `name`, one of `NAMES`; "" is the empty table.

    Returns
    -------
    DataFrame: variant, corpus, protocol ("nested" or "reference"), source, frame_accuracy and video_accuracy (shares,
    0..1; the thesis gives no intervals).

    Raises
    ------
    ValueError
        Unknown name.
    """
    return _table(name, _TABLES, COLUMNS)


def still_table(name: str) -> pd.DataFrame:
    """The published results on stills called `name`, one of `STILL_NAMES`; "" is the empty table.

    Returns
    -------
    DataFrame: variant, corpus, protocol ("nested" or "reference"), source, accuracy (share, 0..1; without intervals).

    Raises
    ------
    ValueError
        Unknown name.
    """
    return _table(name, _STILL_TABLES, STILL_COLUMNS)


def performance_table(name: str) -> pd.DataFrame:
    """The published results on performances called `name`, one of `PERFORMANCE_NAMES`; "" is the empty table.

    Returns
    -------
    DataFrame: variant, corpus, protocol ("nested" or "reference"), source, value, low, high (accuracy, shares, 0..1).

    Raises
    ------
    ValueError
        Unknown name.
    """
    return _table(name, _PERFORMANCE_TABLES, PERFORMANCE_COLUMNS)


def _table(name: str, tables: dict[str, list[tuple]], columns: tuple[str, ...]) -> pd.DataFrame:
    if name and name not in tables:
        raise ValueError(f"published results {name!r}: one of {', '.join(tables)}, or '' for none, is allowed")
    return pd.DataFrame(tables.get(name, []), columns=columns)
