"""Run folders: what a stage wrote, with its parameters, inputs by hash, outputs, metrics and versions; atomic.

``data/runs/<study>/<stage>/<variant>/`` holds ``run.json``, tables (Parquet), figures and weights. It is written below
a temporary name and renamed when complete, so a folder that exists is whole; an older run is replaced only then. The
*fingerprint* of a run is the hash of its parameters, outputs and inputs' fingerprints, not of its times: the same
computation made again leaves everything that was built on it valid.
"""

from __future__ import annotations

import datetime
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from emolib import atomic, provenance
from emolib.frames import replace_folder
from emolib.roots import check_name, data_root, project_root, raw_path, reports_root, study_folder

__all__ = [
    "Run", "Upstream", "begin", "data_root", "list_variants", "load", "project_root", "raw_path", "reports_root",
]  # fmt: skip

SCHEMA_VERSION = 1
FIGURE_DPI = 150


@dataclass(frozen=True)
class Upstream:
    """A complete run, opened for reading."""

    folder: Path
    info: dict[str, Any]  # run.json

    @property
    def params(self) -> dict[str, Any]:
        """Parameters the run was made with."""
        return self.info["params"]

    @property
    def metrics(self) -> dict[str, Any]:
        """Numbers that it reported."""
        return self.info["metrics"]

    def table(self, name: str) -> pd.DataFrame:
        """Table `name` of the run; KeyError, naming those there are, when it has none of that name."""
        return _read_table(self.folder, name)


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    if not file.is_file():
        there = ", ".join(sorted(f.stem for f in folder.glob("*.parquet"))) or "none"
        raise KeyError(f"{folder}: no table {name!r}; there are {there}")
    return pd.read_parquet(file)


def _remake(study: str, stage: str) -> str:
    return f"make it with: emolib run params/{study}.yaml --until {stage}"


def _fingerprint(info: Mapping[str, Any]) -> str:
    return provenance.hash_value(
        {key: info[key] for key in ("study", "stage", "variant", "params", "inputs", "outputs")}
    )


def _read_info(study: str, stage: str, variant: str) -> dict[str, Any]:
    file = study_folder(study) / stage / variant / "run.json"
    if not file.is_file():
        raise FileNotFoundError(f"{study}: run '{stage}/{variant}' is missing; {_remake(study, stage)}")
    try:
        info = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); remove the folder and {_remake(study, stage)}") from error
    version = info.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"{file}: schema version {version!r}, {SCHEMA_VERSION} is allowed; {_remake(study, stage)}")
    if info["fingerprint"] != _fingerprint(info):
        raise ValueError(f"{file} was changed after the run was complete; {_remake(study, stage)}")
    return info


def _is_complete(study: str, name: str) -> bool:
    return (study_folder(study) / name / "run.json").is_file()


def _check_inputs(study: str, info: Mapping[str, Any]) -> None:
    """ValueError when a run that `info` was made from, directly or not, is there but another one by now."""
    for name, expected in info["inputs"].items():
        *other, stage, variant = name.split("/")  # a run of the base study is named with its study
        place = other[0] if other else study
        if not _is_complete(place, f"{stage}/{variant}"):
            continue  # removed to save space: what was made from it is still whole
        current = _read_info(place, stage, variant)
        if current["fingerprint"] != expected:
            raise ValueError(
                f"{study}: run '{info['stage']}/{info['variant']}' was made from another '{name}' than there is now; "
                f"{_remake(study, info['stage'])}"
            )
        _check_inputs(place, current)


def load(study: str, stage: str, variant: str = "main") -> Upstream:
    """Open a complete run.

    Raises
    ------
    FileNotFoundError
        It is missing; the message names the command that makes it.
    ValueError
        A file of it was changed, or a run that it was made from is another one by now.
    """
    folder = study_folder(study) / check_name(stage, what="stage") / check_name(variant, what="variant")
    info = _read_info(study, stage, variant)
    try:
        provenance.check_files(folder, info["outputs"])
    except ValueError as error:
        raise ValueError(f"{study}: run '{stage}/{variant}' is damaged: {error}; {_remake(study, stage)}") from error
    _check_inputs(study, info)
    return Upstream(folder, info)


def list_variants(study: str, stage: str) -> list[str]:
    """Names of the complete runs of a stage, sorted; empty when there are none."""
    files = (study_folder(study) / check_name(stage, what="stage")).glob("*/run.json")
    return sorted(file.parent.name for file in files if not file.parent.name.startswith("."))


class Run:
    """A run being made; get it from `begin`. Write below `folder`, then call `finish`."""

    def __init__(
        self,
        *,
        study: str,
        stage: str,
        variant: str,
        params: dict[str, Any],
        upstream: dict[str, Upstream],
        folder: Path,
    ):
        self.study, self.stage, self.variant, self.params = study, stage, variant, params
        self.folder = folder
        self._upstream = upstream
        self._inputs = {_input_name(run.info, study): run.info["fingerprint"] for run in upstream.values()}
        self._checkpoints: Path | None = None
        self._figures: dict[str, dict[str, str]] = {}
        self._started_utc, self._started_s = _utc_now(), time.perf_counter()

    def upstream(self, name: str) -> Upstream:
        """The upstream run `name` ("stage/variant"); KeyError when it was not named to `begin`."""
        if name not in self._upstream:
            raise KeyError(f"{name!r} was not named in begin(upstream=...): {', '.join(self._upstream) or 'none were'}")
        return self._upstream[name]

    @property
    def checkpoints(self) -> Path:
        """Folder that survives a crash of this run; empty when parameters or inputs differ; removed by `finish`.

        While another living process holds it, this run gets a folder of its own, which does not survive.
        """
        if self._checkpoints is None:
            place = study_folder(self.study) / ".checkpoints" / self.stage / self.variant
            if atomic.hold(place.with_name(f"{self.variant}.lock")):
                self._checkpoints = place / provenance.hash_value([self.params, self._inputs])[:16]
                for other in place.iterdir() if place.is_dir() else ():
                    if other != self._checkpoints:
                        shutil.rmtree(other)
            else:
                self._checkpoints = self.folder.parent / "checkpoints"
            self._checkpoints.mkdir(parents=True, exist_ok=True)
        return self._checkpoints

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Write `table` as ``<name>.parquet``; a table named ``summary`` is shown in the study's index."""
        table.to_parquet(self.folder / f"{check_name(name, what='table')}.parquet")

    def table(self, name: str) -> pd.DataFrame:
        """Table `name` as saved before in this run."""
        return _read_table(self.folder, name)

    def save_figure(self, name: str, figure: Any, caption: str) -> None:
        """Write a Matplotlib `figure` as PNG; it is shown with its caption in the study's index, in the order saved."""
        file = f"{check_name(name, what='figure')}.png"
        # No software version in the file's metadata: equal figures are equal bytes.
        figure.savefig(self.folder / file, dpi=FIGURE_DPI, bbox_inches="tight", metadata={"Software": None})
        self._figures[name] = {"name": name, "file": file, "caption": caption}
        provenance.write_json(self.folder / "figures.json", list(self._figures.values()), where="figures")

    def finish(self, *, metrics: Mapping[str, Any] | None = None) -> Path:
        """Write run.json and put the folder in its place; returns it. An older complete run is replaced only now.

        Raises
        ------
        OSError
            For example no space left: the older run stays as it was.
        """
        info = {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "stage": self.stage,
            "variant": self.variant,
            "params": self.params,
            "seed": self.params.get("seed"),
            "inputs": self._inputs,
            "outputs": provenance.describe_files(self.folder),
            "metrics": provenance.plain(metrics or {}, where="metrics"),
            "code": provenance.code_version(project_root()),
            "environment": provenance.environment(),
            "started_utc": self._started_utc,
            "finished_utc": _utc_now(),
            "wall_time_s": round(time.perf_counter() - self._started_s, 3),
        }
        info["fingerprint"] = _fingerprint(info)
        provenance.write_json(self.folder / "run.json", info, where="run.json")
        target = study_folder(self.study) / self.stage / self.variant
        with atomic.locked(study_folder(self.study) / ".finish.lock"):
            try:
                replace_folder(self.folder, target)
            finally:
                atomic.recover(target)
        if self._checkpoints is not None:
            shutil.rmtree(self._checkpoints, ignore_errors=True)
            atomic.release(study_folder(self.study) / ".checkpoints" / self.stage / f"{self.variant}.lock")
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        self.folder = target
        return target


def begin(
    *,
    stage: str,
    variant: str,
    study: str,
    params: Mapping[str, Any],
    upstream: Sequence[str] = (),
    base_study: str = "",
    make_missing: bool = False,
) -> Run:
    """Begin a run: check its upstream runs, clean up after dead processes, give it a temporary folder.

    Parameters
    ----------
    stage, variant, study : where the run will lie: ``data/runs/<study>/<stage>/<variant>``.
    params : what decides the result; recorded, and the key of `Run.checkpoints`.
    upstream : runs that it reads, each "stage/variant", of the same study or, where it has none, of `base_study`; or
        "study/stage/variant", of any other study, which is never made here.
    base_study : the study that this one is built on; its runs are recorded with its name. "": none.
    make_missing : execute the notebooks of missing upstream stages first, as ``params/<study>.yaml`` says.

    Raises
    ------
    FileNotFoundError, ValueError
        An upstream run is missing, or damaged or outdated (see `load`); a name is not allowed.
    """
    for name, what in ((study, "study"), (stage, "stage"), (variant, "variant")):
        check_name(name, what=what)
    parts = {name: _split(name) for name in upstream}
    places = [place for place in (study, base_study) if place]
    own = [name for name, (other, *_) in parts.items() if not other]  # and of its base
    if make_missing and not all(any(_is_complete(place, name) for place in places) for name in own):
        from emolib import study as studies  # at call time: `study` imports this module

        with atomic.locked(study_folder(study) / ".lock"):
            studies.execute_missing(study, own)
    found = {name: next((place for place in places if _is_complete(place, name)), study) for name in own}
    opened = {name: load(other or found[name], *run) for name, (other, *run) in parts.items()}
    parent = study_folder(study) / stage
    parent.mkdir(parents=True, exist_ok=True)
    atomic.remove_abandoned(parent, variant)
    with atomic.locked(study_folder(study) / ".finish.lock"):
        atomic.recover(parent / variant)
    folder = atomic.temporary_folder(parent, variant) / "run"
    folder.mkdir(parents=True)
    plain_params = provenance.plain(dict(params), where="params")
    return Run(study=study, stage=stage, variant=variant, params=plain_params, upstream=opened, folder=folder)


def _split(name: str) -> tuple[str, ...]:
    """Study ("" where the name has none), stage and variant."""
    parts = ["", *name.split("/")][-3:]
    if name.count("/") not in (1, 2):
        raise ValueError(f"upstream {name!r}: 'stage/variant' or 'study/stage/variant' expected, such as '{name}/main'")
    return parts[0], check_name(parts[1], what="stage"), check_name(parts[2], what="variant")


def _input_name(info: Mapping[str, Any], study: str) -> str:
    """How a run of `study` calls another in its inputs: with the other's study where that is not its own."""
    return "/".join([*({info["study"]} - {study}), info["stage"], info["variant"]])


def _utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
