"""Performances: one recording of one emotion by one subject, however many files show it.

RAVDESS has each performance as video with sound, video alone and sound alone; action units, speech and everything that
is fused is joined on its id, never on row order. The id of a name ``MM-VV-EE-II-SS-RR-AA`` is what is left without the
modality, ``VV-EE-II-SS-RR-AA``; elsewhere it is the name itself.

| table | a row is |
|---|---|
| performances | a performance: `performance` (unique), `subject`, `label`, and what the corpus adds |
| posteriors | an answer: `performance`, `p_<class>` a class, `fold`, `subset`, `seed` (`posteriors.PERFORMANCES`) |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from emolib import labels, posteriors
from emolib.corpora import Corpus, ravdess

COLUMNS = ("performance", "subject", "label")


def performance_id(name: str) -> str:
    """Id of the performance that a file, path or video id shows: folders, suffix and modality are dropped.

    A suffix is dropped from names in RAVDESS's form only, so that dots in other ids stay.
    """
    stem = PurePosixPath(name).name
    match = ravdess.NAME.match(stem)
    if match and stem[match.end() : match.end() + 1] in ("", "."):
        return match.group().split("-", 1)[1]
    return name


def from_names(names: Sequence[str]) -> pd.DataFrame:
    """Performances of names in RAVDESS's form: performance, subject ("01" ...), label (`ravdess8`), intensity.

    Raises
    ------
    ValueError
        A name is not in that form (its row is named), its emotion is none, or two names are of one performance.
    """
    rows = []
    for row, name in enumerate(names):
        match = ravdess.NAME.match(PurePosixPath(name).name)
        code = {field: int(text) for field, text in match.groupdict().items()} if match else {}
        if not match or not 1 <= code["emotion"] <= len(labels.names("ravdess8")):
            raise ValueError(f"row {row}: {name!r} found, a name MM-VV-EE-II-SS-RR-AA with emotion 01..08 is allowed")
        intensity = ravdess.INTENSITIES.get(code["intensity"], "")
        subject = f"{code['actor']:02d}"
        rows.append((performance_id(name), subject, code["emotion"] - 1, intensity))
    return checked(pd.DataFrame(rows, columns=[*COLUMNS, "intensity"]), where="names")


def of_corpus(corpus: Corpus) -> pd.DataFrame:
    """Performances of a corpus of videos or recordings: its sources with their `performance`, in their order.

    Raises
    ------
    ValueError
        Two sources show one performance.
    """
    return checked(corpus.sources.assign(performance=corpus.sources["video"].map(performance_id)), where=corpus.name)


def checked(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """`table` with `COLUMNS` in front and a fresh index; ValueError when one is missing or a performance is twice."""
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{where}: column(s) {', '.join(missing)} missing")
    if (twice := table["performance"].duplicated().to_numpy()).any():
        row = int(np.argmax(twice))
        raise ValueError(f"{where}, row {row}: performance {table['performance'].iloc[row]} is there twice")
    table = table.astype({"performance": str, "subject": str, "label": "int64"}).reset_index(drop=True)
    return table[[*COLUMNS, *(name for name in table if name not in COLUMNS)]]


def posterior_table(
    performance: Sequence[str],
    posterior: np.ndarray,
    *,
    classes: Sequence[str],
    fold: int,
    subset: str | Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """A posterior table of performances; parameters as for `posteriors.table`, seed of the model that answers.

    Raises
    ------
    ValueError
        Shapes do not fit, or see `posteriors.check`.
    """
    posterior = np.asarray(posterior, dtype=np.float32)
    if posterior.shape != (len(performance), len(classes)):
        raise ValueError(f"posterior: {posterior.shape} received, {(len(performance), len(classes))} expected")
    columns = dict(zip(posteriors.posterior_columns(classes), posterior.T, strict=True))
    table = pd.DataFrame({"performance": list(performance), **columns, "fold": fold, "subset": subset, "seed": seed})
    posteriors.check(table, classes=classes, where="table", layout=posteriors.PERFORMANCES)
    return table
