"""From a run that trained a classifier to a file that ships, and from a parameter to the weights that it names.

The temperature is fitted on the run's own validation pictures (table ``validation``, `still_outputs`), in no case on
pictures that the classifier is measured on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib import calibration, classify, models, posteriors, provenance, shipped
from emolib.classifier_file import save_classifier
from emolib.roots import check_name, data_root, project_root
from emolib.runs import Run

MAX_SHIPPED_BYTES = 10_000_000


def ship(
    run: str | Path,
    *,
    name: str,
    crop: str,
    trained_on: str,
    out: str | Path | None = None,
    half: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Turn a run of notebook 13 (or 02) into a file that `classify.load` opens.

    Parameters
    ----------
    run : its folder, ``data/runs/<study>/<stage>/<variant>``.
    name : what it is loaded by; letters, digits, '.', '_' and '-'.
    crop : how a face is to be cut for it, one of `classify.CROPS`.
    trained_on : the pictures in words, for the model card.
    out : folder of the file, made if it is not there; the package's own where not given.
    half : store float16.

    Returns
    -------
    The file, and the facts that it holds.

    Raises
    ------
    FileNotFoundError
        `run` is no complete run, or lacks weights or validation posteriors.
    ValueError
        A file of the run was changed, its tables do not fit, its validation pictures are those of its test (protocol
        `reference`) or were learned from (`complete`), or the file would be larger than `MAX_SHIPPED_BYTES`.
    """
    run, info = Path(run), read_run(run)
    if (protocol := info["params"].get("protocol", "nested")) != "nested":
        raise ValueError(
            f"{run}: protocol {protocol!r}, 'nested' is allowed: its temperature would be fitted on test pictures"
        )
    if info["params"].get("complete", False):
        raise ValueError(f"{run}: complete = True, False is allowed: its model has no pictures for a temperature")
    weights = models.load_weights(run / classify.WEIGHTS_FILE)
    temperature, fitted = fit(run, weights.classes)
    facts = {
        "trained_on": trained_on,
        "run": "/".join(info[key] for key in ("study", "stage", "variant")),
        "fingerprint": info["fingerprint"],
        "finished_utc": info["finished_utc"],
        "code": info["code"],
        "params": info["params"],
        "metrics": info["metrics"],
        "temperature_fit": fitted,  # on posteriors averaged over the run's own views (params)
        "stored": "float16" if half else "float32",
    }
    folder = Path(shipped.__file__).parent if out is None else Path(out)
    path = folder / f"{check_name(name, what='name')}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    candidate = path.with_name(f".{path.name}.candidate")  # an older file stays unless this one may ship
    save_classifier(
        candidate,
        weights.state,
        model=weights.model,
        classes=weights.classes,
        options=weights.options,
        temperature=temperature,
        crop=crop,
        facts=facts,
        half=half,
    )
    if (n_bytes := candidate.stat().st_size) > MAX_SHIPPED_BYTES:
        candidate.unlink()
        hint = "" if half else "; --half stores float16"
        raise ValueError(f"{path.name} has {n_bytes:,} bytes, {MAX_SHIPPED_BYTES:,} are allowed{hint}")
    candidate.replace(path)
    return path, facts


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a complete run wherever its folder lies, its files compared with it; errors as `ship`."""
    file = folder / "run.json"
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no complete run here (run.json is missing)")
    info = json.loads(file.read_text("utf-8"))
    provenance.check_files(folder, info["outputs"])
    return info


def fit(run: Path, classes: list[str]) -> tuple[float, dict[str, Any]]:
    """Temperature from the run's validation posteriors, and what it did to them there."""
    stills = run / "stills.parquet"
    if not stills.is_file():
        raise FileNotFoundError(f"{run}: no stills.parquet, which says the labels of the validation pictures")
    table = posteriors.read(run / "validation.parquet", classes=classes)
    if (n_folds := table["fold"].nunique()) != 1:
        raise ValueError(f"{run}: validation posteriors of {n_folds} fold models; one model is shipped")
    label = pd.read_parquet(stills).set_index("sample")["label"].loc[table["sample"]].to_numpy()
    values = table[posteriors.posterior_columns(classes)].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore"):  # fit_temperature takes -inf
        temperature = posteriors.fit_temperature(np.log(values), label)
    before, after = (calibration.summary(values, label, temperature=one) for one in (None, temperature))
    kept = ("n", "accuracy", "ece", "nll")
    return temperature, {"before": {k: before[k] for k in kept}, "after": {k: after[k] for k in kept}}


def open_weights(run: Run, *, pretrained: str, weights: str) -> classify.Classifier | classify.Ensemble:
    """The classifier that a notebook's two parameters name.

    Parameters
    ----------
    run : the notebook's.
    pretrained : an upstream run "stage/variant" with weights, or "".
    weights : used where `pretrained` is "": as `classify.load`, where a relative path (or a run "study/stage/variant")
        is looked for in the repository, in the data folder and among its runs.

    Raises
    ------
    ValueError
        Both or neither are given.
    FileNotFoundError
        There are no such weights.
    """
    if bool(pretrained) == bool(weights):
        raise ValueError(f"pretrained {pretrained!r} and weights {weights!r}: exactly one of them is allowed")
    if pretrained:
        return classify.load(run.upstream(pretrained).folder)
    return classify.load([_located(one.strip()) for one in weights.split(",")])


def _located(name: str) -> str | Path:
    for place in (project_root(), data_root(), data_root() / "runs"):
        if "/" in name and (place / name).exists():
            return place / name
    return name
