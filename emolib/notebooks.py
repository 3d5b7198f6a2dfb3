"""Notebooks as files: their parameters, the modules they import, executing them, and how an execution ended."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import papermill

# Modules that record and order the work but do not take part in it: changing them makes no run outdated.
MACHINERY = {
    "atomic",
    "cli",
    "doctor",
    "notebooks",
    "pages",
    "progress",
    "provenance",
    "report",
    "roots",
    "runs",
    "study",
    "study_file",
    "tables",
    "workflow",
}
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Failure:
    """How an execution failed."""

    summary: str  # one line: the error's name and value
    traceback: str  # plain text
    cell: int  # index of the cell


def parameters_of(notebook: Path) -> frozenset[str]:
    """Names in a notebook's ``parameters`` cell.

    Raises
    ------
    FileNotFoundError
        There is no such notebook.
    ValueError
        It lacks ``study`` or ``variant``, without which its run would have no place.
    """
    if not notebook.is_file():
        there = ", ".join(sorted(file.stem for file in notebook.parent.glob("*.ipynb"))) or "none"
        raise FileNotFoundError(f"{notebook}: no such notebook; there are: {there}")
    names = _inspect(notebook, notebook.stat().st_mtime_ns)
    for name in ("study", "variant"):
        if name not in names:
            has = ", ".join(sorted(names)) or "none"
            raise ValueError(f"{notebook}: its 'parameters' cell lacks {name!r}; it has: {has}")
    return names


@functools.lru_cache(maxsize=256)
def _inspect(notebook: Path, modified_ns: int) -> frozenset[str]:
    return frozenset(papermill.inspect_notebook(str(notebook)))


def execute(
    notebook: Path, executed: Path, *, params: Mapping[str, Any], folder: Path, title: str, log: TextIO | None = None
) -> None:
    """Execute `notebook` in `folder` with papermill, keeping the result at `executed` also after a failure.

    Raises
    ------
    RuntimeError
        A cell failed; one line, with the path of the executed notebook.
    """
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(notebook),
            str(executed),
            parameters=dict(params),
            kernel_name="python3",
            cwd=str(folder),
            progress_bar={"desc": title},
            stderr_file=log,
        )
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(f"{title} failed: {error.ename}: {error.evalue}; see {executed}") from error


def failure_of(executed: Path) -> Failure | None:
    """The error with which an executed notebook ended, or None when no cell failed or a kill left it cut."""
    for i, cell in enumerate(_cells(executed) if is_whole(executed) else ()):
        # papermill puts a pointer to the failed cell on top as a cell of its own, which is markdown
        for output in cell.get("outputs", ()):
            if output["output_type"] == "error":
                summary = f"{output['ename']}: {output['evalue']}".strip().splitlines()[0]
                return Failure(summary, ANSI_COLOUR.sub("", "\n".join(output["traceback"])), i)
    return None


def is_whole(executed: Path) -> bool:
    """Whether an executed notebook can be read: papermill writes in place, so that a kill may leave a part of it."""
    try:
        return bool(_cells(executed))
    except ValueError:
        return False


def ran_to_the_end(executed: Path) -> bool:
    """Whether every cell of an executed notebook was completed by papermill (a killed one leaves some pending)."""
    if not is_whole(executed):
        return False
    status = [cell["metadata"].get("papermill", {}).get("status") for cell in _cells(executed)]
    return bool(status) and all(value == "completed" for value in status)


def modules_of(notebook: Path) -> list[Path]:
    """emolib's source files that a notebook's numbers depend on: what it imports, and what those import, sorted.

    A package counts with all its modules, since registries import them by name. `MACHINERY` does not count.
    """
    package = Path(importlib.util.find_spec("emolib").origin).parent
    found: set[Path] = set()
    waiting = _imported(_code(notebook), package)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting |= _imported(file.read_text("utf-8"), package)
    return sorted(found)


def _cells(notebook: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(notebook.read_text("utf-8"))["cells"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{notebook} is no notebook: {error!r}") from error


def _code(notebook: Path) -> str:
    sources = ("".join(cell["source"]) for cell in _cells(notebook) if cell["cell_type"] == "code")
    # Magics (%matplotlib, !ls) are no Python; no import of emolib hides in them.
    return "\n".join(
        line for source in sources for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))
    )


def _imported(code: str, package: Path) -> set[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return {file for name in names for file in _files(name, package)}


def _files(name: str, package: Path) -> Iterable[Path]:
    top, *parts = name.split(".")
    if top != "emolib" or not parts or parts[0] in MACHINERY:
        return ()
    place = package.joinpath(*parts)
    if place.is_dir():
        return sorted(place.rglob("*.py"))
    return (place.with_suffix(".py"),) if place.with_suffix(".py").is_file() else ()
