"""FrameStore: a manifest (Parquet) and arrays aligned with its rows (``.npy``, memory-mapped).

A store is a folder::

    manifest.parquet            one row a sample; corpus, label space and schema version in the file's metadata
    arrays/image.npy            uint8 [N, 48, 48]
    arrays/guide/saliency.npy   uint8 [N, 48, 48]
    arrays/landmarks.npy        float32 [N, 68, 2]
    tables/<name>.parquet       further tables (videos, excluded)

It is written in chunks of any size below a temporary name and renamed when complete, so a folder that exists is whole.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import atomic

SCHEMA_VERSION = 1
BOX_COLUMNS = ["box_left", "box_top", "box_right", "box_bottom"]
MANIFEST_COLUMNS = {
    "sample": "int64",
    "source": "str",
    "video": "str",
    "frame": "int32",
    "time_s": "float64",
    "subject": "str",
    "label": "int64",
    "split": "str",
    "face_ok": "bool",
    **dict.fromkeys(BOX_COLUMNS, "float32"),
}


@dataclass(frozen=True)
class FrameStore:
    """A complete store, opened for reading. Build it with `FrameStore.open`."""

    path: Path
    corpus: str
    label_space: str
    manifest: pd.DataFrame

    @classmethod
    def open(cls, path: str | Path) -> FrameStore:
        """Open the store in folder `path`.

        Raises
        ------
        FileNotFoundError
            There is no store at `path`.
        ValueError
            The manifest lacks a column or its metadata, or an array's length differs from the manifest's.
        """
        path = Path(path)
        file = path / "manifest.parquet"
        if not file.is_file():
            raise FileNotFoundError(f"{path}: no frame store here (manifest.parquet is missing)")
        table = pq.read_table(file)
        metadata = json.loads((table.schema.metadata or {}).get(b"emolab", b"{}"))
        if metadata.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"{file}: schema version {metadata.get('schema_version')!r} found, {SCHEMA_VERSION} is allowed"
            )
        missing = [name for name in MANIFEST_COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(f"{file}: column(s) missing: {', '.join(missing)}")
        store = cls(path, metadata["corpus"], metadata["label_space"], table.to_pandas())
        for name in store.array_names:
            if len(store.array(name)) != len(store.manifest):
                raise ValueError(
                    f"{path}: array {name!r} has {len(store.array(name))} rows, the manifest has {len(store.manifest)}"
                )
        return store

    @property
    def array_names(self) -> list[str]:
        """Names of the arrays, for example ``["guide/saliency", "image", "landmarks"]``."""
        root = self.path / "arrays"
        return sorted(file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.npy"))

    def array(self, name: str) -> np.ndarray:
        """Array `name`, memory-mapped and read-only, its first axis aligned with the manifest's rows."""
        file = self.path / "arrays" / f"{name}.npy"
        if not file.is_file():
            raise KeyError(f"{self.path}: no array {name!r}; there are {', '.join(self.array_names)}")
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except ValueError:  # NumPy cannot map an array of no rows
            return np.load(file, allow_pickle=False)

    def table(self, name: str) -> pd.DataFrame:
        """Further table `name` of the store, for example ``videos`` or ``excluded``."""
        file = self.path / "tables" / f"{name}.parquet"
        if not file.is_file():
            there = sorted(p.stem for p in file.parent.glob("*.parquet"))
            raise KeyError(f"{self.path}: no table {name!r}; there are {', '.join(there) or 'none'}")
        return pd.read_parquet(file)


class FrameStoreWriter:
    """Writes a store chunk by chunk; use it as a context manager.

    Parameters
    ----------
    path : folder to make; it is replaced only when the new store is complete.
    corpus, label_space : recorded in the manifest's metadata.

    Notes
    -----
    Peak memory is one chunk of arrays and the manifest's rows. An exception inside the ``with`` block removes what was
    written and leaves an older store at `path` as it was; what a killed process wrote, the next writer removes.
    """

    def __init__(self, path: str | Path, *, corpus: str, label_space: str):
        self.path = Path(path)
        self.corpus, self.label_space = corpus, label_space
        self._rows: list[pd.DataFrame] = []
        self._n = 0
        self._files: dict[str, tuple] = {}
        self._tables: dict[str, pd.DataFrame] = {}

    def __enter__(self) -> FrameStoreWriter:
        atomic.remove_abandoned(self.path.parent, self.path.name)
        self._temporary = atomic.temporary_folder(self.path.parent, self.path.name)
        self._temporary.mkdir(parents=True)
        return self

    def append(self, rows: pd.DataFrame, arrays: dict[str, np.ndarray]) -> None:
        """Add `rows` of the manifest (without ``sample``) and their `arrays`, each [len(rows), ...].

        Raises
        ------
        ValueError
            A length, shape, dtype or set of names differs from the first chunk's or from the rows.
        """
        for name, values in arrays.items():
            if len(values) != len(rows):
                raise ValueError(
                    f"{self.path}: array {name!r} has {len(values)} rows, the manifest's chunk {len(rows)}"
                )
        if not self._files:
            self._files = {name: self._create(name, values) for name, values in arrays.items()}
        if set(arrays) != set(self._files):
            raise ValueError(f"{self.path}: arrays {sorted(arrays)} given, {sorted(self._files)} expected")
        for name, values in arrays.items():
            file, dtype, shape = self._files[name]
            if values.dtype != dtype or values.shape[1:] != shape:
                raise ValueError(
                    f"{self.path}: array {name!r} is {values.dtype} {values.shape[1:]}, {dtype} {shape} expected"
                )
            file.write(np.ascontiguousarray(values).data)
        self._rows.append(rows)
        self._n += len(rows)

    def add_table(self, name: str, table: pd.DataFrame) -> None:
        """Keep a further table beside the manifest."""
        self._tables[name] = table

    def _create(self, name: str, values: np.ndarray) -> tuple:
        file = self._temporary / "arrays" / f"{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("w+b")
        self._write_header(handle, values.dtype, (0, *values.shape[1:]))
        return handle, values.dtype, values.shape[1:]

    @staticmethod
    def _write_header(handle, dtype, shape) -> None:
        # NumPy pads the header so that the first axis may grow in place (GROWTH_AXIS_MAX_DIGITS).
        np.lib.format.write_array_header_1_0(
            handle, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        )

    def _manifest(self) -> pd.DataFrame:
        rows = pd.concat(self._rows, ignore_index=True) if self._rows else pd.DataFrame()
        if rows.empty:
            raise ValueError(f"{self.path}: no sample was written, a store of none is of no use")
        rows.insert(0, "sample", np.arange(len(rows)))
        missing = [name for name in MANIFEST_COLUMNS if name not in rows.columns]
        if missing:
            raise ValueError(f"{self.path}: manifest column(s) missing: {', '.join(missing)}")
        others = [name for name in rows.columns if name not in MANIFEST_COLUMNS]
        return rows[[*MANIFEST_COLUMNS, *others]].astype(MANIFEST_COLUMNS)

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            for handle, _, _ in self._files.values():
                handle.close()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _complete(self) -> None:
        table = pa.Table.from_pandas(self._manifest(), preserve_index=False)
        metadata = {"schema_version": SCHEMA_VERSION, "corpus": self.corpus, "label_space": self.label_space}
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), b"emolab": json.dumps(metadata).encode()}
        )
        pq.write_table(table, self._temporary / "manifest.parquet")
        for name, extra in self._tables.items():
            (self._temporary / "tables").mkdir(exist_ok=True)
            extra.to_parquet(self._temporary / "tables" / f"{name}.parquet", index=False)
        for handle, dtype, shape in self._files.values():
            handle.seek(0)
            self._write_header(handle, dtype, (self._n, *shape))
            handle.close()
        replace_folder(self._temporary, self.path)


def replace_folder(new: Path, target: Path) -> None:
    """Put the complete folder `new` at `target`; an older one is moved aside first and removed last."""
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
