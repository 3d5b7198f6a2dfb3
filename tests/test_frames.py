"""FrameStore: what is written in chunks is read back; nothing half is ever there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emolib.frames import MANIFEST_COLUMNS, FrameStore, FrameStoreWriter


def chunk(n: int, *, first: int = 0) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    rows = pd.DataFrame({"source": "a.mp4", "video": "a", "frame": range(first, first + n), "time_s": 0.5})
    rows = rows.assign(subject="1", label=2, split="", face_ok=True, extra=1.5)
    rows[["box_left", "box_top", "box_right", "box_bottom"]] = 1.0
    values = np.arange(first, first + n)
    arrays = {"image": np.tile(values[:, None, None], (1, 4, 4)).astype(np.uint8)}
    return rows, arrays | {"guide/landmarks": arrays["image"] + 1, "landmarks": np.zeros((n, 68, 2), np.float32)}


def write(path, sizes) -> None:
    first = 0
    with FrameStoreWriter(path, corpus="c", label_space="ravdess8") as writer:
        for n in sizes:
            writer.append(*chunk(n, first=first))
            first += n
        writer.add_table("videos", pd.DataFrame({"video": ["a"]}))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(sum))
def test_chunks_of_any_size_come_back_in_order(tmp_path, sizes):
    write(tmp_path / "store", sizes)
    store, n = FrameStore.open(tmp_path / "store"), sum(sizes)
    assert store.manifest["sample"].tolist() == store.manifest["frame"].tolist() == list(range(n))
    assert list(store.manifest.columns) == [*MANIFEST_COLUMNS, "extra"]
    assert (store.corpus, store.label_space) == ("c", "ravdess8")
    assert store.array_names == ["guide/landmarks", "image", "landmarks"]
    assert store.array("image")[:, 2, 2].tolist() == list(range(n))
    assert np.array_equal(store.array("guide/landmarks"), store.array("image") + 1)
    assert store.table("videos")["video"].tolist() == ["a"]
    assert not store.array("image").flags.writeable
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_an_error_leaves_the_old_store_as_it_was(tmp_path):
    write(tmp_path / "store", [3])
    with (
        pytest.raises(KeyboardInterrupt),
        FrameStoreWriter(tmp_path / "store", corpus="c", label_space="ravdess8") as writer,
    ):
        writer.append(*chunk(2))
        raise KeyboardInterrupt
    assert len(FrameStore.open(tmp_path / "store").manifest) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_s_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left, used = (tmp_path / f".store.{socket.gethostname()}.{one.pid}.tmp" for one in (dead, living))
    (left / "arrays").mkdir(parents=True)
    used.mkdir()
    write(tmp_path / "store", [3])
    living.communicate(b"\n")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([used.name, "store"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays | {"image": arrays["image"][:1]}, "'image' has 1 rows, the manifest's chunk 2"),
        (lambda arrays: arrays | {"image": arrays["image"].astype(float)}, "float64"),
        (lambda arrays: arrays | {"image": arrays["image"][:, :3]}, r"\(3, 4\)"),
        (lambda arrays: {"image": arrays["image"]}, r"arrays \['image'\] given"),
    ],
)
def test_a_chunk_that_differs_is_refused(tmp_path, change, message):
    rows, arrays = chunk(2)
    with (
        pytest.raises(ValueError, match=message),
        FrameStoreWriter(tmp_path / "store", corpus="c", label_space="x") as writer,
    ):
        writer.append(rows, arrays)
        writer.append(rows, change(arrays))
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_nothing_and_a_manifest_without_a_column_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no sample"), FrameStoreWriter(tmp_path / "s", corpus="c", label_space="x"):
        pass
    rows, arrays = chunk(2)
    with (
        pytest.raises(ValueError, match="missing: subject"),
        FrameStoreWriter(tmp_path / "s", corpus="c", label_space="x") as writer,
    ):
        writer.append(rows.drop(columns="subject"), arrays)


def test_what_is_no_whole_store_is_not_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match="no frame store here"):
        FrameStore.open(tmp_path)
    write(tmp_path / "store", [3])
    store = FrameStore.open(tmp_path / "store")
    with pytest.raises(KeyError, match="there are guide/landmarks, image, landmarks"):
        store.array("nope")
    with pytest.raises(KeyError, match="there are videos"):
        store.table("nope")
    file = tmp_path / "store" / "manifest.parquet"
    table = pq.read_table(file)
    pq.write_table(table.slice(0, 2), file)
    with pytest.raises(ValueError, match="3 rows, the manifest has 2"):
        FrameStore.open(tmp_path / "store")
    pq.write_table(table.drop_columns(["label"]), file)
    with pytest.raises(ValueError, match="missing: label"):
        FrameStore.open(tmp_path / "store")
    pq.write_table(table.replace_schema_metadata({b"emolab": json.dumps({"schema_version": 99}).encode()}), file)
    with pytest.raises(ValueError, match="version 99 found, 1 is allowed"):
        FrameStore.open(tmp_path / "store")
