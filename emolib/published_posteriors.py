"""What system C published for the 1,440 RAVDESS performances: posteriors of three models, attention, mean action units.

| name | model | file of fold k | holds |
|---|---|---|---|
| `au_bilstm` | bi-LSTM with attention over frames | ``RAVDESS_AUs-val--fold_<k+1>_outof_5.csv`` | logits, `mmer8` |
| `au_mlp` | MLP(80) on mean action units | ``test_fold<k>.csv`` | probabilities, `ravdess8` |
| `wav2vec` | wav2vec 2.0 XLSR fine-tuned on the speech | ``fold<k>/posteriors_test.csv`` | logits, `mmer8` |

Beside each lies one of "train": answers to the performances that the fold's model *had learned from*, which say nothing
of how good it is. All are read as posterior tables of performances over `ravdess8`, joined by id, never by row.

Source: cristinalunaj/MMEmotionRecognition (MIT); Luna-Jimenez et al. 2021 and 2022, doi 10.3390/s21227665 and
10.3390/app12010327.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logsumexp, softmax

from emolib import labels, openface, performances
from emolib.folds import RAVDESS_FOLDS
from emolib.text_cells import cell_error, number_columns, number_list, read_text

SPACE = "ravdess8"
SEED = 2020  # that the published models were trained with
SUBSETS = ("train", "test")
_SUM_TOLERANCE = 1e-3
_EMBS = tuple(f"embs{number}" for number in range(len(labels.names(SPACE))))


class _Form(NamedTuple):
    """How one model's files look."""

    files: dict[str, str]  # subset -> path below the root, with {fold}
    first_fold: int  # number of the first fold there
    separator: str
    name: str  # column of the performance's file name
    values: tuple[str, ...]  # a column a class, or one column of lists
    space: str
    logits: bool
    label: str = ""  # column of the class's name, where there is one


def _bilstm(part: str) -> str:
    return f"au_bilstm/RAVDESS_AUs-{part}--fold_{{fold}}_outof_5.csv"


_MLP_FILES = {part: f"au_mlp/{part}_fold{{fold}}.csv" for part in SUBSETS}
_WAV2VEC_FILES = {part: f"wav2vec/fold{{fold}}/posteriors_{part}.csv" for part in SUBSETS}
_FORMS: dict[str, _Form] = {
    "au_bilstm": _Form(
        {"train": _bilstm("train"), "test": _bilstm("val")}, 1, "\t", "tag", ("posteriors",), "mmer8", True, "y"
    ),
    "au_mlp": _Form(_MLP_FILES, 0, ";", "video_name", _EMBS, "ravdess8", False),
    "wav2vec": _Form(_WAV2VEC_FILES, 0, ";", "name", _EMBS, "mmer8", True, "emotion"),
}
NAMES = tuple(_FORMS)


def read(root: str | Path, name: str, *, subset: str | None = None) -> pd.DataFrame:
    """Posterior table of a published model over its 5 folds.

    Parameters
    ----------
    root : folder that holds ``au_bilstm``, ``au_mlp`` and ``wav2vec``.
    name : one of `NAMES`.
    subset : "test", "train" (performances that the models had learned from) or None: both.

    Returns
    -------
    DataFrame
        As `posteriors.PERFORMANCES` says, over `ravdess8`: logits as their softmax; fold 0..4 in the order of
        `folds.RAVDESS_FOLDS`, seed 2020.

    Raises
    ------
    FileNotFoundError
        A fold's file is missing.
    ValueError
        Unknown name or subset; a column is missing; a cell is no number, list or posterior; a name is not in RAVDESS's
        form, or says another emotion than the row; an actor is in the wrong part of a fold, a performance twice in
        one, or not in all folds that were read. File, line and column are named.
    """
    if subset not in (None, *SUBSETS):
        raise ValueError(f"subset {subset!r}: one of {', '.join(SUBSETS)}, or None for both, is allowed")
    wanted, tables = SUBSETS if subset is None else (subset,), []
    for fold, part, known, values in _parts(Path(root), name, wanted):
        posterior = softmax(values, axis=1) if _FORMS[name].logits else values
        about = {"classes": labels.names(SPACE), "fold": fold, "subset": part, "seed": SEED}
        tables.append(performances.posterior_table(known["performance"], posterior, **about))
    result = pd.concat(tables, ignore_index=True)
    _check_complete(result, Path(root) / name, wanted)
    return result


def logit_constants(root: str | Path, name: str) -> pd.DataFrame:
    """What the softmax of `read` took from each row of logits: log posterior + constant = the published logit.

    Returns
    -------
    DataFrame: performance, fold, subset, constant (float64).

    Raises
    ------
    ValueError
        The model's file holds probabilities; or see `read`.
    """
    if name in _FORMS and not _FORMS[name].logits:
        raise ValueError(f"{name!r} has no logits: its files hold probabilities")
    tables = [
        pd.DataFrame({"performance": known["performance"], "fold": fold, "subset": part}).assign(
            constant=logsumexp(values, axis=1)
        )
        for fold, part, known, values in _parts(Path(root), name, SUBSETS)
    ]
    return pd.concat(tables, ignore_index=True)


def attention(root: str | Path, *, subset: str = "test") -> pd.DataFrame:
    """Attention weights of the published bi-LSTM, a row a performance, fold and step of time.

    Returns
    -------
    DataFrame: performance, fold, subset, step (frame, from 0), weight (0..1; those of a performance sum to 1).

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read`; or weights are no list of numbers in 0..1 that sum to 1.
    """
    if subset not in SUBSETS:
        raise ValueError(f"subset {subset!r}: one of {', '.join(SUBSETS)} is allowed")
    form, parts = _FORMS["au_bilstm"], []
    for fold in range(len(RAVDESS_FOLDS)):
        path = _file(Path(root), form, fold, subset)
        cells = read_text(path, separator=form.separator, columns=(form.name, form.label, "attentions"))
        known = _known(cells, path, form, fold=fold, subset=subset)
        weights = [number_list(text, path, row, "attentions") for row, text in enumerate(cells["attentions"])]
        for row, one in enumerate(weights):
            if (one < 0).any() or abs(one.sum() - 1) > _SUM_TOLERANCE:
                raise cell_error(
                    path, row, "attentions", f"weights sum to {one.sum():.4g}, 1 and none below 0 is allowed"
                )
        lengths = [len(one) for one in weights]
        ids = np.repeat(known["performance"].to_numpy(), lengths)
        steps = np.concatenate([np.arange(length) for length in lengths])
        table = pd.DataFrame({"performance": ids, "fold": fold, "subset": subset, "step": steps})
        parts.append(table.assign(weight=np.concatenate(weights).astype(np.float32)))
    return pd.concat(parts, ignore_index=True)


def mean_action_units(path: str | Path) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...]]:
    """The published mean of 35 action units of each video (``au_mean/df_average_AUs_total.csv``).

    Returns
    -------
    (performances, values, names) : `performances.from_names` in the file's order; float32 [n, 35], intensities 0..5
    and shares of frames with a presence 0..1; column names, `openface.INTENSITIES` and `PRESENCES`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A column is missing, a cell is no number in its range, or a performance is there twice.
    """
    path, names = Path(path), (*openface.INTENSITIES, *openface.PRESENCES)
    cells = read_text(path, separator=";", columns=("name", *names))
    known = _named(cells["name"], path)
    high = np.array([openface.MAX_INTENSITY if name in openface.INTENSITIES else 1.0 for name in names])
    values = number_columns(cells, path, names)
    if (wrong := ~((values >= 0) & (values <= high))).any():
        row, column = np.argwhere(wrong)[0]
        text = f"{values[row, column]:g} found, a number in [0, {high[column]:g}] is allowed"
        raise cell_error(path, row, names[column], text)
    return known, values.astype(np.float32), names


def performances_of(table: pd.DataFrame) -> pd.DataFrame:
    """Performances of a published posterior table, each once, sorted by id: what RAVDESS's ids say of them."""
    ids = np.unique(table["performance"].to_numpy().astype(str))
    return performances.from_names([f"01-{one}" for one in ids])


def _parts(root: Path, name: str, subsets: Sequence[str]) -> Iterator[tuple[int, str, pd.DataFrame, np.ndarray]]:
    """Fold, subset, performances and what the file says of them, file by file."""
    if name not in _FORMS:
        raise ValueError(f"published posteriors {name!r}: one of {', '.join(NAMES)} is allowed")
    form = _FORMS[name]
    columns = [form.name, *form.values, *([form.label] if form.label else [])]
    for fold in range(len(RAVDESS_FOLDS)):
        for part in subsets:
            path = _file(root, form, fold, part)
            cells = read_text(path, separator=form.separator, columns=columns)
            yield fold, part, _known(cells, path, form, fold=fold, subset=part), _values(cells, path, form)


def _file(root: Path, form: _Form, fold: int, subset: str) -> Path:
    return root / form.files[subset].format(fold=fold + form.first_fold)


def _named(names: pd.Series, path: Path) -> pd.DataFrame:
    try:
        return performances.from_names(list(names))
    except ValueError as error:
        raise ValueError(f"{path}, column {names.name}, {error}") from error


def _known(cells: pd.DataFrame, path: Path, form: _Form, *, fold: int, subset: str) -> pd.DataFrame:
    """Performances of the rows, after a look whether actors and labels are where they belong."""
    known = _named(cells[form.name], path)
    tested = known["subject"].isin(RAVDESS_FOLDS[fold]).to_numpy()
    if (wrong := tested != (subset == "test")).any():
        row = int(np.argmax(wrong))
        allowed = f"actors {' '.join(RAVDESS_FOLDS[fold])} are fold {fold}'s test"
        raise cell_error(path, row, form.name, f"actor {known['subject'].iloc[row]} found in {subset}, but {allowed}")
    if form.label:
        classes = labels.names(form.space)
        said = cells[form.label].str.lower()
        expected = labels.map_labels(known["label"].to_numpy(), source=SPACE, target=form.space)
        if (wrong := said.to_numpy() != np.array(classes)[expected]).any():
            row = int(np.argmax(wrong))
            raise cell_error(
                path, row, form.label, f"{said.iloc[row]!r} found, the name says {classes[expected[row]]!r}"
            )
    return known


def _values(cells: pd.DataFrame, path: Path, form: _Form) -> np.ndarray:
    """What the file says, logits or probabilities, float64 [n, 8] in the order of `SPACE`."""
    if len(form.values) == 1:
        values = _lists(cells[form.values[0]], path, len(labels.names(form.space)))
    else:
        values = number_columns(cells, path, form.values)
    wrong = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if not form.logits and wrong.any():
        row = int(np.argmax(wrong))
        raise cell_error(path, row, f"{form.values[0]} ...", f"{values[row].tolist()} are no probabilities")
    return labels.map_posteriors(values, source=form.space, target=SPACE, renormalise=False)


def _lists(cells: pd.Series, path: Path, width: int) -> np.ndarray:
    rows = [number_list(text, path, row, cells.name) for row, text in enumerate(cells)]
    for row, one in enumerate(rows):
        if len(one) != width:
            raise cell_error(path, row, cells.name, f"{len(one)} numbers found, {width} are allowed")
    return np.stack(rows)


def _check_complete(table: pd.DataFrame, where: Path, subsets: Sequence[str]) -> None:
    """Each performance is tested once, and learned from by all other folds."""
    allowed = {"test": 1, "train": len(RAVDESS_FOLDS) - 1}
    for subset in subsets:
        count = table.loc[table["subset"] == subset, "performance"].value_counts()
        if len(wrong := count[count != allowed[subset]]):
            text = f"performance {wrong.index[0]} is in {wrong.iloc[0]} folds as {subset}, {allowed[subset]} is allowed"
            raise ValueError(f"{where}: {text} ({len(wrong)} performance(s) are so)")
    if len(subsets) == len(SUBSETS):
        tested, learned = (set(table.loc[table["subset"] == subset, "performance"]) for subset in ("test", "train"))
        if odd := tested ^ learned:
            raise ValueError(f"{where}: performance {min(odd)} is only tested or only learned from ({len(odd)} are so)")
