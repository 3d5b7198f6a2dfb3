"""What every notebook begins with: its run with the parameters of its own cell, and upstream results opened by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib import corpora, notebooks, preprocessing, provenance, runs
from emolib.corpora import Corpus
from emolib.frames import SCHEMA_VERSION, FrameStore
from emolib.given_maps import map_files

# what decides the pixels of a store
PREPROCESSING_MODULES = ("video", "detection", "tracking", "landmarks", "guides", "extraction")
NOT_THERE = -1  # in the key of a store, in the place of the size of a file that is missing


def begin(notebook: str, namespace: Mapping[str, Any], *, upstream: Sequence[str] = ()) -> runs.Run:
    """Begin the run of a notebook; call it from the notebook itself with ``globals()``.

    Parameters
    ----------
    notebook : file name without its suffix, such as ``04_frame_filtering``; the stage is the name without its number.
    namespace : the notebook's ``globals()``, read for the names of its ``parameters`` cell.
    upstream : runs that it reads, each "stage/variant", of the same study or of its ``base_study``.

    Raises
    ------
    FileNotFoundError, ValueError
        See `runs.begin`.
    """
    declared = notebooks.parameters_of(runs.project_root() / "notebooks" / f"{notebook}.ipynb")
    params = {name: namespace[name] for name in sorted(declared)}
    make_missing = params.pop("make_missing")
    base_study = params.pop("base_study", "")  # where runs lie decides no number; those that are read are recorded
    return runs.begin(
        stage=notebook.split("_", 1)[1],
        variant=params["variant"],
        study=params["study"],
        params=params,
        upstream=upstream,
        base_study=base_study,
        make_missing=make_missing,
    )


def open_corpus(corpus_run: runs.Upstream, *, part: str) -> Corpus:
    """The corpus that notebook 00 looked at: `part` is "videos" or "stills"."""
    prefixes = {"videos": "video", "stills": "still"}
    if part not in prefixes:
        raise ValueError(f"variant {part!r}: allowed are {', '.join(prefixes)}")
    given = {key: corpus_run.params[f"{prefixes[part]}_{key}"] for key in ("corpus", "root", "options")}
    if not given["corpus"]:
        raise ValueError(f"the study names no {prefixes[part]}_corpus, so there are no {part} to prepare")
    return corpora.scan(given["corpus"], runs.raw_path(given["root"]), **given["options"])


def prepare_once(corpus: Corpus, *, guide_maps: Mapping[str, str] | None = None, **options: Any) -> FrameStore:
    """`preprocessing.prepare`, or the store that an earlier run made of the same files with the same options.

    The store lies in ``data/corpora/<corpus>-<key>``; the key is a hash of the options, of the table of sources with
    each file's size and time of change, of what is known of the frames, and of the code that decides its pixels.

    Parameters
    ----------
    guide_maps : name -> folder in the repository or below ``data/raw``; its files are part of the key like the sources.
    options : of `preprocessing.prepare`.

    Raises
    ------
    FileNotFoundError
        A source or a folder of `guide_maps` is not there.
    """
    folders = {name: runs.raw_path(folder) for name, folder in (guide_maps or {}).items()}
    path = runs.data_root() / "corpora" / f"{corpus.name}-{_store_key(corpus, folders, options)}"
    if not (path / "manifest.parquet").is_file():
        preprocessing.prepare(corpus, path, guide_maps=folders, resume=True, **options)
    return FrameStore.open(path)


def _store_key(corpus: Corpus, folders: Mapping[str, Path], options: Mapping[str, Any]) -> str:
    stats = _stats(corpus.root / source for source in corpus.sources["source"])
    if len(gone := np.flatnonzero(stats["size"] == NOT_THERE)):
        raise FileNotFoundError(f"{corpus.root / corpus.sources['source'].iloc[gone[0]]} was there and is gone")
    files = corpus.sources.assign(**stats)
    for name, folder in folders.items():  # a map that is missing today may be there tomorrow: another store
        maps = _stats(map_files(folder, corpus.sources["source"]))
        files = files.assign(**{f"{name}/{key}": values for key, values in maps.items()})
    settings = provenance.hash_value([SCHEMA_VERSION, options, list(files.columns), _code_of_preprocessing()])
    digest = hashlib.sha256(settings.encode())
    for table in (files, corpus.frame_truth):
        if table is not None:
            digest.update(pd.util.hash_pandas_object(_hashable(table), index=False).to_numpy().tobytes())
    if corpus.landmarks is not None:
        digest.update(np.ascontiguousarray(corpus.landmarks).tobytes())
    return digest.hexdigest()[:12]


def _stats(paths: Iterable[Path]) -> dict[str, np.ndarray]:
    """Size and time of change of each file, int64 [n]; `NOT_THERE` for both where there is none."""
    found = []
    for path in paths:
        try:
            stat = path.stat()
            found.append((stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            found.append((NOT_THERE, NOT_THERE))
    return dict(zip(("size", "changed_ns"), np.array(found, np.int64).reshape(-1, 2).T, strict=True))


def _hashable(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of lists or arrays as text, which pandas can hash."""
    return table.astype({name: str for name in table.columns if table[name].dtype == object})


def _code_of_preprocessing() -> list[str]:
    package = Path(preprocessing.__file__).parent
    return [provenance.hash_file(package / f"{name}.py") for name in PREPROCESSING_MODULES]


def open_store(preprocessing_run: runs.Upstream) -> FrameStore:
    """The frame store that a run of notebook 01 made or found.

    Raises
    ------
    FileNotFoundError
        It was removed since; the message names the stage to run again.
    """
    path = runs.data_root() / preprocessing_run.metrics["store"]
    if not path.is_dir():
        study, stage, variant = (preprocessing_run.info[key] for key in ("study", "stage", "variant"))
        raise FileNotFoundError(
            f"{path}: the frame store of {stage}/{variant} is gone; make it again: "
            f"emolib run params/{study}.yaml --force --until {stage}"
        )
    return FrameStore.open(path)
