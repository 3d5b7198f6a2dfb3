"""Where things lie: the repository, its data, runs and reports; and which names are safe as folders.

papermill keeps the caller's folder and nbval takes the notebook's, so nothing may depend on the current one.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def project_root() -> Path:
    """The repository's root: ``EMOLIB_ROOT``, or the first folder upwards whose pyproject.toml names emolib.

    Raises
    ------
    FileNotFoundError
        Neither is there.
    """
    given = os.environ.get("EMOLIB_ROOT")
    if given:
        if not Path(given).is_dir():
            raise FileNotFoundError(f"EMOLIB_ROOT is {given!r}, which is no folder")
        return Path(given).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and tomllib.loads(file.read_text("utf-8")).get("project", {}).get("name") == "emolib":
            return folder
    raise FileNotFoundError(
        f"{here}: no folder from here upwards holds emolib's pyproject.toml; go into the repository or set EMOLIB_ROOT"
    )


def data_root() -> Path:
    """Where corpora and runs lie: ``EMOLIB_DATA``, or ``data`` in the repository's root."""
    given = os.environ.get("EMOLIB_DATA")
    return Path(given).resolve() if given else project_root() / "data"


def reports_root() -> Path:
    """Where reports are written: ``EMOLIB_REPORTS``, or ``reports`` in the repository's root."""
    given = os.environ.get("EMOLIB_REPORTS")
    return Path(given).resolve() if given else project_root() / "reports"


def raw_path(relative: str | Path) -> Path:
    """A parameter's path made absolute: looked for in the repository's root, then in ``data/raw``.

    Raises
    ------
    FileNotFoundError
        It is in neither (or, given absolute, nowhere); the message names the places.
    """
    places = [project_root() / relative, data_root() / "raw" / relative]
    for place in places:
        if place.exists():
            return place.resolve()
    raise FileNotFoundError(f"{str(relative)!r} is neither {places[0]} nor {places[1]}")


def check_name(name: str, *, what: str) -> str:
    """`name` itself if it is safe as a folder's name, else a ValueError that says what `what` may be."""
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name) or name.endswith(".ipynb"):
        raise ValueError(
            f"{what} {name!r} is not allowed: letters, digits, '.', '_' and '-' are, starting with a letter or digit, "
            "and no '.ipynb' at the end"
        )
    return name


def study_folder(study: str) -> Path:
    """``data/runs/<study>``, which need not exist."""
    return data_root() / "runs" / check_name(study, what="study")
