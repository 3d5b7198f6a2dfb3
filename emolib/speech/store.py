"""Features of a corpus' recordings: made once, a process a core, and opened as a map of the file.

A store is a folder::

    values.npy             float32 [frames of all recordings, width], recordings one after the other
    performances.parquet   a row a recording that has features: performance, subject, label, length (rows of its
                           features), sound_s, kept_s, peak, sha256, source, and what the corpus adds
    excluded.parquet       source, reason: the corpus' own, and recordings that are broken, silent, empty or soundless
    duplicates.parquet     source, performance, same_as (the first performance of the same sound), same_label
    store.json             corpus, label space, options and schema version

It is written below a temporary name and renamed when complete, so a folder that exists is whole.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib import atomic, audio, performances, provenance, video
from emolib.corpora import Corpus
from emolib.frames import replace_folder
from emolib.ragged import Ragged
from emolib.roots import data_root
from emolib.speech import features
from emolib.speech.features import FeatureOptions
from emolib.video import MediaError

SCHEMA_VERSION = 1
FACTS = ("length", "sound_s", "kept_s", "peak", "sha256")  # columns that are written beside the corpus' own
RECORDINGS_PER_WORKER = 150  # fewer are done before a process has started and imported librosa (2 to 3 seconds)
_FILE = "store.json"


@dataclass(frozen=True)
class SpeechStore:
    """A complete store, opened for reading with `open_store`.

    Attributes
    ----------
    features : the recordings in the order of `performances`; values are a map of the file.
    performances, excluded, duplicates : see the module.
    """

    path: Path
    corpus: str
    label_space: str
    options: FeatureOptions
    features: Ragged
    performances: pd.DataFrame
    excluded: pd.DataFrame
    duplicates: pd.DataFrame


def open_store(path: str | Path) -> SpeechStore:
    """Open the store in folder `path`.

    Raises
    ------
    FileNotFoundError
        There is no store.
    ValueError
        It is of another schema version, or its files do not fit each other.
    """
    path = Path(path)
    if not (path / _FILE).is_file():
        raise FileNotFoundError(f"{path}: no store of speech features here ({_FILE} is missing)")
    about = json.loads((path / _FILE).read_text("utf-8"))
    if about.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path / _FILE}: schema version {about.get('schema_version')!r} found, {SCHEMA_VERSION} is allowed"
        )
    tables = {name: pd.read_parquet(path / f"{name}.parquet") for name in ("performances", "excluded", "duplicates")}
    values = np.load(path / "values.npy", mmap_mode="r", allow_pickle=False)
    try:
        sequences = Ragged(values, tables["performances"]["length"].to_numpy(np.int64))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    options = FeatureOptions(**about["options"])
    return SpeechStore(path, about["corpus"], about["label_space"], options, sequences, **tables)


def prepare_once(
    corpus: Corpus, options: FeatureOptions, *, workers: int | None = None, progress: bool = True
) -> SpeechStore:
    """`prepare`, or the store that an earlier call made of the same files with the same options.

    It lies in ``data/features/<corpus>-<key>``; the key is a hash of the options, of the table of sources with each
    file's size and time of change, and of the code that decides the values.

    Raises
    ------
    FileNotFoundError
        A source is not there.
    """
    path = data_root() / "features" / f"{corpus.name}-{_key(corpus, options)}"
    if not (path / _FILE).is_file():
        prepare(corpus, path, options, workers=workers, progress=progress)
    return open_store(path)


def prepare(
    corpus: Corpus, out: str | Path, options: FeatureOptions, *, workers: int | None = None, progress: bool = True
) -> None:
    """Make the features of a corpus of recordings or videos. They do not depend on the number of workers.

    Parameters
    ----------
    corpus : its sources' names say which performance each is (`performances.of_corpus`).
    out : folder of the store; an older store there is replaced when the new one is complete.
    workers : processes; None: one a core, where there are recordings enough.
    progress : show a bar.

    Raises
    ------
    ValueError
        No recording could be used (the reasons are counted), two sources show one performance, or the corpus has a
        column of `FACTS`.
    """
    out, table = Path(out), performances.of_corpus(corpus)
    if taken := sorted({*FACTS} & {*table}):
        raise ValueError(f"corpus {corpus.name!r}: sources have the column(s) {', '.join(taken)}, which prepare writes")
    paths = [Path(corpus.root) / source for source in table["source"]]
    used, arrays, facts, failures = [], [], [], []
    interval_s = 0.5 if sys.stderr.isatty() else 30.0  # a log keeps every line that a terminal overwrites
    shown = {"unit": "recording", "desc": f"features {corpus.name}", "mininterval": interval_s, "disable": not progress}
    with tqdm(total=len(paths), **shown) as bar:
        for row, (values, found) in enumerate(_in_order(paths, options, workers)):
            if values is None:
                failures.append({"source": table["source"].iloc[row], "reason": found["reason"]})
            else:
                used.append(row)
                arrays.append(values)
                facts.append({"length": len(values), **found})
            bar.update()
    if not used:
        reasons = pd.Series([failure["reason"] for failure in failures]).value_counts().head(5)
        counted = "; ".join(f"{n} x {reason}" for reason, n in reasons.items()) or "it has no sources"
        raise ValueError(f"corpus {corpus.name!r}: no recording could be used, {counted}")
    known = pd.concat([table.iloc[used].reset_index(drop=True), pd.DataFrame(facts)], axis=1)
    excluded = pd.concat([corpus.excluded, pd.DataFrame(failures, columns=["source", "reason"])], ignore_index=True)
    about = {"schema_version": SCHEMA_VERSION, "corpus": corpus.name, "label_space": corpus.label_space}
    _write(out, np.concatenate(arrays), known, excluded.astype("str"), about | {"options": asdict(options)})


def duplicates(known: pd.DataFrame) -> pd.DataFrame:
    """Performances whose sound is that of an earlier one: source, performance, same_as, same_label.

    Parameters
    ----------
    known : performance, label, source, sha256 (of the decoded samples), a row a recording.
    """
    first = known.groupby("sha256", sort=False)[["performance", "label"]].transform("first")
    found = known[["source", "performance"]].assign(
        same_as=first["performance"], same_label=first["label"] == known["label"]
    )
    return found[known["sha256"].duplicated()].reset_index(drop=True)


def _in_order(paths: list[Path], options: FeatureOptions, workers: int | None) -> Iterator[tuple]:
    worth = max(1, len(paths) // RECORDINGS_PER_WORKER)
    n_workers = min(joblib.cpu_count(), worth) if workers is None else workers
    if n_workers <= 1:
        yield from (_features_or_reason(path, options) for path in paths)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=n_workers, return_as="generator", batch_size=16)
        yield from parallel(joblib.delayed(_features_or_reason)(path, options) for path in paths)


def _features_or_reason(path: Path, options: FeatureOptions) -> tuple[np.ndarray | None, dict]:
    try:
        return features.of_file(path, options)
    except MediaError as error:
        return None, {"reason": error.reason}


def _write(out: Path, values: np.ndarray, known: pd.DataFrame, excluded: pd.DataFrame, about: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.remove_abandoned(out.parent, out.name)
    temporary = atomic.temporary_folder(out.parent, out.name)
    temporary.mkdir()
    try:
        np.save(temporary / "values.npy", values)
        tables = {"performances": known, "excluded": excluded, "duplicates": duplicates(known)}
        for name, table in tables.items():
            table.to_parquet(temporary / f"{name}.parquet", index=False)
        provenance.write_json(temporary / _FILE, about, where="store")
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _key(corpus: Corpus, options: FeatureOptions) -> str:
    stats = []
    for source in corpus.sources["source"]:
        stat = (Path(corpus.root) / source).stat()
        stats.append((stat.st_size, stat.st_mtime_ns))
    code = [provenance.hash_file(Path(inspect.getfile(module))) for module in (audio, video, features)]
    settings = [SCHEMA_VERSION, corpus.name, corpus.label_space, asdict(options), stats, code]
    digest = hashlib.sha256(provenance.hash_value(settings).encode())
    digest.update(corpus.sources.to_json(orient="split").encode())
    digest.update(corpus.excluded.to_json(orient="split").encode())
    return digest.hexdigest()[:12]
