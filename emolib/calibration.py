"""Can a posterior be taken at its word? Reliability, calibration errors, and temperatures fitted fold by fold.

| measure | |
|---|---|
| confidence | the largest posterior of a row: what the network says its answer is worth |
| reliability | rows in bins of confidence: their mean confidence, and the share whose answer is right |
| ECE | expected calibration error: mean distance of the two over bins, each weighted by its rows (Naeini et al. 2015) |
| NLL | mean negative log-likelihood of the true class, in nats |
| Brier | mean squared distance of the posterior from the truth, 0..2 (Brier 1950) |

Temperatures are fitted on validation rows and applied to the test rows of the same fold, so that no test label is used
(Guo et al. 2017, arXiv:1706.04599). Under protocol `reference` the validation rows *are* the test rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib import posteriors
from emolib.intervals import Interval
from emolib.resampling import limits, resamples, units

BINS = ("width", "mass")
CUTS = {"ece": "width", "ece_mass": "mass"}
MEASURES = (*CUTS, "nll", "brier", "overconfidence")


def reliability(posterior: np.ndarray, label: np.ndarray, *, n_bins: int = 15, bins: str = "width") -> pd.DataFrame:
    """Confidence and accuracy by bins of confidence.

    Parameters
    ----------
    posterior : float [N, C], rows sum to 1
    label : int [N]
    n_bins : int
    bins : "width" cuts 0..1 into equal parts, each open below; "mass" cuts at quantiles of the confidence, so that bins
        hold about equally many rows.

    Returns
    -------
    DataFrame, a row a bin that holds rows: `bin` (from 0), `confidence`, `accuracy` (means, 0..1), `n`.

    Raises
    ------
    ValueError
        Shapes, sums, a label or an option are not allowed.
    """
    confidence, right, _ = _judged(posterior, label)
    cut = pd.DataFrame({"bin": _bin(confidence, n_bins, bins), "confidence": confidence, "accuracy": right})
    table = cut.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), n=("accuracy", "size")
    )
    return table.reset_index()


def ece(posterior: np.ndarray, label: np.ndarray, *, n_bins: int = 15, bins: str = "width") -> float:
    """Expected calibration error, 0..1; parameters and errors as `reliability`."""
    table = reliability(posterior, label, n_bins=n_bins, bins=bins)
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["n"]))


def nll(posterior: np.ndarray, label: np.ndarray) -> float:
    """Mean negative log-likelihood, nats; a posterior below float32's smallest positive number counts as it."""
    return float(_losses(posterior, label)["nll"].mean())


def brier(posterior: np.ndarray, label: np.ndarray) -> float:
    """Mean over rows of the squared distances summed over classes, 0 (sure and right) to 2 (sure and wrong)."""
    return float(_losses(posterior, label)["brier"].mean())


def interval(
    posterior: np.ndarray,
    label: np.ndarray,
    subject: np.ndarray,
    *,
    measure: str = "ece",
    n_bins: int = 15,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A measure of `MEASURES` with its percentile bootstrap interval over *subjects*, as `intervals.subject_bootstrap`.

    `overconfidence` is mean confidence minus accuracy, -1..1. Bins stay those of all rows.

    Notes
    -----
    An ECE is never negative and a sample's is larger than the population's, a resample's once more: the interval lies
    high, the more so the fewer the rows (Kumar et al. 2019, arXiv:1909.10155). Read it as an upper limit.

    Raises
    ------
    ValueError
        As `reliability`; an unknown measure, a row without a subject, fewer than two subjects, or another option.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure = {measure!r}: one of {', '.join(MEASURES)} is allowed")
    code, n_subjects = units(subject, len(label), "subject")
    sums = _sums(code, *_parts(posterior, label, measure=measure, n_bins=n_bins))
    rows = np.bincount(code)
    size = np.abs if measure in CUTS else np.asarray  # of a bin's gap, which counts either way

    def of(times: np.ndarray) -> np.ndarray:
        return size(times @ sums).sum(axis=-1) / (times @ rows)

    resampled = [of(times) for times in resamples(n_subjects, n_resamples, seed)]
    low, high = limits(np.concatenate(resampled), confidence)
    return Interval(float(of(np.ones(n_subjects))), low, high, n_subjects)


def _parts(posterior: np.ndarray, label: np.ndarray, *, measure: str, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """What a measure sums over rows, float [N], and in which bin, int [N]."""
    top, right, _ = _judged(posterior, label)
    cell = _bin(top, n_bins, CUTS[measure]) if measure in CUTS else np.zeros(len(top), dtype=np.int64)
    return (_losses(posterior, label)[measure].to_numpy() if measure in ("nll", "brier") else top - right), cell


def _sums(subject: np.ndarray, value: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Sums of `value` by subject and bin, [S, bins]."""
    n_subjects, n_cells = int(subject.max()) + 1, int(cell.max()) + 1
    flat = np.bincount(subject * n_cells + cell, weights=value, minlength=n_subjects * n_cells)
    return flat.reshape(n_subjects, n_cells)


def summary(
    posterior: np.ndarray,
    label: np.ndarray,
    *,
    fold: np.ndarray | None = None,
    temperature: float | pd.DataFrame | None = None,
    n_bins: int = 15,
) -> dict[str, float]:
    """All measures of one set of posteriors, in one row.

    Parameters
    ----------
    posterior : float [N, C], rows sum to 1
    label : int [N]
    fold : int [N], optional
        The model that each row is from: adds `ece_mean_of_folds`, since errors of models that are too sure and of such
        as are not sure enough cancel when their rows are pooled.
    temperature : float, or DataFrame `fold, temperature` (from `fit_by_fold`; needs `fold`), optional
        Applied first: the measures are those of the tempered posteriors.

    Returns
    -------
    dict: n, accuracy, confidence, overconfidence (confidence - accuracy), ece, ece_mass, nll, brier; with `fold`
    ece_mean_of_folds; with `temperature` temperature (of folds: their mean).

    Raises
    ------
    ValueError
        As `reliability`; or folds and temperatures do not fit.
    """
    if temperature is not None:
        posterior = _tempered(np.asarray(posterior), fold, temperature)
    top, right, label = _judged(posterior, label)
    found = {"n": len(label), "accuracy": float(right.mean()), "confidence": float(top.mean())}
    found["overconfidence"] = found["confidence"] - found["accuracy"]
    found["ece"] = ece(posterior, label, n_bins=n_bins)
    found["ece_mass"] = ece(posterior, label, n_bins=n_bins, bins="mass")
    found |= _losses(posterior, label).mean().to_dict()
    if fold is not None:
        posterior, fold = np.asarray(posterior), np.asarray(fold)
        of_folds = [ece(posterior[fold == k], label[fold == k], n_bins=n_bins) for k in np.unique(fold)]
        found["ece_mean_of_folds"] = float(np.mean(of_folds))
    if temperature is not None:
        by_fold = isinstance(temperature, pd.DataFrame)
        found["temperature"] = float(temperature["temperature"].mean() if by_fold else temperature)
    return found


def fit_by_fold(validation: pd.DataFrame, label: pd.Series) -> pd.DataFrame:
    """The temperature of each fold's model, from its validation rows.

    Parameters
    ----------
    validation : posterior table of subset "validation"
    label : Series of int, index sample
        True classes; further samples are allowed.

    Returns
    -------
    DataFrame: `fold` (rising), `temperature` (above 1: the model was too sure), `n` rows that it was fitted on.

    Raises
    ------
    ValueError
        A row of another subset (a test row would leak into what it is judged with), or a sample without a label.
    """
    if others := sorted(set(validation["subset"]) - {"validation"}):
        raise ValueError(f"validation: rows of subset {', '.join(others)} found, 'validation' is allowed")
    if not label.index.is_unique or not validation["sample"].isin(label.index).all():
        raise ValueError("label: each sample of the validation table needs one label; some have none or several")
    columns = [name for name in validation if name.startswith("p_")]
    rows = []
    for fold, part in validation.groupby("fold"):
        with np.errstate(divide="ignore"):  # fit_temperature takes -inf
            log_posterior = np.log(part[columns].to_numpy(dtype=np.float64))
        fitted = posteriors.fit_temperature(log_posterior, label.loc[part["sample"]].to_numpy())
        rows.append({"fold": fold, "temperature": fitted, "n": len(part)})
    return pd.DataFrame(rows, columns=["fold", "temperature", "n"])


def apply_by_fold(table: pd.DataFrame, temperatures: pd.DataFrame) -> pd.DataFrame:
    """Posterior table `table`, each row with the temperature of its fold (from `fit_by_fold`); ValueError if it has
    none."""
    columns = [name for name in table if name.startswith("p_")]
    tempered = _tempered(table[columns].to_numpy(), table["fold"].to_numpy(), temperatures)
    return table.assign(**dict(zip(columns, tempered.T, strict=True)))


def _tempered(posterior: np.ndarray, fold: np.ndarray | None, temperature: float | pd.DataFrame) -> np.ndarray:
    if not isinstance(temperature, pd.DataFrame):
        return posteriors.apply_temperature(posterior, temperature)
    if fold is None or len(fold) != len(posterior):
        raise ValueError("temperatures by fold need the fold of each row")
    of_fold = temperature.set_index("fold")["temperature"]
    if missing := sorted(set(np.unique(fold)) - set(of_fold.index)):
        raise ValueError(f"temperatures: none for fold {missing[0]}; there are folds {of_fold.index.tolist()}")
    result = np.empty_like(posterior)
    for k in np.unique(fold):
        result[fold == k] = posteriors.apply_temperature(posterior[fold == k], of_fold[k])
    return result


def _judged(posterior: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence float64 [N], whether the answer is right bool [N], label; checked here."""
    posterior, label = np.asarray(posterior, dtype=np.float64), np.asarray(label)
    if posterior.ndim != 2 or label.shape != posterior.shape[:1] or not len(label):
        raise ValueError(f"posterior {posterior.shape} and label {label.shape} received, [N, C] and [N] are allowed")
    if label.dtype.kind not in "iu" or label.min() < 0 or label.max() >= posterior.shape[1]:
        raise ValueError(
            f"label: {label.dtype}, {label.min()} to {label.max()}; integers 0 to {posterior.shape[1] - 1}"
        )
    wrong = ~(np.abs(posterior.sum(axis=1) - 1) <= posteriors.SUM_TOLERANCE) | (posterior < 0).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"posterior, row {row}: {posterior[row].tolist()} is no distribution ({wrong.sum()} are so)")
    return np.minimum(posterior.max(axis=1), 1), posterior.argmax(axis=1) == label, label


def _bin(confidence: np.ndarray, n_bins: int, bins: str) -> np.ndarray:
    if bins not in BINS or n_bins < 1:
        raise ValueError(f"bins = {bins!r}, n_bins = {n_bins}: one of {', '.join(BINS)} and 1 or more are allowed")
    inner = np.linspace(0, 1, n_bins + 1)[1:-1]
    return np.searchsorted(inner if bins == "width" else np.quantile(confidence, inner), confidence)


def _losses(posterior: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    """`nll` and `brier` of each row."""
    _judged(posterior, label)
    posterior, label = np.asarray(posterior, dtype=np.float64), np.asarray(label)
    own = posterior[np.arange(len(label)), label]
    squared = (posterior**2).sum(axis=1) - 2 * own + 1
    return pd.DataFrame({"nll": -np.log(np.maximum(own, np.finfo(np.float32).tiny)), "brier": squared})
