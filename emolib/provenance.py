"""Where a run's numbers come from: strict JSON, file and value hashes, versions of code, packages and machine.

Nothing here knows what a run is; `emolib.runs` decides what is recorded and when it is compared.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FULL_CHECK_BYTES = 64 * 2**20  # files of this size and above are compared by size only: hashing them would cost seconds


def plain(value: Any, *, where: str = "value") -> Any:
    """`value` as strict JSON knows it: NumPy scalars and arrays converted, NaN and infinities as None, paths as text.

    Raises
    ------
    TypeError
        Something that JSON cannot hold; the message names where it lies.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist(), where=where)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(key): plain(item, where=f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, where=f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(
        f"{where} is a {type(value).__name__}; JSON holds numbers, text, booleans, None, lists and dictionaries"
    )


def write_json(path: Path, value: Any, *, where: str) -> None:
    """Write `value` as strict JSON (no NaN, no Infinity), indented, UTF-8."""
    text = json.dumps(plain(value, where=where), indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def hash_value(value: Any) -> str:
    """SHA-256 of `value`'s canonical JSON (keys sorted), hexadecimal."""
    text = json.dumps(plain(value), sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file below `folder`: path relative to it -> ``{"sha256": ..., "bytes": ...}``, sorted by path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): {"sha256": hash_file(file), "bytes": file.stat().st_size} for file in files
    }


def check_files(folder: Path, described: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare `folder` with `described` (see `describe_files`): sizes always, hashes below `FULL_CHECK_BYTES`.

    Raises
    ------
    ValueError
        A file is missing or differs; the message names it.
    """
    for name, expected in described.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file} is missing, though the run was complete")
        n_bytes = file.stat().st_size
        if n_bytes != expected["bytes"]:
            raise ValueError(f"{file} has {n_bytes} bytes, {expected['bytes']} were written")
        if n_bytes < FULL_CHECK_BYTES and hash_file(file) != expected["sha256"]:
            raise ValueError(f"{file} was changed after the run was complete (its SHA-256 differs)")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None  # no git here: the package's version and the hash of the sources identify the code
    return done.stdout.strip() if done.returncode == 0 else None


def code_version(root: Path) -> dict[str, Any]:
    """Commit of `root`, whether tracked files were changed (both None outside git), emolib's version and hash."""
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {
        "git_commit": commit,
        "git_dirty": None if changed is None else bool(changed),
        "emolib_version": importlib.metadata.version("emolib"),
        "emolib_sources_sha256": hash_sources(),
    }


@functools.cache
def hash_sources() -> str:
    """SHA-256 over names and contents of emolib's Python files, as they were when first asked in this process."""
    package = Path(__file__).parent
    files = sorted(package.rglob("*.py"))
    return hash_value({file.relative_to(package).as_posix(): hash_file(file) for file in files})


def environment() -> dict[str, Any]:
    """Python, machine and the versions of the packages that emolib requires (optional ones where installed)."""
    versions = {}
    for requirement in importlib.metadata.requires("emolib") or []:
        name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed has no version to record
    torch = sys.modules.get("torch")  # never imported only to be asked
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": gpu,
        "packages": dict(sorted(versions.items())),
    }
