"""One multivariate normal an emotion over the 17 action units, and each frame's distance to it ("GMM" of system A).

| term | meaning |
|---|---|
| normal | mean [17] and covariance [17, 17] of the intensities (0..5) that an emotion's frames have |
| distance | Mahalanobis distance of a frame to a normal: 0 at its mean, the square root of 17 at a typical frame |
| unknown class | a class without a frame to fit on: mean and covariance are NaN, and so is every distance to it |

**Singular covariances.** Two things keep a distance finite, and both are needed. Fitting shrinks a class's covariance
towards a multiple of the identity by the amount of Ledoit and Wolf (2004, J. Multivariate Analysis 88), so that fewer
frames than units still give a full rank. Measuring raises variances along the covariance's own axes to
`VARIANCE_FLOOR`, so that a unit which an emotion never moved has a finite spread instead of none. A pseudo-inverse
would ignore such axes: a frame that moves a unit which the emotion never moves would look as if it were at its mean.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf_shrinkage, shrunk_covariance

from emolib import labels
from emolib.action_units import UNITS

# Variance of an intensity that cannot be told from none: a SD of 0.03 of 0..5. Below the smallest axis of the real
# normals that were published (0.0022), so that these are measured as they are.
VARIANCE_FLOOR = 1.0e-3
N_UNKNOWN = -1
_COLUMNS = [f"{unit}_r" for unit in UNITS]


@dataclass(frozen=True)
class Normals:
    """A normal a class.

    Attributes
    ----------
    classes : class names
    mean : float64 [C, 17], covariance : float64 [C, 17, 17]
        In the order of `action_units.UNITS`; NaN for a class that is unknown.
    n : int64 [C]
        Frames that a normal was fitted on: 0 for an unknown class, -1 where a file does not tell.
    """

    classes: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    n: np.ndarray


def fit(
    values: np.ndarray, label: np.ndarray, *, classes: Sequence[str], shrinkage: float | str = "ledoit_wolf"
) -> Normals:
    """A normal a class from labelled frames.

    Parameters
    ----------
    values : float [N, 17], intensities; rows with NaN (not measured) are left out.
    label : int [N], 0..len(classes) - 1.
    classes : names of the labels.
    shrinkage : share in 0..1 by which a covariance moves to (trace / 17) times the identity (0: the plain one), or
        "ledoit_wolf", which estimates it class by class.

    Raises
    ------
    ValueError
        Shapes or labels do not fit, the shrinkage is not allowed, or a class has one frame only.
    """
    values, label = _checked(values), np.asarray(label)
    if label.shape != values.shape[:1] or (label.size and (label.min() < 0 or label.max() >= len(classes))):
        raise ValueError(f"label: {label.shape} received, {len(values)} labels in 0..{len(classes) - 1} are allowed")
    if shrinkage != "ledoit_wolf" and not (isinstance(shrinkage, (int, float)) and 0 <= shrinkage <= 1):
        raise ValueError(f"shrinkage={shrinkage!r}: 'ledoit_wolf' or a share in 0..1 is allowed")
    measured = ~np.isnan(values).any(axis=1)
    result = _unknown(classes)
    for k, name in enumerate(classes):
        own = values[measured & (label == k)]
        if len(own) == 1:
            raise ValueError(f"class {name!r} has one measured frame: none (unknown) or at least 2 are allowed")
        if len(own):
            amount = ledoit_wolf_shrinkage(own) if shrinkage == "ledoit_wolf" else shrinkage
            result.mean[k], result.n[k] = own.mean(axis=0), len(own)
            result.covariance[k] = shrunk_covariance(np.cov(own, rowvar=False, bias=True), shrinkage=amount)
    return result


def distances(values: np.ndarray, normals: Normals) -> np.ndarray:
    """Mahalanobis distance of each frame to each class's normal.

    Parameters
    ----------
    values : float [N, 17], intensities.

    Returns
    -------
    float64 [N, C], 0 or more; NaN in rows that hold a NaN and in columns of unknown classes.
    """
    values = _checked(values)
    result = np.full((len(values), len(normals.classes)), np.nan)
    for k in np.flatnonzero(~np.isnan(normals.mean).any(axis=1)):
        variance, axes = np.linalg.eigh(normals.covariance[k])
        along = (values - normals.mean[k]) @ axes
        result[:, k] = np.sqrt((along**2 / np.maximum(variance, VARIANCE_FLOOR)).sum(axis=1))
    return result


def distances_left_out(
    values: np.ndarray, label: np.ndarray, subject: np.ndarray, *, classes: Sequence[str]
) -> np.ndarray:
    """As `distances`, each subject's frames to normals that were fitted (`fit`) on all other subjects' frames."""
    result = np.full((len(values), len(classes)), np.nan)
    for one in np.unique(subject):
        own = np.asarray(subject == one)
        result[own] = distances(values[own], fit(values[~own], label[~own], classes=classes))
    return result


def to_space(normals: Normals, *, source: str, target: str) -> Normals:
    """The normals in another label space: each class takes its counterpart's (calm, from seven emotions, neutral's).

    Parameters
    ----------
    normals : over the classes of `source`.
    source, target : names in `labels.SPACES`; the mapping ``target->source`` is used, else ``source->target``.

    Returns
    -------
    Normals
        Over the classes of `target`. One that several source classes map to has mean and covariance of their mixture,
        weighted by their frames (evenly where a number is not told). One without a counterpart is unknown.

    Raises
    ------
    ValueError
        No mapping either way, or `normals` has not the classes of `source`.
    """
    if normals.classes != labels.names(source):
        raise ValueError(f"normals over {list(normals.classes)} received, {list(labels.names(source))} is {source!r}")
    result = _unknown(labels.names(target))
    for k, parts in enumerate(_counterparts(source, target)):
        parts = [part for part in parts if normals.n[part] != 0]
        if parts:
            told = (normals.n[parts] > 0).all()
            weight = normals.n[parts] / normals.n[parts].sum() if told else np.full(len(parts), 1 / len(parts))
            result.mean[k] = weight @ normals.mean[parts]
            apart = normals.mean[parts] - result.mean[k]
            spread = normals.covariance[parts] + apart[:, :, None] * apart[:, None, :]
            result.covariance[k] = np.tensordot(weight, spread, axes=1)
            result.n[k] = normals.n[parts].sum() if told else N_UNKNOWN
    return result


def read_folder(path: str | Path, *, classes: Sequence[str]) -> Normals:
    """Read normals from a folder such as those of ``affectnet_au_normals.zip``.

    It holds ``GMM_mean.csv``, ``GMM_std.csv`` (a row an emotion: 17 columns ``AU01_r`` ... and ``emotion``) and a
    ``GMM_covM_<Emotion>.csv`` an emotion (17 rows and columns), with ``;`` between cells. Emotions may be spelled as in
    any label space. How many frames they were measured on is not told.

    Parameters
    ----------
    classes : the classes wanted, in this order; further emotions in the folder are not read.

    Raises
    ------
    FileNotFoundError
        A file is missing.
    ValueError
        A column, an emotion or a number is missing or twice, or SD and covariance differ; file, row and column are
        named.
    """
    path = Path(path)
    mean, deviation = (_by_emotion(path / f"GMM_{what}.csv") for what in ("mean", "std"))
    covariance = {_emotion(file.stem.removeprefix("GMM_covM_"), file): file for file in path.glob("GMM_covM_*.csv")}
    result = _unknown(classes)
    for k, name in enumerate(classes):
        emotion = labels.emotion(name)
        for where, table in ((path / "GMM_mean.csv", mean), (path / "GMM_std.csv", deviation)):
            if emotion not in table:
                raise ValueError(f"{where}: no row for {name!r}; there are {sorted(table)}")
        if emotion not in covariance:
            raise FileNotFoundError(f"{path}: no GMM_covM_*.csv for {name!r}; there are {sorted(covariance)}")
        matrix = _numbers(_read(covariance[emotion]), covariance[emotion])
        if matrix.shape != (len(UNITS), len(UNITS)) or not np.allclose(matrix, matrix.T):
            raise ValueError(f"{covariance[emotion]}: {matrix.shape} found, a symmetric 17 x 17 covariance is expected")
        if not np.allclose(deviation[emotion] ** 2, np.diag(matrix), rtol=1e-3, atol=1e-6):
            column = _COLUMNS[int(np.argmax(np.abs(deviation[emotion] ** 2 - np.diag(matrix))))]
            raise ValueError(f"{covariance[emotion]}: the variance of {column} is not the SD of GMM_std.csv squared")
        result.mean[k], result.covariance[k], result.n[k] = mean[emotion], matrix, N_UNKNOWN
    return result


def write(normals: Normals, path: str | Path) -> None:
    """Write a table (Parquet), a row a class and unit: ``label_name, n, unit, mean`` and the covariance in 17 more."""
    path = Path(path)
    table = pd.DataFrame(normals.covariance.reshape(-1, len(UNITS)), columns=list(UNITS))
    table.insert(0, "mean", normals.mean.ravel())
    table.insert(0, "unit", list(UNITS) * len(normals.classes))
    table.insert(0, "n", np.repeat(normals.n, len(UNITS)))
    table.insert(0, "label_name", np.repeat(np.array(normals.classes, dtype=object), len(UNITS)))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    table.to_parquet(temporary, index=False)
    temporary.replace(path)


def read(path: str | Path) -> Normals:
    """Read what `write` wrote; ValueError names the file where its columns or rows are others."""
    path = Path(path)
    table = pd.read_parquet(path)
    columns = ["label_name", "n", "unit", "mean", *UNITS]
    if list(table.columns) != columns or list(table["unit"]) != list(UNITS) * (len(table) // len(UNITS)):
        raise ValueError(f"{path}: no table of normals: columns {columns} and 17 rows a class are expected")
    return Normals(
        tuple(table["label_name"].iloc[:: len(UNITS)]),
        table["mean"].to_numpy().reshape(-1, len(UNITS)),
        table[list(UNITS)].to_numpy().reshape(-1, len(UNITS), len(UNITS)),
        table["n"].to_numpy()[:: len(UNITS)],
    )


def _unknown(classes: Sequence[str]) -> Normals:
    shape = (len(classes), len(UNITS))
    empty = np.full(shape, np.nan), np.full((*shape, len(UNITS)), np.nan)
    return Normals(tuple(classes), *empty, np.zeros(len(classes), dtype=np.int64))


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(UNITS):
        raise ValueError(f"action units of shape {values.shape} received, [N, {len(UNITS)}] is allowed")
    return values


def _counterparts(source: str, target: str) -> list[list[int]]:
    """For each class of `target` those of `source`: through ``target->source``, else through ``source->target``."""
    n_source, n_target = len(labels.names(source)), len(labels.names(target))
    if source == target or f"{target}->{source}" in labels.MAPPINGS:
        of = labels.map_labels(np.arange(n_target), source=target, target=source)
        return [[k] if k != labels.DROPPED else [] for k in of.tolist()]
    of = labels.map_labels(np.arange(n_source), source=source, target=target)
    return [np.flatnonzero(of == k).tolist() for k in range(n_target)]


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: missing; a folder of normals holds GMM_mean, GMM_std and GMM_covM_<Emotion>")
    table = pd.read_csv(file, sep=";")
    if missing := [name for name in _COLUMNS if name not in table.columns]:
        raise ValueError(f"{file}: column(s) {missing} are missing")
    return table


def _numbers(table: pd.DataFrame, file: Path) -> np.ndarray:
    numbers = table[_COLUMNS].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if len(bad := np.argwhere(~np.isfinite(numbers))):
        row, column = bad[0]
        cell = table[_COLUMNS].iloc[row, column]
        raise ValueError(f"{file}, line {row + 2}, column {_COLUMNS[column]}: {cell!r} is no number")
    return numbers


def _by_emotion(file: Path) -> dict[str, np.ndarray]:
    table = _read(file)
    if "emotion" not in table.columns:
        raise ValueError(f"{file}: column 'emotion' is missing")
    emotions = [_emotion(name, file) for name in table["emotion"]]
    if len(set(emotions)) < len(emotions):
        raise ValueError(f"{file}: an emotion is there twice: {emotions}")
    return dict(zip(emotions, _numbers(table, file), strict=True))


def _emotion(name: str, file: Path) -> str:
    try:
        return labels.emotion(str(name).strip().lower())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
