"""Locks that die with their process, and cleaning up after processes that died."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_held: dict[Path, Any] = {}  # open lock files of this process, see `hold`


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[Any]:
    """Hold `path` as a lock; the system frees it when the process dies. ``wait=False``: BlockingIOError where held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield handle


def hold(lock: Path) -> bool:
    """Whether this process holds `lock` (from now on, or already, as after a cell was run again)."""
    if lock in _held:
        return True
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = lock.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return False
    _held[lock] = handle
    return True


def release(lock: Path) -> None:
    """Let go of a lock taken with `hold`; nothing happens when this process does not hold it."""
    if (handle := _held.pop(lock, None)) is not None:
        handle.close()


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary name beside `file` to write to; renamed to `file` at the end, removed after an error."""
    temporary = file.with_name(f".{file.stem}.{os.getpid()}.tmp{file.suffix}")
    try:
        yield temporary
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_folder(parent: Path, name: str) -> Path:
    """The folder below `parent` in which this process makes `name`; it names host and process for the cleaning."""
    return parent / f".{name}.{socket.gethostname()}.{os.getpid()}.tmp"


def remove_abandoned(parent: Path, name: str) -> None:
    """Remove `temporary_folder`s of dead processes of this machine, and of this very process (a cell run again)."""
    for folder in _abandoned(parent, name):
        shutil.rmtree(folder, ignore_errors=True)


def adopt_abandoned(parent: Path, name: str) -> Path:
    """The `temporary_folder` of this process, made; what `remove_abandoned` would remove becomes it, or goes."""
    own = temporary_folder(parent, name)
    for folder in _abandoned(parent, name):
        if not own.exists():
            with contextlib.suppress(FileNotFoundError):  # another process was faster and has it now
                folder.rename(own)
        elif folder != own:
            shutil.rmtree(folder, ignore_errors=True)
    own.mkdir(parents=True, exist_ok=True)
    return own


def _abandoned(parent: Path, name: str) -> Iterator[Path]:
    for folder in sorted(parent.glob(f".{glob.escape(name)}.*.tmp")):
        host, _, pid = folder.name.removeprefix(f".{name}.").removesuffix(".tmp").rpartition(".")
        if host == socket.gethostname() and pid.isdigit() and (int(pid) == os.getpid() or not _is_alive(int(pid))):
            yield folder


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def recover(target: Path) -> None:
    """Undo an `emolib.frames.replace_folder` cut between its two renames; remove what a complete one left behind."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.old")
    for old in sorted(target.parent.iterdir()):
        if not pattern.fullmatch(old.name):
            continue
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
