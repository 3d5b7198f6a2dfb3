"""What a process that died left behind goes, or is taken over; what a living one works on stays."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from emolib import atomic

ALIVE = os.getppid()


@pytest.fixture(scope="module")
def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def scrap(parent, name, pid, *, host=None):
    folder = parent / f".{name}.{host or socket.gethostname()}.{pid}.tmp"
    folder.mkdir()
    (folder / "file").write_text(str(pid))
    return folder


def test_only_what_a_dead_process_of_this_machine_left_is_removed(tmp_path, dead):
    gone = [scrap(tmp_path, "a[1]", dead), scrap(tmp_path, "a[1]", os.getpid())]
    kept = [
        scrap(tmp_path, "a[1]", ALIVE),
        scrap(tmp_path, "a[1]", dead, host="another"),
        scrap(tmp_path, "a[1].parts", dead),
        scrap(tmp_path, "b", dead),
    ]
    atomic.remove_abandoned(tmp_path, "a[1]")
    assert not any(folder.exists() for folder in gone) and all(folder.exists() for folder in kept)


@pytest.mark.parametrize("own", [True, False])
def test_what_a_dead_process_left_is_taken_over_once(tmp_path, dead, own):
    left, kept = scrap(tmp_path, "a", dead), scrap(tmp_path, "a", ALIVE)
    if own:
        scrap(tmp_path, "a", os.getpid())
    folder = atomic.adopt_abandoned(tmp_path, "a")
    assert folder == atomic.temporary_folder(tmp_path, "a")
    assert (folder / "file").read_text() == str(os.getpid() if own else dead)
    assert not left.exists() and kept.exists()


def test_where_nothing_was_left_the_folder_is_new(tmp_path):
    folder = atomic.adopt_abandoned(tmp_path / "below", "a")
    assert folder.is_dir() and list(folder.iterdir()) == []
